"""The rebalanced targets of a root: everything between a plan and their list."""

import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from cadrender.cache import cache_directory
from cadrender.errors import CadrenderError
from cadrender.jobs.mix import MixJob, MixReport, run_mix_job
from cadrender.jobs.plan import make_folders_under
from cadrender.jobs.pool import run_jobs
from cadrender.jobs.remix_plan import RemixPlan, missing_of
from cadrender.jobs.stem import Report, StemJob, Target, run_stem_job
from cadrender.metadata import sample_name
from cadrender.stems import VDBO
from cadrender.store import (
    AtomicFile,
    AudioFormat,
    ClaimedError,
    is_claimed,
    is_complete,
    remove_leftovers,
)
from cadrender.version import version

_log = logging.getLogger("cadrender")

# Seconds between two looks at files that another process is writing.
_PATIENCE = 0.5


@dataclass
class RemixSummary:
    """What a run did.

    Attributes
    ----------
    mixed, skipped : int
        Targets made by this run, and done before.
    frames : int
        Frames written.
    rendered : int
        At-mic signals that were rendered because they were not on disk.
    clipped : int
        Targets with clipped samples.
    without_stems : int
        Songs that have nothing to rebalance.
    failures : list of str
        One line each.
    seconds : float
        Wall time.
    n_jobs : int
        Processes used.
    """

    mixed: int = 0
    skipped: int = 0
    frames: int = 0
    rendered: int = 0
    clipped: int = 0
    without_stems: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    n_jobs: int = 1


class Mixing:
    """A run of ``remix`` while it goes on, by itself or after the stems that ``generate`` renders.

    Parameters
    ----------
    plan : RemixPlan
    n_jobs : int
    say : callable
        Told each thing worth a line while it happens.
    advance : callable
        Told frames written and targets completed since the last call.
    """

    def __init__(self, plan, n_jobs=1, say=_log.info, advance=lambda frames, targets: None):
        self.plan = plan
        self.summary = RemixSummary(
            skipped=plan.skipped,
            without_stems=len(plan.stemless),
            failures=list(plan.failures),
            n_jobs=n_jobs,
        )
        self._say, self._advance = say, advance

    def begin(self) -> None:
        """Make folders and say what is wrong beforehand.

        Raises
        ------
        CadrenderError
            If a folder cannot be made.
        """
        for line in self.summary.failures:
            self._say(f"failed: {line}")
        folders = self.plan.folders()
        removed = sum(make_folders_under(base, [folder]) for base, folder in folders.items())
        others = {base / self.plan.settings.split for base in self.plan.journal.folders}
        removed += sum(map(remove_leftovers, others - set(folders.values())))
        if removed:
            self._say(f"removed {removed} temporary files of an interrupted run")
        if min(self.summary.n_jobs, len(self.plan.jobs)) > 1:
            prepare_mixing(self.plan.jobs)
        journal = self.plan.journal.file
        try:
            journal.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CadrenderError(f"{journal.parent}: cannot be made: {error.strerror or error}") from error

    def take(self, report: MixReport) -> MixJob | None:
        """Count what became of a job; return what is left of it."""
        summary, job = self.summary, report.job
        summary.rendered += report.rendered
        if report.error:
            summary.failures.append(report.error)
            if report.fatal:
                raise CadrenderError(report.error)
            self._say(f"failed: {report.error}")
        frames = 0
        for mixed in report.written:
            frames += self.plan.length(job.frames, mixed.target)
            if mixed.clipped:
                summary.clipped += 1
                self._say(f"clipped: {mixed.target.file}: {mixed.clipped} samples")
        summary.mixed += len(report.written)
        summary.frames += frames
        self._advance(frames, len(report.written))
        if report.waiting:
            return job
        return replace(job, targets=report.claimed) if report.claimed else None

    def run(self, jobs: Iterable[MixJob]) -> None:
        """Run jobs; those whose files another process is writing are looked at again until they are done.

        Jobs whose at-mic files are not there are given up: nobody is going to render them any more.
        """
        jobs, n_jobs, told = list(jobs), self.summary.n_jobs, False
        while jobs:
            again = []
            for report in run_jobs(jobs, n_jobs, run_mix_job, MixReport, say=self._say):
                left = self.take(report)
                if report.waiting:
                    self._give_up(report.job)
                elif left:
                    again.append(left)
            if again and not told:
                told = True
                self._say("another cadrender is at work on some of these files: waiting for it")
            while again and all(is_claimed(target.file) for job in again for target in job.targets):
                time.sleep(_PATIENCE)
            jobs = self._still_missing(again)

    def _still_missing(self, jobs):
        """What nobody has made meanwhile of jobs that had to wait."""
        left = []
        for job in jobs:
            targets = missing_of(job, job.targets, self.plan)
            self.summary.skipped += len(job.targets) - len(targets)
            if targets:
                left.append(replace(job, targets=targets))
        return left

    def _give_up(self, job):
        line = f"{job.sample}: its at-mic files are not complete: no target is made of it"
        self.summary.failures.append(line)
        self._say(f"failed: {line}")

    def sweep(self) -> None:
        """Remove the temporary files of workers that were ended, on a full disk for instance."""
        for folder in self.plan.folders().values():
            remove_leftovers(folder)

    def finish(self) -> None:
        """Write the list of the targets that are there.

        Raises
        ------
        CadrenderError
            If it cannot be written.
        """
        write_remix_list(self.plan)


def remix(
    plan: RemixPlan,
    n_jobs: int = 1,
    *,
    say: Callable[[str], None] = _log.info,
    advance: Callable[[int, int], None] = lambda frames, targets: None,
) -> RemixSummary:
    """Make the targets that a plan lacks and write the list of those that are there.

    Parameters
    ----------
    plan : RemixPlan
    n_jobs : int
        Processes.
    say : callable
        Told each thing worth a line while it happens.
    advance : callable
        Told frames written and targets completed since the last call.

    Raises
    ------
    CadrenderError
        If nothing more can be written (disk full, read-only) or a worker was killed; the list has been written
        by then where that is possible.
    """
    began = time.perf_counter()
    mixing = Mixing(plan, n_jobs, say, advance)
    mixing.begin()
    try:
        mixing.run(plan.jobs)
    except BaseException:
        mixing.sweep()
        with contextlib.suppress(CadrenderError):  # a full disk; the first error is the one to report
            mixing.finish()
        raise
    mixing.finish()
    mixing.summary.seconds = time.perf_counter() - began
    return mixing.summary


def run_either_job(job: StemJob | MixJob) -> Report | MixReport:
    """Do a job of ``generate``, with or without ``--remix``."""
    return run_mix_job(job) if isinstance(job, MixJob) else run_stem_job(job)


def killed(job: StemJob | MixJob, error: str) -> Report | MixReport:
    """The report of a job whose workers were killed."""
    return (MixReport if isinstance(job, MixJob) else Report)(job, error=error)


def in_turn(stem_jobs: list[StemJob], mix_jobs: list[MixJob], n_jobs: int) -> list[StemJob | MixJob]:
    """Put each sample's mix behind the stems of its song, so that it finds its files in the page cache.

    Between the two lie as many jobs as there are other processes, so that the stems are most probably done when
    the mix begins; one that comes too early is put off to the end.
    """
    last = {}
    for place, job in enumerate(stem_jobs):
        for target in job.targets:
            last[target.sample] = place
    by_place = {}
    for job in mix_jobs:
        place = last.get(job.sample, -n_jobs) + n_jobs - 1
        by_place.setdefault(min(place, len(stem_jobs) - 1), []).append(job)
    out = list(by_place.pop(-1, ()))
    for place, job in enumerate(stem_jobs):
        out.append(job)
        out += by_place.get(place, ())
    return out


def prepare_mixing(jobs: list[MixJob]) -> None:
    """Compile and plan once, here, what the workers will need; they find it in the user's cache.

    A file in the cache remembers that it was done, as in :func:`cadrender.jobs.prepare.prepare`.
    """
    from cadrender.jobs.mix import find_stored
    from cadrender.jobs.prepare import prepare

    rendered = [
        StemJob(
            job.song,
            part.stem,
            part.source,
            part.start,
            job.frames,
            job.samplerate,
            AudioFormat(),
            (Target(job.sample, part.stored[0], part.left_hrir, part.right_hrir),),
        )
        for job in jobs
        for part in job.parts[:1]
        if job.render and part.source and find_stored(part, job.frames, job.samplerate) is None
    ]
    prepare(rendered)
    amplified = {_most_listeners(job) for job in jobs} - {0}
    facts = [version(), platform.node(), platform.machine(), jobs[0].samplerate, sorted(amplified)]
    digest = hashlib.md5(repr(facts).encode(), usedforsecurity=False).hexdigest()
    mark = cache_directory() / f"prepared-mix-{digest}"
    if not mark.exists():
        _rehearse(jobs[0], amplified)
        with contextlib.suppress(OSError):
            mark.touch()


def _most_listeners(job):
    counts = Counter(target.scene for target in job.targets if target.listener is not None)
    return max(counts.values(), default=0)


def _rehearse(job, amplified):
    """Mix and amplify noise: what is compiled and planned on the way is kept in the cache."""
    from cadrender.dsp.mix import ALONE, mix_float64, mix_int16
    from cadrender.dsp.nalr import nalr_filter
    from cadrender.render.nalr import Amplifier
    from cadrender.render.remix import KeptSum, rebalance

    noise = np.random.default_rng(0).integers(-1000, 1000, (job.samplerate, 2), dtype=np.int16)
    for dtype, make in (("int16", mix_int16), ("float64", mix_float64)):
        rebalance(dict.fromkeys(VDBO, noise), dict.fromkeys(VDBO, 0.0), noise, job.samplerate, dtype=dtype)
        kept = KeptSum(len(noise), np.zeros(KeptSum.bytes_needed(len(noise)), np.uint8))
        for block, count in kept:
            make(block, count, ALONE, 1.0, np.empty((count, 2), dtype))
    for count in amplified:
        flat = nalr_filter((250, 6000), (40, 40), job.samplerate)
        amplifier = Amplifier([(flat, flat)] * count)
        # More than it takes at a time; silence would be skipped.
        for _ in (*amplifier.feed(np.resize(noise / 32768, (70_000, 2))), *amplifier.finish()):
            pass


def write_remix_list(plan: RemixPlan) -> None:
    """Write ``remix.<split>.json``: the targets that are there now, with what they were made of.

    Several processes take turns, so that the list that stays is the one made last.

    Raises
    ------
    CadrenderError
        If it cannot be written.
    """
    place = plan.settings.output_remix_file
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone_at(place) as file:
            file.write(json.dumps(remix_list(plan), indent=4).encode())
            os.fsync(file.descriptor)
            file.commit()
    except OSError as error:
        raise CadrenderError(f"{place}: cannot be written: {error.strerror or error}") from error


def _alone_at(place):
    while True:
        try:
            return AtomicFile(place)
        except ClaimedError:
            time.sleep(_PATIENCE / 10)


def remix_list(plan: RemixPlan) -> dict[str, dict]:
    """The targets that are there now, by scene id, in the order of the scenes file."""
    plain, amplified = {}, {}
    for record in plan.journal.read().values():
        if not _is_there(plan, record):
            continue
        if record["listener"]:
            amplified.setdefault(record["scene"], {})[record["listener"]] = record
        elif record["path"].endswith(f".{plan.audio_format.container}") or record["scene"] not in plain:
            plain[record["scene"]] = record
    out = {}
    for scene in plan.scenes:
        name = sample_name(scene.music, scene.position)
        target = plain.get(scene.id)
        if target is None or (target["sample"], target["gain"]) != (name, scene.gain):
            continue
        listeners = {
            listener: {key: record[key] for key in _OF_A_FILE}
            for listener, record in amplified.get(scene.id, {}).items()
            if (record["sample"], record["gains_db"]) == (name, target["gains_db"])
        }
        out[scene.id] = {
            "scene": scene.id,
            "split": plan.settings.split,
            **{key: target[key] for key in _OF_A_FILE},
            "sample": name,
            "music": scene.music,
            "head_loudspeaker_positions": scene.position,
            **{key: target[key] for key in _OF_A_MIX},
            "listeners": listeners,
        }
    return out


_OF_A_FILE = ("path", "frames", "samplerate", "subtype", "clipped", "blake3")
_OF_A_MIX = ("gain", "gains_db", "loudness_before", "loudness_after", "loudness_mixture", "scale_db")


def _is_there(plan, record):
    """Whether the file of a journal's line is there as it was made."""
    try:
        folder = plan.journal.folders[bool(record["listener"])]
        kind = AudioFormat(record["container"], record["subtype"])
        return is_complete(folder / record["path"], record["frames"], record["samplerate"], kind)
    except (KeyError, TypeError, ValueError):
        return False
