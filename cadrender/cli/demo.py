"""``cadrender demo``: a root made from nothing, and the main job run on it."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cadrender.cli.settings import PATH, RunOptions, jobs_option
from cadrender.wording import duration

if TYPE_CHECKING:
    from cadrender.catalogue.at_mic import AtMicCatalogue


@click.command()
@click.argument("folder", type=PATH, default=Path("cadrender-demo"), metavar="[DIR]")
@jobs_option
def command(folder: Path, jobs: int) -> None:
    """Make a small complete root in DIR (default: ./cadrender-demo) and render it.

    It has four synthesised songs, 16 heads computed from a spherical-head model, and all the metadata of the
    challenge: a root to try every other command on.
    """
    from cadrender.catalogue.at_mic import AtMicCatalogue
    from cadrender.cli.running import run_plan
    from cadrender.config import load_settings
    from cadrender.demo import make_root
    from cadrender.pipeline.plan import make_plan

    began = time.monotonic()

    def tell(done: int, total: int, what: str) -> None:
        if what:
            click.echo(f"[{done + 1} of {total}] making {what}", err=True)

    made = make_root(folder, on_progress=tell)
    click.echo(
        f"{folder}: {len(made.tracks)} songs ({duration(made.seconds)}), {len(made.subjects)} heads, "
        f"{made.positions} head positions, {made.gains} gains, {made.listeners} listeners, {made.scenes} scenes; "
        f"{len(made.written)} files made in {duration(time.monotonic() - began)}",
        err=True,
    )
    if made.changed:
        others = f" and {len(made.changed) - 3} more" if len(made.changed) > 3 else ""
        click.echo(
            f"{folder}: left alone, as they have changed since they were made: {', '.join(made.changed[:3])}{others} "
            "(delete a file to have it made again)",
            err=True,
        )
    catalogue = AtMicCatalogue(load_settings(root=folder))
    status = run_plan(make_plan(catalogue), RunOptions(jobs))
    if status == 0:
        _say_how_to_listen(catalogue, folder)
    sys.exit(status)


def _say_how_to_listen(catalogue: "AtMicCatalogue", folder: Path) -> None:
    sample = catalogue.samples[0]
    song = catalogue.settings.music_dir / sample.track.path / "mixture.wav"
    file = catalogue.output(sample, "mixture").file
    click.echo(
        f"""
Listen (headphones): the song, and what the microphones behind {sample.position.subject}'s ears pick up of it
  {song}
  {file}
Go on:
  cadrender scenes --root {folder} --scenes-per-song 6   # more scenes
  cadrender generate --root {folder}                     # renders only what they add
  cadrender --help"""
    )
