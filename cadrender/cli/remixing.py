"""A run of ``remix``."""

import sys

from cadrender.cli.running import describe_remix, remix_summary_line, resumable
from cadrender.jobs.pool import usable_cpus
from cadrender.jobs.progress import RunProgress
from cadrender.jobs.remix import remix
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
