"""Making a batch and committing its files: claim, write, record, rename; the same for all products."""

import contextlib
import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from cadrender.catalogue.output import Batch, Output, State, state_of
from cadrender.errors import AudioError, CadrenderError
from cadrender.signals.base import Made, NotReadyError, Signal
from cadrender.store import AtomicFile, AudioWriter, ClaimedError
from cadrender.store.durable import this_mount
from cadrender.store.manifest import Manifest, Record, new_id
from cadrender.version import version

# errnos local to one path; all others (ENOSPC, ...) stop the run.
_OF_ONE_PATH = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENOENT}


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes
    ----------
    output : Output
    levels : dict
        Its levels: see :class:`cadrender.store.manifest.Record`.
    frames, bytes : int
        Its length and its size.
    id : str
        Of its record.
    """

    output: Output[Signal]
    levels: dict[str, float]
    frames: int
    bytes: int
    id: str


@dataclass(frozen=True)
class BatchReport:
    """The outcome of a batch.

    Attributes
    ----------
    batch : Batch
    written : tuple of Written
    found : tuple of Output
        Files completed by another process since the batch was planned.
    claimed : tuple of Output
        Files that another process is writing.
    waiting : str
        What it waits for, in one line; empty for nothing.
    on_the_way : int
        Number of at-mic signals rendered because they were not on disk.
    error : str
        One line; empty if there was none.
    fatal : bool
        Whether the error would hit every other batch too (no space left, read-only).
    broken : bool
        Whether an input of the batch cannot be used.
    seconds : float
        Time it took.
    """

    batch: Batch
    written: tuple[Written, ...] = ()
    found: tuple[Output[Signal], ...] = ()
    claimed: tuple[Output[Signal], ...] = ()
    waiting: str = ""
    on_the_way: int = 0
    error: str = ""
    fatal: bool = False
    broken: bool = False
    seconds: float = 0.0


@dataclass
class _Done:
    """The fields of a report, as they accumulate."""

    written: list[Written] = field(default_factory=list)
    found: list[Output[Signal]] = field(default_factory=list)
    claimed: list[Output[Signal]] = field(default_factory=list)
    on_the_way: int = 0


def run_batch(batch: Batch) -> BatchReport:
    """Make a batch's files; errors go into the report."""
    began = time.perf_counter()
    done = _Done()
    waiting, error, fatal, broken = "", "", False, False
    try:
        _make(batch, done)
    except NotReadyError as problem:
        waiting = str(problem)
    except CadrenderError as problem:
        error, broken = str(problem), isinstance(problem, AudioError)
    except MemoryError:
        error = f"{batch.outputs[0].file}: not enough memory to make it; use fewer jobs (-j)"
    except OSError as problem:
        where = problem.filename2 or problem.filename or batch.outputs[0].file.parent
        error = f"{where}: cannot be written: {problem.strerror or problem}"
        fatal = problem.errno not in _OF_ONE_PATH
    return BatchReport(
        batch,
        tuple(done.written),
        tuple(done.found),
        tuple(done.claimed),
        waiting,
        done.on_the_way,
        error,
        fatal,
        broken,
        time.perf_counter() - began,
    )


def is_there(output: Output[Signal], stale: State | None, manifest: Manifest) -> bool:
    """Whether an output's file is complete, and not the one to be replaced."""
    if stale is not None and state_of(output.file) == stale:
        return False
    if output.signal.frames is None and output.file.exists():  # only the manifest knows its length
        record = manifest.read().get(output.key)
        output = output.of_length(record.frames) if record else output
    return output.is_complete()


def _make(batch: Batch, done: _Done) -> None:
    for needed, stale in batch.needs:
        if not is_there(needed, stale, batch.manifest):
            raise NotReadyError(f"{needed.unit}: {needed.file.name} is not complete: nothing is made of it")
    with ExitStack() as open_files:
        outputs, writers = [], []
        for output, stale in zip(batch.outputs, batch.stale or [None] * len(batch.outputs), strict=True):
            signal = output.signal
            try:
                writer = AudioWriter(output.file, signal.frames, signal.samplerate, output.audio_format)
            except ClaimedError:
                done.claimed.append(output)
                continue
            open_files.enter_context(writer)
            if is_there(output, stale, batch.manifest):  # completed by another process since it was planned
                done.found.append(output)
                continue
            outputs.append(output)
            writers.append(writer)
        if outputs:
            _commit(batch, outputs, writers, batch.make(outputs, writers), done)


def _commit(
    batch: Batch,
    outputs: Sequence[Output[Signal]],
    writers: Sequence[AudioWriter],
    made: Sequence[Made],
    done: _Done,
) -> None:
    """Record finished files, then move them into place.

    If text files accompany a file, its old version is removed first and the new one is moved in after them, so that
    it never exists with the wrong texts.
    """
    records = []
    for output, writer, one in zip(outputs, writers, made, strict=True):
        digest, size, mtime_ns = writer.finish()
        assert writer.frames is not None  # known once it is finished
        signal = output.signal
        records.append(
            Record(
                product=signal.product,
                path=output.name,
                parameters=signal.parameters(),
                inputs=one.inputs,
                container=output.container,
                subtype=signal.subtype,
                samplerate=signal.samplerate,
                frames=writer.frames,
                bytes=size,
                digest=digest,
                levels=one.levels,
                version=version(),
                id=new_id(),
                mount=this_mount(output.file.parent),
                mtime_ns=mtime_ns,
                notes=one.notes,
            )
        )
        done.on_the_way += one.on_the_way
    with ExitStack() as open_files:
        texts = [
            [open_files.enter_context(file) for file in _texts_beside(output, record)]
            for output, record in zip(outputs, records, strict=True)
        ]
        for output, own in zip(outputs, texts, strict=True):
            if own or output.signal.remade_to_verify:  # only the record describes the latter's file
                output.file.unlink(missing_ok=True)
        batch.manifest.append(records)
        for output, writer, record, own in zip(outputs, writers, records, texts, strict=True):
            for text in own:
                text.commit()
            writer.commit()
            done.written.append(Written(output, record.levels, record.frames, record.bytes, record.id))
            for file, other in batch.obsolete:
                if file == output.file:
                    with contextlib.suppress(FileNotFoundError):
                        other.unlink()


def _texts_beside(output: Output[Signal], record: Record) -> Iterator[AtomicFile]:
    """The text files that accompany an output, complete except for their names."""
    for place, text in output.beside(record.levels).items():
        file = AtomicFile(place)
        yield file
        file.write(text.encode())
