"""What all commands that make files share: what will be done, the bar, the summary, interruptions."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from cadrender.cache import code_directory
from cadrender.cli import log
from cadrender.cli.interruptions import INTERRUPTIONS, exit_status, interruptible
from cadrender.cli.progress import RunProgress
from cadrender.cli.settings import RunOptions
from cadrender.config import Settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.pipeline.events import Event, Progressed
from cadrender.pipeline.plan import Plan, Share, free_space
from cadrender.pipeline.run import Summary, Tally
from cadrender.wording import duration, plural

if TYPE_CHECKING:
    from cadrender.pipeline.dask import Cluster


@contextlib.contextmanager
def resumable() -> Iterator[None]:
    """Run work that can be resumed: an interruption ends the program, with a line on how to continue.

    Raises
    ------
    SystemExit
        130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    CadrenderError
        That of the work; the message adds how to continue.
    """
    try:
        with interruptible():
            yield
    except INTERRUPTIONS as interruption:
        with contextlib.suppress(OSError):  # the terminal is gone
            log.tell("interrupted: every file in its place is whole; run the same command again to go on")
        raise SystemExit(exit_status(interruption)) from None
    except UsageError:  # nothing has begun
        raise
    except CadrenderError as error:
        raise CadrenderError(f"{error}; run the same command again to go on") from error


@contextlib.contextmanager
def cluster_of(run: RunOptions, settings: Settings) -> Iterator["Cluster | None"]:
    """The Dask cluster of a run; None where it has none."""
    if run.scheduler is None:
        yield None
        return
    from cadrender.pipeline.dask import Cluster

    with Cluster(run.scheduler, settings.root, log.tell) as cluster:
        yield cluster


def run_plan(plan: Plan, run: RunOptions, cluster: "Cluster | None" = None, *, last: bool = True) -> int:
    """Print what will be done, do it, and print what was done.

    Parameters
    ----------
    plan : Plan
    run : RunOptions
    cluster : Cluster, optional
        Default: processes of this machine.
    last : bool
        Whether to end with how to keep the places that were given for this run.

    Returns
    -------
    int
        Exit status.
    """
    summary = make(plan, run, cluster)
    if summary is None:
        return 1 if plan.failures else 0
    say = log.record if run.quiet else log.tell
    (log.tell if summary.failures else say)(*summary_lines(summary, cluster))
    settings = plan.shares[0].catalogue.settings
    if last and (line := settings.line_to_keep()):
        say(f"to make every command look there, put into {settings.own_file}:  {line}")
    return 1 if summary.failures else 0


def make(
    plan: Plan, run: RunOptions, cluster: "Cluster | None" = None, *, tell: Callable[[Event], str] = str
) -> Summary | None:
    """Print what will be done, and do it.

    Parameters
    ----------
    plan : Plan
    run : RunOptions
    cluster : Cluster, optional
        Default: processes of this machine.
    tell : callable
        Makes a line of an event.

    Returns
    -------
    Summary or None
        None after a dry run.
    """
    code_directory()  # its problems are reported before the bar is shown
    jobs = cluster.workers if cluster else run.jobs
    (log.record if run.quiet else log.tell)(*describe(plan, jobs, cluster))
    if not run.force:
        plan.check_space(jobs)
    if run.dry_run:
        for line in plan.failures:
            log.tell(f"failed: {line}")
        return None

    first = plan.shares[0]
    units = sum(lacks > 0 for lacks in first.units.values())
    progress = RunProgress(
        units,
        plan.frame_scenes,
        plan.bytes,
        _rate(first),
        run.quiet,
        first.catalogue.unit,
        min(jobs, len(plan.batches)) or 1,
    )

    def on_event(event: Event) -> None:
        if isinstance(event, Progressed):
            units = event.units if event.unit == first.catalogue.unit else 0
            progress.advance(event.frame_scenes, units, event.seconds)
        elif run.verbose or not event.detail:
            progress.say(tell(event))

    with resumable(), progress:
        return plan.run(jobs, on_event=on_event, cluster=cluster)


def _rate(share: Share) -> int:
    return next((output.signal.samplerate for output in share.todo), 44100)


def describe(plan: Plan, jobs: int, cluster: "Cluster | None" = None) -> list[str]:
    """A few lines on what a run will do."""
    lines: list[str] = []
    for share in plan.shares:
        lines += share.catalogue.describe()
        if plan.shard and share is plan.shares[0]:
            lines.append(f"shard {plan.shard} of the work")
        lines += _replacements(share)
        lines.append(_amount(share))
    if unstored := plan.unstored:
        lines.append(
            f"{plural(unstored, 'at-mic file')} {_are(unstored)} missing: rendered on the way and not kept"
        )
    lines.append(plural(jobs, "worker" if cluster else "process"))
    return lines


def _amount(share: Share) -> str:
    """What of a catalogue is complete, and what is to be made."""
    catalogue, todo = share.catalogue, share.todo
    seconds = sum(output.signal.cost / output.signal.samplerate for output in todo)
    size = sum(output.bytes for output in todo)
    verb = {"rendered": "render", "made": "make", "cut": "cut", "converted": "convert"}[catalogue.made]
    folder = catalogue.folders[0]
    files = f"{len(todo)}" if catalogue.unit == "targets" else plural(len(todo), "file")
    length = duration(seconds)
    if any(output.signal.frames is None for output in todo):
        length = f"about {length}"
    return (
        f"{plural(share.current, catalogue.unit[:-1])} complete; {files} to {verb}: {length} of audio, "
        f"{size / 1e9:.2f} GB ({free_space(folder) / 1e9:.2f} GB free) in {folder}"
    )


_WHY = {
    "format": "another format is requested",
    "parameters": "made with other parameters",
    "unrecorded": "not recorded in the manifest",
    "asked": "as requested",
    "together": "made together with files that are not current",
}


def _replacements(share: Share) -> list[str]:
    """How many complete files will be replaced, and why."""
    again = [reason for reason in share.reasons.values() if reason.replaces]
    lines = []
    for kind, count in Counter(reason.kind for reason in again).items():
        made = f"{plural(count, 'file')} {_are(count)} {share.catalogue.made} again"
        if kind == "input":
            causes = list(dict.fromkeys(reason.cause for reason in again if reason.cause))
            others = f" and {len(causes) - 3} more" if len(causes) > 3 else ""
            lines.append(f"{made}; changed since: {', '.join(map(str, causes[:3]))}{others}")
        else:
            lines.append(f"{made}: {_WHY.get(kind, kind)}")
    return lines


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def summary_lines(summary: Summary, cluster: "Cluster | None" = None) -> list[str]:
    """The lines at the end of a run: one for each catalogue."""
    lines = [_tally(tally) for tally in summary.tallies]
    parts = [lines[-1], plural(len(summary.failures), "failure"), duration(summary.seconds)]
    if nanoseconds := summary.nanoseconds:
        workers = plural(summary.jobs, "worker" if cluster else "process")
        parts.append(f"{nanoseconds:.1f} ns per frame on {workers}")
    return [*lines[:-1], ", ".join(parts)]


def _tally(tally: Tally) -> str:
    parts = [
        f"{plural(tally.done, tally.unit[:-1])} {tally.made} ({plural(tally.files, 'file')})",
        f"{tally.skipped} skipped",
    ]
    if tally.incomplete:
        parts.append(f"{tally.incomplete} incomplete")
    if tally.without_stems:
        parts.append(f"{plural(tally.without_stems, 'song')} without stems")
    if tally.on_the_way:
        parts.append(f"{plural(tally.on_the_way, 'at-mic file')} rendered on the way")
    if tally.unit in ("samples", "targets"):
        parts.append(f"{tally.clipped} clipped")
    if tally.unit == "samples":
        parts.append(f"{tally.silent} silent")
    return ", ".join(parts)
