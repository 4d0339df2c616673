"""Verifying files: every byte against the manifests, every source, and some files against a new rendering."""

import math
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import Batch, Output
from cadrender.errors import AudioError, CadrenderError
from cadrender.metadata.writing import holds
from cadrender.pipeline.events import Event
from cadrender.pipeline.plan import Check, holds_signal, make_plan, wrong_beside
from cadrender.pipeline.pool import run_batches
from cadrender.signals.base import Signal
from cadrender.store.atomic import remove_leftovers
from cadrender.store.compare import AudioComparer
from cadrender.store.digest import digest_of
from cadrender.store.manifest import Input, Inputs, Manifest, Record
from cadrender.wording import plural

# One PCM value in this many may differ by one step between two machines ("Exactness" in ``docs/contract.md``).
_ONE_IN = 10**7


@dataclass(frozen=True)
class Problem:
    """A fault found in a file.

    Attributes
    ----------
    kind : str
        ``missing``, ``absent`` (all files are), ``truncated``, ``changed``, ``swapped``, ``unlisted`` (no line in the
        manifest), ``parameters`` (differ from the metadata), ``source`` (a source or HRIR has changed), ``damaged`` (a
        source or HRIR: nothing made from it can be made again), ``excerpt`` (differs from its song), ``different``
        (from a new rendering), ``failed`` or ``list``.
    file : pathlib.Path
        The file; for ``source`` and ``damaged`` the source.
    text : str
        One line.
    redo : tuple of pathlib.Path
        The files to make again.
    """

    kind: str
    file: Path
    text: str
    redo: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@dataclass
class Verdict:
    """What a verification found.

    Attributes
    ----------
    problems : list of Problem
    files : int
        Number of files verified.
    bytes : int
        Bytes read, including sources.
    compared : int
        Number of files compared with a new rendering.
    differing : int
        PCM values in these that differ by one step, within what ``docs/contract.md`` accepts.
    extra : list of pathlib.Path
        Other files in the same folders that belong to nothing.
    seconds : float
        Wall time.
    """

    problems: list[Problem] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    compared: int = 0
    differing: int = 0
    extra: list[Path] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class _VerifiedPart:
    """A catalogue being verified."""

    catalogue: Catalogue
    batches: list[Batch]
    outputs: list[Output[Signal]]
    orphans: list[tuple[Path, tuple[str, str]]]

    @property
    def files(self) -> dict[Path, tuple[str, str]]:
        """All files, with the keys of their records."""
        return {output.file: output.key for output in self.outputs} | dict(self.orphans)


def verify(
    catalogues: Sequence[Catalogue],
    n_jobs: int = 1,
    *,
    sources: bool = True,
    deep: float = 0.0,
    seed: int = 0,
    only: Collection[Path] | None = None,
    found: Callable[[Problem], None] = lambda problem: None,
    begin: Callable[[str, int], None] = lambda what, total: None,
    advance: Callable[[int], None] = lambda count: None,
) -> Verdict:
    """Compare files with their manifests, and the manifests with the sources.

    Parameters
    ----------
    catalogues : sequence of Catalogue
    n_jobs : int
        Number of threads for reading and of processes for rendering.
    sources : bool
        Whether to read the sources and HRIRs too.
    deep : float
        Percentage of files, chosen at random, to compare with a new rendering value by value.
    seed : int
        Seed of that choice.
    only : collection of pathlib.Path, optional
        Verify only these files.
    found : callable
        Called with each problem as it is found.
    begin : callable
        Called with each new step and its size: bytes to read, or frames to render.
    advance : callable
        Called with the amount done since the last call; from several threads.

    Raises
    ------
    CadrenderError
        If a manifest cannot be read.
    """
    began = time.perf_counter()
    verdict = Verdict()

    def report(problem: Problem) -> None:
        verdict.problems.append(problem)
        found(problem)

    parts = [_part(catalogue, only) for catalogue in catalogues]
    for name, failure in sorted(
        (name, failure) for part in parts for name, failure in part.catalogue.failures.items()
    ):
        report(Problem("failed", parts[0].catalogue.settings.music_dir / name, failure))
    files = [file for part in parts for file in part.files]
    verdict.files = len(files)
    digests, inputs = _read(files, _inputs(parts) if sources else {}, n_jobs, verdict, begin, advance)
    absent = [part for part in parts if only is None and _is_absent(part)]
    for part in absent:
        report(_absence(part))
        parts.remove(part)
    for part in parts:
        wrong = _judge(part, digests, report)
        if sources:
            _judge_sources(part, digests, inputs, report)
            _judge_contents(part, wrong, n_jobs, report)
    if deep:
        there = [output.file for part in parts for output in part.outputs if digests[output.file]]
        chosen = random.Random(seed).sample(there, math.ceil(len(there) * min(deep, 100.0) / 100.0))
        _compare(parts, chosen, n_jobs, verdict, report, begin, advance)
    if only is None:
        for part in parts:
            for place in part.catalogue.lists:
                if not holds(place, part.catalogue.text(place)):
                    text = f"is missing, or does not list exactly the {part.catalogue.unit} that are complete"
                    report(Problem("list", place, text))
            verdict.extra += sorted(set(part.catalogue.present()) - part.files.keys())
    verdict.seconds = time.perf_counter() - began
    return verdict


def repair(
    catalogues: Sequence[Catalogue],
    problems: Sequence[Problem],
    n_jobs: int = 1,
    on_event: Callable[[Event], None] = lambda event: None,
) -> set[Path]:
    """Make wrong or missing files again, and remove the temporary files of killed runs.

    Parameters
    ----------
    catalogues : sequence of Catalogue
        Fresh ones, which reread manifests and files.
    problems : sequence of Problem
        As returned by :func:`verify`.
    n_jobs : int
        Processes.
    on_event : callable
        Called with each event of the run.

    Returns
    -------
    set of pathlib.Path
        The files that had to be made again; they should be verified.

    Raises
    ------
    CadrenderError
        If nothing more can be written.
    """
    if not problems:
        _sweep(catalogues)
        return set()
    redo = {file for problem in problems for file in problem.redo}
    absent = {problem.file for problem in problems if problem.kind == "absent"}
    catalogues = [catalogue for catalogue in catalogues if catalogue.folders[0] not in absent]
    damaged = {problem.file for problem in problems if problem.kind == "damaged"}
    plan = make_plan(*catalogues, again=redo, damaged=damaged)
    redo |= {output.file for output in plan.todo}
    plan.run(n_jobs, on_event=on_event)
    return redo


def _sweep(catalogues: Sequence[Catalogue]) -> None:
    """Remove temporary files where nothing else is to be done."""
    folders = {
        output.file.parent for each in catalogues for batch in each.batches() for output in batch.outputs
    }
    folders |= {place.parent for each in catalogues for place in each.lists}
    for folder in folders:
        remove_leftovers(folder)


def _part(catalogue: Catalogue, only: Collection[Path] | None) -> _VerifiedPart:
    batches = [_of(batch, only) for batch in catalogue.batches()]
    batches = [batch for batch in batches if batch.outputs]
    outputs = [output for batch in batches for output in batch.outputs]
    orphans = [(file, key) for file, key in catalogue.orphans() if only is None or file in only]
    return _VerifiedPart(catalogue, batches, outputs, orphans)


def _of(batch: Batch, only: Collection[Path] | None) -> Batch:
    """The part of a batch that is to be verified."""
    if only is None:
        return batch
    return batch.having([output for output in batch.outputs if output.file in only])


def _inputs(parts: Sequence[_VerifiedPart]) -> dict[Path, Manifest]:
    """The files that outputs were made from, and the manifest that names each."""
    inputs: dict[Path, Manifest] = {}
    for part in parts:
        manifest = part.catalogue.manifest
        for output in part.outputs:
            signal = output.signal
            if signal.remade_to_verify:
                continue
            record = part.catalogue.records.get(output.key)
            for role, value in signal.inputs().items():
                if isinstance(value, Path):
                    inputs[value] = manifest
                elif record and isinstance(record.inputs.get(role), dict) and value.at_mic:
                    inputs |= dict.fromkeys(value.at_mic.inputs().values(), manifest)
    return inputs


def _is_absent(part: _VerifiedPart) -> bool:
    """Whether nothing is where a catalogue's recorded files should be: perhaps they are elsewhere."""
    catalogue = part.catalogue
    if not (part.files and catalogue.place and catalogue.records):
        return False
    places = (folder / record.path for record in catalogue.records.values() for folder in catalogue.folders)
    return not any(file.exists() for file in (*part.files, *places))


def _absence(part: _VerifiedPart) -> Problem:
    catalogue = part.catalogue
    text = (
        f"none of the {plural(len(catalogue.records), 'file')} recorded in {catalogue.manifest.file} exists "
        f"(if they are elsewhere: {catalogue.settings.how_to_say(catalogue.place)}; "
        "if they are gone: the command that made them makes them again)"
    )
    return Problem("absent", catalogue.folders[0], text)


# Digest and size of files; None for unreadable ones.
_Digests = dict[Path, tuple[str, int] | None]


def _read(
    files: Sequence[Path],
    inputs: Mapping[Path, Manifest],
    n_jobs: int,
    verdict: Verdict,
    begin: Callable[[str, int], None],
    advance: Callable[[int], None],
) -> tuple[_Digests, dict[Path, Input | None]]:
    """Digest files and inputs, several at once; None for unreadable ones."""
    from joblib import Parallel, delayed

    def digest(file: Path) -> tuple[Path, tuple[str, int] | None]:
        try:
            return file, (digest_of(file, advance), file.stat().st_size)
        except OSError:
            return file, None

    def look(file: Path, manifest: Manifest) -> tuple[Path, Input | None]:
        try:
            return file, manifest.look_at(file, advance)
        except AudioError:
            return file, None

    verdict.bytes = sum(_size(file) for file in (*files, *inputs))
    begin("reading", verdict.bytes)
    threads = Parallel(n_jobs, prefer="threads", batch_size=1)
    digests = dict(threads(delayed(digest)(file) for file in files))
    return digests, dict(threads(delayed(look)(file, manifest) for file, manifest in inputs.items()))


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _judge(part: _VerifiedPart, digests: _Digests, report: Callable[[Problem], None]) -> set[Path]:
    """Compare digests with the manifest; returns the files that are wrong."""
    records = part.catalogue.records
    if part.files and not records and not part.catalogue.proven_by_contents:
        text = "no manifest: nothing says what the files should hold (--repair makes all of them again)"
        report(Problem("unlisted", part.catalogue.manifest.file, text, tuple(part.files)))
        return set(part.files)
    owner = {record.digest: record.path for record in records.values()}
    wrong = set()
    for file, key in part.files.items():
        if problem := _problem_of(file, records.get(key), digests[file], owner, part.catalogue):
            wrong.add(file)
            report(problem)
        else:
            part.catalogue.settled.add(file)
    for output in part.outputs:
        record = records.get(output.key)
        if not record or output.file in wrong:
            continue
        if place := wrong_beside(output, record):
            text = f"not what belongs to {output.file.name}" if place.exists() else "missing"
            report(Problem("changed" if place.exists() else "missing", place, text, (output.file,)))
        elif record.parameters != output.signal.parameters() and not output.signal.remade_to_verify:
            text = "made with other parameters than the metadata ask for now"
            report(Problem("parameters", output.file, text, (output.file,)))
    return wrong


def _problem_of(
    file: Path,
    record: Record | None,
    found: tuple[str, int] | None,
    owner: Mapping[str, str],
    catalogue: Catalogue,
) -> Problem | None:
    if found is None:
        return Problem("missing", file, "cannot be read" if file.exists() else "missing", (file,))
    digest, size = found
    if record is None or not record.path.endswith(file.suffix):
        if catalogue.proven_by_contents:
            return None
        return Problem("unlisted", file, "not in the manifest: nothing says what it should hold", (file,))
    if size < record.bytes:
        text = f"truncated: {size} bytes, and {record.bytes} were written"
        return Problem("truncated", file, text, (file,))
    if digest == record.digest and size == record.bytes:
        return None
    if digest == record.digest:
        text = f"{size} bytes, and the manifest says {record.bytes}: a damaged line of it"
        return Problem("changed", file, text, (file,))
    if digest in owner:
        return Problem("swapped", file, f"holds what belongs in {owner[digest]}", (file,))
    return Problem("changed", file, "its bytes are not those that were written", (file,))


def _judge_sources(
    part: _VerifiedPart,
    digests: _Digests,
    inputs: dict[Path, Input | None],
    report: Callable[[Problem], None],
) -> None:
    """Compare sources and HRIRs with those the files were made from; one problem per source."""
    check = Check(part.catalogue, digested=inputs)
    redo: dict[Path, list[Path]] = {}
    damaged: dict[Path, None] = {}
    for output in part.outputs:
        record = check.record(output)
        if not record or output.signal.remade_to_verify:
            continue
        cause = check.changed_input(output, record)
        if cause is None:
            continue
        if cause not in digests and _is_damaged(inputs.get(cause), record.inputs):  # nothing makes it again
            damaged[cause] = None
        elif digests[output.file]:
            redo.setdefault(cause, []).append(output.file)
    for file, record in part.catalogue.made_sources().items():
        seen = inputs.get(file)
        if seen and seen.digest != record.digest and seen.mtime_ns <= record.mtime_ns:
            damaged[file] = None
    product = part.outputs[0].signal.product if part.outputs else ""
    for cause in damaged:
        text = f"damaged: its bytes are not those that {product} files were {part.catalogue.made} from"
        report(Problem("damaged", cause, text))
    for cause, files in redo.items():
        if cause not in damaged:
            were = "was" if len(files) == 1 else "were"
            count = plural(len(files), f"{product} file")
            text = f"changed since {count} {were} {part.catalogue.made} from it"
            report(Problem("source", cause, text, tuple(files)))


def _is_damaged(now: Input | None, recorded: Inputs) -> bool:
    """Whether an input differs from its record in its bytes alone."""
    if now is None:
        return False
    for known in recorded.values():
        if not isinstance(known, Input):
            if _is_damaged(now, known):
                return True
        elif known.digest not in ("", now.digest) and replace(known, digest=now.digest) == now:
            return True
    return False


def _judge_contents(
    part: _VerifiedPart, wrong: Collection[Path], n_jobs: int, report: Callable[[Problem], None]
) -> None:
    """Compare files with their signals, for signals verified that way; one problem per unit."""
    from joblib import Parallel, delayed

    outputs = [
        output
        for output in part.outputs
        if output.signal.remade_to_verify and output.file not in wrong and output.file.exists()
    ]
    threads = Parallel(n_jobs, prefer="threads")
    same = threads(delayed(holds_signal)(output) for output in outputs)
    by_unit: dict[str, list[Output[Signal]]] = {}
    for output, holding in zip(outputs, same, strict=True):
        if not holding:
            by_unit.setdefault(output.unit, []).append(output)
    for different in by_unit.values():
        text = part.catalogue.mismatch(different)
        redo = tuple(output.file for output in different)
        report(Problem("excerpt", different[0].file.parent, text, redo))


def _compare(
    parts: Sequence[_VerifiedPart],
    chosen: Collection[Path],
    n_jobs: int,
    verdict: Verdict,
    report: Callable[[Problem], None],
    begin: Callable[[str, int], None],
    advance: Callable[[int], None],
) -> None:
    """Compare some files with a new rendering."""
    chosen = set(chosen)
    batches = [_of(batch, chosen) for part in parts for batch in part.batches]
    batches = [batch for batch in batches if batch.outputs]
    begin("rendering", sum(batch.frame_scenes for batch in batches))
    comparison: Comparison
    for comparison in run_batches(batches, n_jobs, compare_batch, Comparison):
        if comparison.error:
            report(Problem("failed", comparison.batch.outputs[0].file, comparison.error))
        for file, values, different, largest in comparison.results:
            verdict.compared += 1
            if different > max(1, values // _ONE_IN) or largest > 1.0:
                text = f"{different} of {values} PCM values differ from a new rendering, by up to {largest:g} steps"
                report(Problem("different", file, text, (file,)))
            else:
                verdict.differing += different
        advance(comparison.batch.frame_scenes)


@dataclass(frozen=True)
class Comparison:
    """The outcome of comparing a batch's files.

    Attributes
    ----------
    batch : Batch
    results : tuple of (pathlib.Path, int, int, float)
        File, its PCM values, how many of them differ, and by how many steps at most.
    error : str
        One line; empty if there was none.
    """

    batch: Batch
    results: tuple[tuple[Path, int, int, float], ...] = ()
    error: str = ""


def compare_batch(batch: Batch) -> Comparison:
    """Make a batch and compare it with its files instead of writing it."""
    try:
        with ExitStack() as open_files:
            comparers = [
                open_files.enter_context(AudioComparer(output.file, frames, output.audio_format))
                for output in batch.outputs
                if (frames := output.signal.frames) is not None
            ]
            batch.make(batch.outputs, comparers)
        results = [
            (output.file, 2 * comparer.frames, comparer.different, comparer.largest)
            for output, comparer in zip(batch.outputs, comparers, strict=True)
        ]
        return Comparison(batch, tuple(results))
    except CadrenderError as error:
        return Comparison(batch, error=str(error))
    except OSError as error:
        return Comparison(
            batch, error=f"{error.filename or batch.outputs[0].file}: {error.strerror or error}"
        )
    except MemoryError:
        text = "not enough memory to make it; use fewer jobs (-j)"
        return Comparison(batch, error=f"{batch.outputs[0].file}: {text}")
