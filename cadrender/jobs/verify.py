"""Proving a finished data set: every byte against the manifest, every source, and some files rendered anew."""

import math
import random
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from cadrender.errors import AudioError, CadrenderError
from cadrender.jobs.changes import Inputs, compare_inputs
from cadrender.jobs.excerpts import outdated_cuts
from cadrender.jobs.plan import Plan, all_jobs
from cadrender.jobs.pool import run_jobs
from cadrender.jobs.stem import StemJob, heads_of, read_source, render_into
from cadrender.metadata import at_mic_json, holds
from cadrender.stems import STEMS
from cadrender.store.compare import AudioComparer
from cadrender.store.digest import digest_of
from cadrender.store.manifest import look_at_input, read_manifest, relative_name

# What the data contract accepts between two machines: one sample in so many, by one step.
_ONE_IN = 10**7


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be.

    Attributes
    ----------
    kind : str
        ``missing``, ``truncated``, ``changed``, ``swapped``, ``unlisted`` (no line in the manifest), ``source``
        (a source or HRIR has changed), ``excerpt`` (not what its song holds), ``different`` (from a new
        rendering), ``failed`` or ``list``.
    file : pathlib.Path
        Where; for ``source`` the source.
    text : str
        What, on one line.
    redo : tuple of pathlib.Path
        The at-mic files to render again.
    """

    kind: str
    file: Path
    text: str
    redo: tuple[Path, ...] = ()

    def __str__(self):
        return f"{self.file}: {self.text}"


@dataclass
class Verdict:
    """What a verification found.

    Attributes
    ----------
    problems : list of Problem
    files : int
        At-mic files looked at.
    bytes : int
        Read, sources included.
    compared : int
        Files rendered anew.
    differing : int
        Samples of these that differ by one step, within what the data contract accepts.
    extra : list of pathlib.Path
        Files beside the at-mic music that no scene asks for.
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


def verify(
    plan: Plan,
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
    """Compare a data set with its manifest, and its manifest with the sources.

    Parameters
    ----------
    plan : Plan
        Of the data set; what is missing or changed in it plays no part.
    n_jobs : int
        Threads that read, and processes that render.
    sources : bool
        Whether to read the sources and HRIRs too.
    deep : float
        Percentage of the files to render anew and compare sample by sample, chosen at random.
    seed : int
        Of that choice.
    only : collection of pathlib.Path, optional
        Look at these at-mic files only.
    found : callable
        Told each problem when it is found.
    begin : callable
        Told what is going to be done and how much of it there is: bytes to read, or frames times heads to render.
    advance : callable
        Told how much has been done since the last call; from several threads.

    Raises
    ------
    CadrenderError
        If the manifest cannot be read.
    """
    began = time.perf_counter()
    verdict = Verdict()

    def report(problem):
        verdict.problems.append(problem)
        found(problem)

    for name, failure in sorted(plan.failures.items()):
        report(Problem("failed", plan.settings.music_dir / name, failure))
    entries = read_manifest(plan.manifest.file)
    jobs = [_part(job, only) for job in all_jobs(plan)]
    files = [target.file for job in jobs for target in job.targets] + _without_song(plan, entries, only)
    verdict.files = len(files)
    inputs = _inputs(plan, jobs) if sources else {}
    digests, inputs = _read(files, inputs, n_jobs, verdict, begin, advance)
    if entries or not files:
        _judge(plan, files, entries, digests, report)
    else:
        text = "no manifest: nothing says what the files should hold (--repair renders all of them again)"
        report(Problem("unlisted", plan.manifest.file, text, tuple(files)))
    if sources:
        _judge_sources(jobs, entries, digests, inputs, report)
        _judge_excerpts(plan, n_jobs, report)
    if deep:
        _render_anew(jobs, digests, n_jobs, deep, seed, verdict, report, begin, advance)
    if only is None:
        if not holds(plan.settings.output_music_file, at_mic_json(plan.complete_samples())):
            text = "is missing, or does not list exactly the samples that are complete"
            report(Problem("list", plan.settings.output_music_file, text))
        verdict.extra = _extra(plan, set(files))
    verdict.seconds = time.perf_counter() - began
    return verdict


def _part(job, only):
    """A job with those of its targets that are to be looked at."""
    if only is None:
        return job
    return replace(job, targets=tuple(target for target in job.targets if target.file in only))


def _without_song(plan, entries, only):
    """The at-mic files of songs that cannot be read any more, as far as the manifest knows them."""
    known = set(entries)
    return [
        file
        for sample in plan.samples
        if sample.track.name in plan.failures
        for stem in STEMS
        if relative_name(file := plan.file(sample, stem), plan.manifest.output_dir) in known
        and (only is None or file in only)
    ]


def _inputs(plan, jobs):
    """Sources and HRIRs, and the folders that the manifest's names for them start from."""
    inputs = {}
    for job in jobs:
        if job.targets:
            inputs[job.source] = plan.manifest.music_dir
        for target in job.targets:
            inputs[target.left_hrir] = inputs[target.right_hrir] = plan.manifest.hrtf_dir
    return inputs


def _read(files, inputs, n_jobs, verdict, begin, advance):
    """Digest files, several at once; what cannot be read has None.

    Returns
    -------
    digests : dict
        At-mic file to (digest, size).
    inputs : dict
        Source or HRIR to Input.
    """
    from joblib import Parallel, delayed

    def digest(file):
        try:
            return file, (digest_of(file, advance), file.stat().st_size)
        except OSError:
            return file, None

    def look(file, folder):
        try:
            return file, look_at_input(file, folder, advance)
        except AudioError:
            return file, None

    sizes = [_size(file) for file in (*files, *inputs)]
    verdict.bytes = sum(sizes)
    begin("reading", verdict.bytes)
    threads = Parallel(n_jobs, prefer="threads", batch_size=1)
    digests = dict(threads(delayed(digest)(file) for file in files))
    return digests, dict(threads(delayed(look)(file, folder) for file, folder in inputs.items()))


def _size(file):
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _judge(plan, files, entries, digests, report):
    """Compare digests with the manifest."""
    owner = {entry.digest: entry.path for entry in entries.values()}
    for file in files:
        entry = entries.get(relative_name(file, plan.manifest.output_dir))
        if digests[file] is None:
            reason = "cannot be read" if file.exists() else "missing"
            report(Problem("missing", file, reason, (file,)))
            continue
        digest, size = digests[file]
        if entry is None:
            text = "not in the manifest: nothing says what it should hold"
            report(Problem("unlisted", file, text, (file,)))
        elif size < entry.bytes:
            text = f"truncated: {size} bytes, and {entry.bytes} were written"
            report(Problem("truncated", file, text, (file,)))
        elif digest != entry.digest and digest in owner:
            report(Problem("swapped", file, f"holds what belongs into {owner[digest]}", (file,)))
        elif digest != entry.digest:
            text = "its bytes are not those that were written"
            report(Problem("changed", file, text, (file,)))


def _judge_sources(jobs, entries, digests, inputs, report):
    """Compare sources and HRIRs with what the files were rendered from; one problem a source."""
    now = Inputs(inputs)
    redo = {}
    for job in jobs:
        there = [target for target in job.targets if digests[target.file]]
        for target, cause in compare_inputs(job, there, entries, now)[0]:
            redo.setdefault(cause, []).append(target.file)
    for cause, files in redo.items():
        text = f"not what {len(files)} at-mic file{'s were' if len(files) > 1 else ' was'} rendered from"
        report(Problem("source", cause, text, tuple(files)))


def _judge_excerpts(plan, n_jobs, report):
    """Compare the excerpts' stems with the songs; one problem an excerpt."""
    by_sample = {}
    for cut in outdated_cuts(plan, n_jobs):
        by_sample.setdefault(cut.sample.name, []).append(cut)
    for cuts in by_sample.values():
        stems = ", ".join(cut.file.stem for cut in cuts)
        text = (
            f"not what {cuts[0].source.parent} holds from frame {cuts[0].sample.start} on ({stems}): cadrender "
            f"excerpts --split {plan.settings.split} cuts it anew"
        )
        report(Problem("excerpt", cuts[0].file.parent, text))


def _render_anew(jobs, digests, n_jobs, deep, seed, verdict, report, begin, advance):
    """Render some of the files that are there once more, and compare."""
    there = [target.file for job in jobs for target in job.targets if digests[target.file]]
    chosen = set(random.Random(seed).sample(there, math.ceil(len(there) * min(deep, 100.0) / 100.0)))
    jobs = [job for job in (_part(job, chosen) for job in jobs) if job.targets]
    begin("rendering", sum(job.frame_scenes for job in jobs))
    for comparison in run_jobs(jobs, n_jobs, compare_job, Comparison):
        if comparison.error:
            report(Problem("failed", comparison.job.source, comparison.error))
        for file, different, largest in comparison.results:
            verdict.compared += 1
            samples = 2 * comparison.job.frames
            if different > max(1, samples // _ONE_IN) or largest > 1.0:
                text = f"{different} of {samples} samples differ from a new rendering, by up to {largest:g} steps"
                report(Problem("different", file, text, (file,)))
            else:
                verdict.differing += different
        advance(comparison.job.frame_scenes)


@dataclass(frozen=True)
class Comparison:
    """What became of a job whose files were compared.

    Attributes
    ----------
    job : StemJob
    results : tuple of (pathlib.Path, int, float)
        File, samples that differ, and by how many steps at most.
    error : str
        One line; empty if all went well.
    """

    job: StemJob
    results: tuple[tuple[Path, int, float], ...] = ()
    error: str = ""


def compare_job(job: StemJob) -> Comparison:
    """Render a stem for its heads, and compare that with its files instead of writing it."""
    try:
        signal, _ = read_source(job)
        with ExitStack() as open_files:
            comparers = [
                open_files.enter_context(AudioComparer(target.file, job.frames, job.audio_format))
                for target in job.targets
            ]
            render_into(job, signal, heads_of(job.targets, job.samplerate), comparers)
        results = [
            (target.file, comparer.different, comparer.largest)
            for target, comparer in zip(job.targets, comparers, strict=True)
        ]
        return Comparison(job, tuple(results))
    except CadrenderError as error:
        return Comparison(job, error=str(error))
    except MemoryError:
        return Comparison(job, error=f"{job.source}: not enough memory to render it; use fewer jobs (-j)")


def _extra(plan, known):
    """Files among the at-mic music that no scene asks for."""
    splits = {plan.settings.output_music_dir / sample.split for sample in plan.samples}
    return sorted(
        file for split in splits for file in split.rglob("*") if file.is_file() and file not in known
    )
