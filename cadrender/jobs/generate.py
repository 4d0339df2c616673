"""The main job: everything between a plan and a finished data set."""

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cadrender.errors import CadrenderError
from cadrender.jobs.dask import Cluster
from cadrender.jobs.mix import MixReport
from cadrender.jobs.plan import Plan, make_folders, make_manifest, remove_changed, sweep
from cadrender.jobs.pool import run_jobs
from cadrender.jobs.remix import Mixing, in_turn, killed, run_either_job
from cadrender.jobs.stem import Report
from cadrender.metadata import Sample, at_mic_json
from cadrender.store import AtomicFile, ClaimedError, is_claimed

_log = logging.getLogger("cadrender")

# Seconds between two looks at files that another process is writing.
_PATIENCE = 0.5


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    rendered, skipped, incomplete : int
        Samples completed by this run, complete before, and still lacking files.
    files, frame_scenes : int
        At-mic files written, and their frames in all.
    clipped, silent : int
        Files with clipped samples, and files that are digital silence.
    failures : list of str
        One line each.
    seconds : float
        Wall time of the rendering.
    n_jobs : int
        Processes used.
    """

    rendered: int = 0
    skipped: int = 0
    incomplete: int = 0
    files: int = 0
    frame_scenes: int = 0
    clipped: int = 0
    silent: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    n_jobs: int = 1

    @property
    def nanoseconds(self) -> float:
        """Wall time per frame and scene."""
        return 1e9 * self.seconds / self.frame_scenes if self.frame_scenes else 0.0


def generate(
    plan: Plan,
    n_jobs: int = 1,
    *,
    say: Callable[[str], None] = _log.info,
    advance: Callable[[int, int], None] = lambda frame_scenes, samples: None,
    mixing: Mixing | None = None,
    cluster: Cluster | None = None,
) -> Summary:
    """Render what a plan lacks and write the list of the samples that are complete.

    Parameters
    ----------
    plan : Plan
    n_jobs : int
        Processes.
    say : callable
        Told each thing worth a line while it happens.
    advance : callable
        Told frames times heads written, and samples completed, since the last call.
    mixing : Mixing, optional
        A run of ``remix`` that goes on at the same time: each sample is mixed when it is complete.
    cluster : Cluster, optional
        Where the jobs run; processes of this machine by default.

    Returns
    -------
    Summary

    Raises
    ------
    CadrenderError
        If nothing more can be written (disk full, read-only) or a worker was killed; the list of samples has
        been written by then where that is possible.
    """
    summary = Summary(skipped=plan.skipped, failures=list(plan.failures.values()), n_jobs=n_jobs)
    for line in summary.failures:
        say(f"failed: {line}")
    began = time.perf_counter()
    if removed := make_folders(plan):
        say(f"removed {removed} temporary files of an interrupted run")
    make_manifest(plan)
    if removed := remove_changed(plan):
        say(f"removed {removed} at-mic files that are rendered again")
    if mixing:
        mixing.begin()
    try:
        _render(plan, n_jobs, summary, say, advance, mixing, cluster)
    except BaseException:
        sweep(plan)
        if mixing:
            mixing.sweep()
        with contextlib.suppress(CadrenderError):  # a full disk; the first error is the one to report
            _finish(plan, summary, mixing)
        raise
    _finish(plan, summary, mixing)
    summary.seconds = time.perf_counter() - began
    return summary


def _finish(plan, summary, mixing):
    complete = write_list(plan)
    if mixing:
        mixing.finish()
    if plan.shard is None:
        selected = [s for s in plan.samples if s.track.name in plan.selected]
        summary.incomplete = len(selected) - sum(s.track.name in plan.selected for s in complete)


def _render(plan, n_jobs, summary, say, advance, mixing, cluster):
    """Run the jobs; those whose files another process is writing are looked at again until they are done."""
    lacking = Counter(target.sample for job in plan.jobs for target in job.targets)
    ours = set()
    jobs = in_turn(plan.jobs, mixing.plan.jobs, n_jobs) if mixing else plan.jobs
    waiting, put_off = False, []
    while jobs:
        again = []
        for report in run_jobs(jobs, n_jobs, run_either_job, killed, say, cluster):
            if isinstance(report, MixReport):
                if left := mixing.take(report):
                    put_off.append(left)
                continue
            _count(report, summary, say)
            if report.fatal:
                raise CadrenderError(report.error)
            written = [one.target.sample for one in report.written]
            there = written + [target.sample for target in report.found]
            ours.update(written)
            lacking.subtract(there)
            completed = {sample for sample in there if not lacking[sample]}
            summary.rendered += len(completed & ours)
            summary.skipped += len(completed - ours)
            advance(len(there) * report.job.frames, len(completed))
            if report.claimed:
                again.append(replace(report.job, targets=report.claimed))
        if again and not waiting:
            waiting = True
            say("another cadrender is at work on some of these files: waiting for it")
        jobs = again
        while jobs and all(is_claimed(target.file) for job in jobs for target in job.targets):
            time.sleep(_PATIENCE)
    if mixing:
        mixing.run(put_off)


def _count(report: Report, summary: Summary, say) -> None:
    if report.error:
        summary.failures.append(report.error)
        if not report.fatal:
            say(f"failed: {report.error}")
    for written in report.written:
        summary.files += 1
        summary.frame_scenes += report.job.frames
        if written.clipped:
            summary.clipped += 1
            say(f"clipped: {written.target.file}: {written.clipped} samples")
        if written.gain == 0.0:
            summary.silent += 1
            say(f"silent: {written.target.file}: no loudness before or after the HRIRs, written as zeros")


def write_list(plan: Plan) -> list[Sample]:
    """Write ``at_mic_music.<split>.json``: the samples that are complete on disk now.

    Several processes take turns, so that the list that stays is the one made last.

    Returns
    -------
    list of Sample
        The complete ones.

    Raises
    ------
    CadrenderError
        If it cannot be written.
    """
    place = plan.settings.output_music_file
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _in_turn(place) as file:
            complete = plan.complete_samples()
            # Of several shards the last one finds everything complete, and writes the list.
            if plan.shard is None or len(complete) == len(plan.samples):
                file.write(at_mic_json(complete).encode())
                os.fsync(file.descriptor)
                file.commit()
    except OSError as error:
        raise CadrenderError(f"{place}: cannot be written: {error.strerror or error}") from error
    return complete


def _in_turn(place):
    while True:
        try:
            return AtomicFile(place)
        except ClaimedError:
            time.sleep(_PATIENCE / 10)
