"""``cadrender index``: levels measured ahead of time."""

import sys
from typing import TYPE_CHECKING

import click

from cadrender.cli.settings import (
    ONE_SPLIT,
    Given,
    dry_run_option,
    heads_option,
    jobs_option,
    quiet_option,
    settings_options,
    songs_option,
)

if TYPE_CHECKING:
    from cadrender.pipeline.events import Event


@click.command()
@settings_options(split=ONE_SPLIT, music=True, places=("output_music_dir", "output_music_file", "scene_file"))
@heads_option
@songs_option
@jobs_option
@dry_run_option
@quiet_option
def command(given: Given, heads: str, songs: tuple[str, ...], jobs: int, dry_run: bool, quiet: bool) -> None:
    """Measure how loud stems are at head positions, so that any part of them can be read at once.

    Reading a part of an at-mic stem needs the loudness of the whole stem. It is measured at the first read of each
    stem and kept in ROOT/metadata/levels.jsonl (in the user's cache directory where that cannot be written); this
    command measures it ahead of time. Levels that `generate` recorded are used. Run it again after an interruption.

    Exit status: 0 all levels are known, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    settings = given.settings()
    from cadrender.catalogue.at_mic import AtMicCatalogue
    from cadrender.cli.progress import RunProgress
    from cadrender.cli.running import resumable
    from cadrender.index import plan_index
    from cadrender.pipeline.events import Progressed
    from cadrender.wording import duration, plural

    plan = plan_index(AtMicCatalogue(settings, heads=heads, songs=songs))
    if not quiet:
        print(
            f"{plural(plan.known, 'level')} known; {plan.levels} to measure, of {plural(len(plan.batches), 'stem')}: "
            f"{duration(plan.frames / settings.sample_rate)} of audio",
            file=sys.stderr,
        )
    if dry_run:
        for line in plan.catalogue.failures.values():
            print(f"failed: {line}", file=sys.stderr)
        sys.exit(1 if plan.catalogue.failures else 0)
    progress = RunProgress(len(plan.batches), plan.frames, 0, settings.sample_rate, quiet, "stems")

    def on_event(event: "Event") -> None:
        if isinstance(event, Progressed):
            progress.advance(event.frame_scenes, event.units)
        else:
            progress.say(str(event))

    with resumable(), progress:
        summary = plan.run(jobs, on_event)
    if not quiet or summary.failures:
        kept = f"; kept in {' and '.join(map(str, summary.places))}" if summary.places else ""
        print(
            f"{plural(summary.measured, 'level')} measured ({plural(summary.stems, 'stem')}), {summary.known} known "
            f"before, {plural(len(summary.failures), 'failure')}, {duration(summary.seconds)} on "
            f"{plural(summary.jobs, 'process')}{kept}",
            file=sys.stderr,
        )
    sys.exit(1 if summary.failures else 0)
