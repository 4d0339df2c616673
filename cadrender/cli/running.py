"""What all commands that render have in common: what will be done, the bar, the summary, interruptions."""

import contextlib
import signal
import sys

from cadrender.errors import CadrenderError, UsageError
from cadrender.jobs.dask import Cluster
from cadrender.jobs.generate import Summary, generate
from cadrender.jobs.plan import Plan, check_space, free_space
from cadrender.jobs.pool import usable_cpus
from cadrender.jobs.progress import RunProgress, duration
from cadrender.jobs.remix import Mixing, RemixSummary
from cadrender.jobs.remix_plan import RemixPlan, check_remix_space


class _Terminated(BaseException):
    """SIGTERM arrived."""


@contextlib.contextmanager
def _interruptible():
    """Raise an exception on SIGTERM, as on Ctrl-C, and let neither of them get lost.

    Where a finaliser or a callback from C happens to run, Python reports an exception as ignored and goes on. An
    interruption that falls into such a place is raised once more, a little later.
    """
    dropped = [KeyboardInterrupt]

    def raise_terminated(number, frame):
        raise _Terminated

    def raise_again(number, frame):
        raise dropped[-1]

    def on_unraisable(unraisable):
        if issubclass(unraisable.exc_type, (KeyboardInterrupt, _Terminated)):
            dropped.append(unraisable.exc_type)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            report(unraisable)

    report, sys.unraisablehook = sys.unraisablehook, on_unraisable
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGTERM, raise_terminated), (signal.SIGALRM, raise_again))
    }
    try:
        yield
    finally:
        sys.unraisablehook = report
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def resumable():
    """Run work that can be taken up again: an interruption ends the program, with a line on how to go on.

    Raises
    ------
    SystemExit
        130 after Ctrl-C, 143 after SIGTERM.
    CadrenderError
        The work's own, with a word on how to go on.
    """
    try:
        with _interruptible():
            yield
    except (KeyboardInterrupt, _Terminated) as interruption:
        print(
            "interrupted: every file in its place is whole; run the same command again to go on",
            file=sys.stderr,
        )
        raise SystemExit(130 if isinstance(interruption, KeyboardInterrupt) else 143) from None
    except UsageError:  # nothing has begun
        raise
    except CadrenderError as error:
        raise CadrenderError(f"{error}; run the same command again to go on") from error


def run_plan(
    plan: Plan,
    jobs: int | None,
    *,
    force=False,
    dry_run=False,
    quiet=False,
    verbose=False,
    remix_plan: RemixPlan | None = None,
    cluster: Cluster | None = None,
) -> int:
    """Say what will be done, do it, and say what was done.

    Parameters
    ----------
    plan : Plan
    jobs : int or None
        Processes; None or -1 for all usable CPUs.
    force : bool
        Go on although the disk seems too small.
    dry_run : bool
        Stop before anything is written.
    quiet, verbose : bool
        How much to say.
    remix_plan : RemixPlan, optional
        Targets to mix at the same time.
    cluster : Cluster, optional
        Where to do it; processes of this machine by default.

    Returns
    -------
    int
        Exit status.
    """
    if jobs in (None, -1):
        jobs = usable_cpus()
    n_jobs = cluster.workers if cluster else jobs
    if not quiet:
        lines = describe(plan, n_jobs)
        lines[-1:-1] = describe_remix(remix_plan) if remix_plan else []
        print("\n".join(lines), file=sys.stderr)
    if not force:
        check_space(plan)
        if remix_plan:
            check_remix_space(remix_plan, n_jobs, others=plan.bytes)
    if dry_run:
        for line in plan.failures.values():
            print(f"failed: {line}", file=sys.stderr)
        return 1 if plan.failures else 0

    frame_scenes = sum(job.frame_scenes for job in plan.jobs) + (remix_plan.frames if remix_plan else 0)
    missing = len({target.sample for job in plan.jobs for target in job.targets})
    progress = RunProgress(
        missing, frame_scenes, plan.settings.sample_rate, plan.audio_format.bytes_per_frame, quiet
    )

    def say(line):
        if verbose or not line.startswith(("clipped:", "silent:")):
            progress.say(line)

    mixing = None
    if remix_plan:
        mixing = Mixing(remix_plan, n_jobs, say, lambda frames, targets: progress.advance(frames, 0))
    with resumable(), progress:
        summary = generate(plan, n_jobs, say=say, advance=progress.advance, mixing=mixing, cluster=cluster)
    failed = bool(summary.failures or (mixing and mixing.summary.failures))
    if not quiet or failed:
        print(summary_line(summary), file=sys.stderr)
        if mixing:
            print(remix_summary_line(mixing.summary), file=sys.stderr)
    return 1 if failed else 0


def describe(plan: Plan, n_jobs: int) -> list[str]:
    """A few lines on what a run will do."""
    settings = plan.settings
    songs = len({sample.track.name for sample in plan.samples})
    lines = [f"{len(plan.samples)} samples of {songs} songs in {settings.scene_file}"]
    if len(plan.selected) < songs:
        lines.append(f"{len(plan.selected)} songs selected")
    sources = {sample.source for sample in plan.samples if sample.track.name in plan.selected}
    mixtures = sum(len(plan.songs[name].files) == 1 for name in sources if name in plan.songs)
    if mixtures:
        lines.append(f"{mixtures} songs have no stems: their mixture alone is rendered")
    if plan.shard:
        lines.append(f"shard {plan.shard} of the work")
    if plan.changed:
        others = f" and {len(plan.causes) - 3} more" if len(plan.causes) > 3 else ""
        since = f"; changed since: {', '.join(map(str, plan.causes[:3]))}{others}" if plan.causes else ""
        lines.append(f"{len(plan.changed)} files are rendered again{since}")
    free = free_space(settings.output_music_dir)
    lines.append(
        f"{plan.skipped} samples complete; {plan.files} files to render: {duration(plan.seconds)} of audio, "
        f"{plan.bytes / 1e9:.2f} GB ({free / 1e9:.2f} GB free) in {settings.output_music_dir}"
    )
    lines.append(f"{n_jobs} process{'es' if n_jobs > 1 else ''}")
    return lines


def summary_line(summary: Summary) -> str:
    """The one line at the end of a run."""
    parts = [f"{summary.rendered} samples rendered", f"{summary.skipped} skipped"]
    if summary.incomplete:
        parts.append(f"{summary.incomplete} incomplete")
    parts += [
        f"{summary.clipped} files clipped",
        f"{summary.silent} silent",
        f"{len(summary.failures)} failures",
        duration(summary.seconds),
    ]
    if summary.frame_scenes:
        parts.append(
            f"{summary.nanoseconds:.1f} ns per frame-scene on {summary.n_jobs} "
            f"process{'es' if summary.n_jobs > 1 else ''}"
        )
    return ", ".join(parts)


def describe_remix(plan: RemixPlan) -> list[str]:
    """A few lines on what a run will do."""
    settings = plan.settings
    lines = [f"{len(plan.scenes)} scenes in {settings.scene_file}"]
    if len(plan.selected) < len(plan.scenes):
        lines.append(f"{len(plan.selected)} scenes selected")
    if plan.stemless:
        shown = ", ".join(plan.stemless[:3]) + (", ..." if len(plan.stemless) > 3 else "")
        lines.append(f"no stems, so there is nothing to rebalance: {len(plan.stemless)} songs ({shown})")
    free = free_space(settings.output_remix_dir)
    lines.append(
        f"{plan.skipped} targets complete; {plan.files} to make: "
        f"{duration(plan.frames / plan.output_rate)} of audio, {plan.bytes / 1e9:.2f} GB "
        f"({free / 1e9:.2f} GB free) in {settings.output_remix_dir}"
    )
    if unstored := plan.unstored:
        lines.append(f"{unstored} at-mic files are missing: rendered on the way, and not kept")
    return lines


def remix_summary_line(summary: RemixSummary) -> str:
    """The one line at the end of a run."""
    parts = [f"{summary.mixed} targets made", f"{summary.skipped} skipped"]
    if summary.without_stems:
        parts.append(f"{summary.without_stems} songs without stems")
    if summary.rendered:
        parts.append(f"{summary.rendered} at-mic files rendered on the way")
    parts += [f"{summary.clipped} clipped", f"{len(summary.failures)} failures"]
    if summary.seconds:
        parts.append(duration(summary.seconds))
    if summary.seconds and summary.frames:
        parts.append(
            f"{1e9 * summary.seconds / summary.frames:.1f} ns per frame on {summary.n_jobs} "
            f"process{'es' if summary.n_jobs > 1 else ''}"
        )
    return ", ".join(parts)
