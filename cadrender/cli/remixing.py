"""What ``remix`` and ``generate --remix`` say of targets."""

import sys

from cadrender.cli.running import resumable
from cadrender.jobs.plan import free_space
from cadrender.jobs.pool import usable_cpus
from cadrender.jobs.progress import RunProgress, duration
from cadrender.jobs.remix import RemixSummary, remix
from cadrender.jobs.remix_plan import RemixPlan, check_remix_space


def run_remix_plan(
    plan: RemixPlan, jobs: int | None, *, force=False, dry_run=False, quiet=False, verbose=False
) -> int:
    """Say what will be done, do it, and say what was done; as :func:`cadrender.cli.running.run_plan`."""
    n_jobs = usable_cpus() if jobs in (None, -1) else jobs
    if not quiet:
        lines = [*describe_remix(plan), f"{n_jobs} process{'es' if n_jobs > 1 else ''}"]
        print("\n".join(lines), file=sys.stderr)
    if not force:
        check_remix_space(plan, n_jobs)
    if dry_run:
        for line in plan.failures:
            print(f"failed: {line}", file=sys.stderr)
        return 1 if plan.failures else 0

    frame_bytes = plan.bytes / max(1, plan.frames)
    progress = RunProgress(plan.files, plan.frames, plan.output_rate, frame_bytes, quiet, unit="targets")

    def say(line):
        if verbose or not line.startswith("clipped:"):
            progress.say(line)

    with resumable(), progress:
        summary = remix(plan, n_jobs, say=say, advance=progress.advance)
    if not quiet or summary.failures:
        print(remix_summary_line(summary), file=sys.stderr)
    return 1 if summary.failures else 0


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
