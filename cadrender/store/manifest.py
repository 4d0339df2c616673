"""The manifest: what every generated file should hold, and what it was made from.

One JSON object per line, one line per file; a file's last line counts. A line is appended *before* its file is
renamed into place, so a kill at any moment leaves no file without a line. A line whose file never arrived is
recognisable: the file is missing, or is an older one with another mtime.

After a power cut only durable files are trusted (section 15 of ``docs/contract.md``): the start of a run is on the
disk before its first file, with the records whose files it may replace, and so is its end; in between, lines say which
records' files are durable. Any other file counts only while its file system stays mounted, or if its digest matches.

Lines are appended under an exclusive lock (``flock``, which works between machines where the shared file system has
locks; ``O_APPEND`` alone is not enough on NFS). Readers skip a truncated line; the next writer terminates it.
"""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cadrender.errors import AudioError, CadrenderError, UsageError
from cadrender.store.atomic import AtomicFile, lock_and_wait, same_file, unlock
from cadrender.store.digest import digest_of
from cadrender.store.durable import sync_descriptor, sync_folder, this_mount

_T = TypeVar("_T")

# A manifest is rewritten when it has more than this many lines per file, plus this many for runs.
_SLACK = 2
_RUNS = 50

# Containers and the subtypes each may hold: lines with anything else are damaged.
_SUBTYPES = {"wav": ("PCM_16", "PCM_24", "FLOAT"), "flac": ("PCM_16", "PCM_24")}


@dataclass(frozen=True)
class Input:
    """A file that another one was made from, as it was at the time.

    Attributes
    ----------
    path : str
        Relative to the manifest's base folder, with ``/``; absolute if it lies elsewhere.
    bytes, mtime_ns : int
        Size and time of last modification.
    digest : str
        BLAKE3 of its bytes; empty if it was not computed.
    """

    path: str
    bytes: int
    mtime_ns: int
    digest: str


# What a file was made from, by role. A nested mapping stands for an intermediate signal made from its entries.
Inputs = Mapping[str, "Input | Inputs"]


@dataclass(frozen=True)
class Record:
    """A file's line in a manifest.

    Attributes
    ----------
    product : str
        ``at-mic``, ``target``, ``amplified``, ``excerpt`` or ``song``.
    path : str
        The file, relative to its product's folder, with ``/``.
    parameters : dict
        Everything else its samples depend on, as JSON values.
    inputs : Inputs
        What it was made from.
    container, subtype : str
        Its format.
    samplerate, frames : int
        Its rate in hertz and its length.
    bytes : int
        Its size.
    digest : str
        BLAKE3 of its bytes.
    levels : dict
        Measurements from when it was made: loudness in LUFS (minus infinity for silence), gains, clipped PCM values.
    version : str
        The version of cadrender that made it.
    id : str
        Unique among all records, even of the same file.
    mount : str
        Boot and mount under which it was written: see :func:`cadrender.store.durable.this_mount`.
    mtime_ns : int
        The file's time of last modification.
    durable : bool
        Whether the file is known to have reached the disk under its final name.
    notes : tuple of str
        Remarks from when it was made.
    """

    product: str
    path: str
    parameters: dict[str, Any]
    inputs: Inputs
    container: str
    subtype: str
    samplerate: int
    frames: int
    bytes: int
    digest: str
    levels: dict[str, float] = field(default_factory=dict)
    version: str = ""
    id: str = ""
    mount: str = ""
    mtime_ns: int = 0
    durable: bool = False
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Product, and path without suffix: the same for every container."""
        return key_of(self.product, self.path)


@dataclass
class Contents:
    """What a manifest holds.

    Attributes
    ----------
    records : dict
        The last record of each file, by key.
    unfinished : dict
        Runs that began but did not end, by id: what they wrote and did not make durable may be lost.
    """

    records: dict[tuple[str, str], Record]
    unfinished: dict[str, "Run"] = field(default_factory=dict)
    _cut_off: dict[str, frozenset[str] | None] = field(default_factory=dict, repr=False)

    def vouches_for(self, record: Record, file: Path) -> bool:
        """Whether a file can be trusted to be the recorded one without reading it.

        That holds if it is durable and no run possibly ended by a power cut was going to replace it, or if its
        file system has stayed mounted since the file was written.
        """
        if record.durable and not self.unfinished:
            return True
        here = this_mount(file.parent)
        if record.durable and record.id not in (self._replaced_by_cut_runs(here) or ()):
            return True
        try:
            return bool(here) and record.mount == here and file.stat().st_mtime_ns == record.mtime_ns
        except OSError:
            return False

    def proves(self, record: Record, file: Path) -> bool:
        """Whether a file is the recorded one; it is read if necessary."""
        if self.vouches_for(record, file):
            return True
        try:
            return digest_of(file) == record.digest
        except OSError:
            return False

    def doubts_unrecorded(self, folder: Path) -> bool:
        """Whether unrecorded files in a folder may be damaged leftovers of a run ended by a power cut."""
        return bool(self.unfinished) and self._replaced_by_cut_runs(this_mount(folder)) is not None

    def _replaced_by_cut_runs(self, here: str) -> frozenset[str] | None:
        """Ids of records that unfinished runs under other mounts may have replaced; None if there are no such runs."""
        if here not in self._cut_off:
            cut = [run.replaces for run in self.unfinished.values() if not here or run.mount != here]
            self._cut_off[here] = frozenset().union(*cut) if cut else None
        return self._cut_off[here]


@dataclass(frozen=True)
class Run:
    """A run that has begun.

    Attributes
    ----------
    mount : str
        Its boot and mount: see :func:`cadrender.store.durable.this_mount`.
    replaces : frozenset of str
        The ids of records whose files it may have replaced.
    """

    mount: str
    replaces: frozenset[str] = frozenset()


def new_id() -> str:
    """An id for a record."""
    return secrets.token_hex(5)


def key_of(product: str, path: str) -> tuple[str, str]:
    """The key of a file's record: its product, and its path without suffix."""
    dot = path.rfind(".", path.rfind("/") + 2)  # a leading or trailing dot makes no suffix
    return product, path[:dot] if 0 <= dot < len(path) - 1 else path


@dataclass(frozen=True)
class Manifest:
    """Where a manifest is, and the folder to which its inputs' paths are relative.

    Attributes
    ----------
    file, base : pathlib.Path
    """

    file: Path
    base: Path

    @classmethod
    def beside(cls, list_file: Path, base: Path) -> "Manifest":
        """The manifest beside a list: ``at_mic_music.train.manifest.jsonl``."""
        return cls(list_file.with_name(f"{list_file.name.removesuffix('.json')}.manifest.jsonl"), base)

    def load(self) -> Contents:
        """Read everything.

        A missing file holds nothing. Damaged lines, and lines of another program, are skipped.

        Raises
        ------
        CadrenderError
            If the file exists but cannot be read, or was written by an unreleased version.
        """
        records: dict[tuple[str, str], Record] = {}
        runs: dict[str, Run] = {}
        durable: set[str] = set()
        lost: set[str] = set()
        for line in read_lines(self.file):
            fields = _fields(line)
            if record := self._record(fields):
                records[record.key] = record
            elif isinstance(fields.get("replaces"), list):
                replaces = frozenset(map(str, fields["replaces"]))
                runs[str(fields.get("run"))] = Run(str(fields.get("mount")), replaces)
            elif "ended" in fields:
                runs.pop(str(fields["ended"]), None)
            elif isinstance(fields.get("durable"), list):
                durable.update(map(str, fields["durable"]))
            elif isinstance(fields.get("lost"), list):
                lost.update(map(str, fields["lost"]))
        for key, record in records.items():
            if record.id in lost:
                records[key] = replace(record, digest="", mount="", durable=False)
            elif record.id in durable and not record.durable:
                records[key] = replace(record, durable=True)
        return Contents(records, runs)

    def read(self) -> dict[tuple[str, str], Record]:
        """The records of :meth:`load`."""
        return self.load().records

    def begin_run(self, mount: str, replaces: Iterable[str] = ()) -> str:
        """Record durably that a run begins; returns its id.

        Until it has ended, neither files without a record nor the files that it may replace are trusted under another
        mount.

        Parameters
        ----------
        mount : str
            Where it writes.
        replaces : iterable of str
            The ids of the records whose files it may replace.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        run = secrets.token_hex(4)
        append_lines(self.file, [_run_line(run, Run(mount, frozenset(replaces)))], durable=True)
        sync_folder(self.file.parent)  # another process may have created the file and not synced its name yet
        return run

    def mark_durable(self, ids: Collection[str], ended: str = "") -> None:
        """Record durably that the files of some records are on disk, and that a run has ended.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        lines = [_line({"durable": list(ids)})] if ids else []
        if ended:
            lines.append(_line({"ended": ended}))
        if lines:
            append_lines(self.file, lines, durable=True)

    def mark_lost(self, ids: Collection[str]) -> None:
        """Record that the files of some records never reached the disk, even if still readable.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if ids:
            append_lines(self.file, [_line({"lost": list(ids)})], durable=True)

    def append(self, records: Iterable[Record]) -> None:
        """Append records, all of them or none.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        if lines := [_format(record) for record in records]:
            append_lines(self.file, lines)

    def compact(self) -> bool:
        """Rewrite the file with one line per key, if many of its lines are obsolete.

        Returns
        -------
        bool
            Whether it was rewritten.

        Raises
        ------
        CadrenderError
            If it cannot be.
        """
        if sum(map(bool, read_lines(self.file))) <= _SLACK * len(self.read()) + _RUNS:
            return False
        try:
            with _opened(self.file):  # prevents others from appending
                contents = self.load()
                current = {record.id for record in contents.records.values()}
                lines = [
                    _run_line(name, Run(run.mount, run.replaces & current))
                    for name, run in contents.unfinished.items()
                ]
                lines += map(_format, contents.records.values())
                with AtomicFile(self.file) as rewritten:
                    rewritten.write("".join(lines).encode())
                    sync_descriptor(rewritten.descriptor)
                    rewritten.commit()
                sync_folder(self.file.parent)
        except OSError as error:
            raise CadrenderError(f"{self.file}: cannot be written: {error.strerror or error}") from error
        return True

    def look_at(self, file: Path, advance: Callable[[int], object] = lambda count: None) -> Input:
        """Digest an input file; `advance` is called with the bytes read since the last call.

        Raises
        ------
        AudioError
            If it cannot be read, or changes meanwhile.
        """
        seen = self.stat(file)
        with _read_errors(file):
            seen = replace(seen, digest=digest_of(file, advance))
        check_unchanged(file, seen)
        return seen

    def stat(self, file: Path) -> Input:
        """Describe an input file by its size and mtime alone.

        Raises
        ------
        AudioError
            If it is missing.
        """
        with _read_errors(file):
            status = file.stat()
        return Input(relative_name(file, self.base), status.st_size, status.st_mtime_ns, "")

    def _record(self, fields: dict[str, Any]) -> Record | None:
        """The record in a line's fields; None if there is none."""
        if "product" not in fields and {"path", "blake3", "hrirs"} <= fields.keys():
            raise UsageError(
                f"{self.file}: written by an unreleased version of cadrender and no longer read; "
                "delete it and run the same command again: at-mic files are kept as they are"
            )
        try:
            return Record(
                product=_typed(fields["product"], str),
                path=_typed(fields["path"], str),
                parameters=_typed(fields["parameters"], dict),
                inputs=_parse_inputs(fields["inputs"]),
                container=_one_of(_SUBTYPES, fields["container"]),
                subtype=_one_of(_SUBTYPES[fields["container"]], fields["subtype"]),
                samplerate=_typed(fields["samplerate"], int),
                frames=_typed(fields["frames"], int),
                bytes=_typed(fields["bytes"], int),
                digest=_typed(fields["blake3"], str),
                levels={name: level_from_json(value) for name, value in fields["levels"].items()},
                version=_typed(fields["cadrender"], str),
                id=_typed(fields["id"], str),
                mount=_typed(fields["mount"], str),
                mtime_ns=_typed(fields["mtime_ns"], int),
                durable=fields.get("durable") is True,
                notes=tuple(_typed(note, str) for note in _typed(fields.get("notes", []), list)),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def relative_name(file: Path, folder: Path) -> str:
    """A file's name in a manifest: relative to the folder if it lies there, else absolute."""
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


@contextlib.contextmanager
def _read_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError(f"{file}: no such file") from error
    except OSError as error:
        raise AudioError(f"{file}: cannot be read: {error.strerror or error}") from error


def check_unchanged(file: Path, seen: Input) -> None:
    """Raise an AudioError if a file's size or mtime has changed since it was digested, or it is missing."""
    with contextlib.suppress(OSError):
        now = file.stat()
        if (now.st_size, now.st_mtime_ns) == (seen.bytes, seen.mtime_ns):
            return
    raise AudioError(f"{file}: changed while it was being read")


def read_lines(file: Path) -> list[bytes]:
    """Read the lines of a manifest; none if the file is missing.

    Raises
    ------
    CadrenderError
        If the file exists but cannot be read.
    """
    try:
        return file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CadrenderError(f"{file}: cannot be read: {error.strerror or error}") from error


def append_lines(file: Path, lines: Iterable[str], *, durable: bool = False) -> None:
    """Append lines to a file that several processes append to, all of them or none.

    Parameters
    ----------
    file : pathlib.Path
    lines : iterable of str
        Each ending with a newline.
    durable : bool
        Whether to wait until they, and the file's name, are on disk.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    data = "".join(lines).encode()
    with _opened(file) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        view = memoryview(data)
        try:
            while len(view):
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            error.filename = str(file)
            raise
        if durable:
            sync_descriptor(descriptor)
            if not size:
                sync_folder(file.parent)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    """Open a manifest for appending and lock it; another process may be replacing it at the same time."""
    flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        descriptor = os.open(file, flags, 0o666)
        try:
            lock_and_wait(descriptor)
            if same_file(descriptor, file):
                yield descriptor
                return
        finally:
            unlock(descriptor)  # even if it cannot be closed: this process locks it again
            os.close(descriptor)


def _fields(line: bytes) -> dict[str, Any]:
    """The fields of a line; none if it is damaged."""
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(fields := json.loads(line), dict):
            return fields
    return {}


def _run_line(identity: str, run: Run) -> str:
    return _line({"run": identity, "mount": run.mount, "replaces": sorted(run.replaces)})


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields) + "\n"


def _format(record: Record) -> str:
    return _line(
        {
            "product": record.product,
            "path": record.path,
            "parameters": record.parameters,
            "inputs": _inputs_json(record.inputs),
            "container": record.container,
            "subtype": record.subtype,
            "samplerate": record.samplerate,
            "frames": record.frames,
            "bytes": record.bytes,
            "blake3": record.digest,
            "levels": {name: level_to_json(value) for name, value in record.levels.items()},
            "cadrender": record.version,
            "id": record.id,
            "mount": record.mount,
            "mtime_ns": record.mtime_ns,
            **({"durable": True} if record.durable else {}),
            **({"notes": record.notes} if record.notes else {}),
        }
    )


def _inputs_json(inputs: Inputs) -> dict[str, Any]:
    return {
        role: {"path": of.path, "bytes": of.bytes, "mtime_ns": of.mtime_ns, "blake3": of.digest}
        if isinstance(of, Input)
        else _inputs_json(of)
        for role, of in inputs.items()
    }


def _parse_inputs(fields: dict[str, Any]) -> Inputs:
    return {
        role: Input(
            _typed(of["path"], str),
            _typed(of["bytes"], int),
            _typed(of["mtime_ns"], int),
            _typed(of["blake3"], str),
        )
        if isinstance(of.get("path"), str)
        else _parse_inputs(of)
        for role, of in fields.items()
    }


def _typed(value: object, kind: type[_T]) -> _T:
    if type(value) is kind:
        return value
    raise TypeError


def _one_of(known: Collection[str], value: object) -> str:
    if isinstance(value, str) and value in known:
        return value
    raise ValueError


def level_to_json(value: float) -> float | None:
    """A level as stored in a line: silence, minus infinity, is null."""
    return value if math.isfinite(value) else None


def level_from_json(value: object) -> float:
    """Parse a level written by :func:`level_to_json`; a TypeError if it is not one."""
    if value is None:
        return -math.inf
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    try:
        return float(value)
    except OverflowError as error:
        raise TypeError from error
