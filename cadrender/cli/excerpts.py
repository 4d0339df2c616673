"""``cadrender excerpts``: validation and evaluation excerpts."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from cadrender import startup
from cadrender.cli.settings import (
    Given,
    RunOptions,
    check_number,
    format_options,
    listeners_per_scene_option,
    run_options,
    settings_options,
    songs_option,
    stems_option,
)
from cadrender.config import Settings
from cadrender.errors import CadrenderError

if TYPE_CHECKING:
    from cadrender.store import AudioFormat


@click.command()
@settings_options(music=True, places=("output_music_dir", "output_music_file", "excerpts_dir"))
@click.option("--split", type=click.Choice(["valid", "test"]), help="The split; required.")
@click.option("--duration", type=float, default=10.0, show_default=True, help="Seconds of an excerpt.")
@click.option("--per-song", type=int, help="Excerpts of each song, with --split valid; default: 2.")
@click.option("--seed", default="icassp2024", show_default=True, help="The text that seeds the draws.")
@click.option(
    "--min-loudness",
    type=float,
    callback=check_number,
    metavar="LUFS",
    help="Lowest loudness of an excerpt's mixture; default: none.",
)
@listeners_per_scene_option
@songs_option
@stems_option
@format_options
@run_options("Replace existing metadata without a backup; go on although the disk seems too small.")
def command(
    given: Given,
    split: str | None,
    duration: float,
    per_song: int | None,
    seed: str,
    min_loudness: float | None,
    number_listeners_per_scene: int | None,
    songs: tuple[str, ...],
    stems: tuple[str, ...],
    audio_format: "AudioFormat | None",
    run: RunOptions,
) -> None:
    """Cut excerpts of songs, draw their scenes, and render them.

    With --split valid, excerpts are taken at random places of the songs of musdb18.train.json. Excerpts of a song
    have different head positions; while there are enough, these also differ from those of its training scenes.
    With --split test, the songs of musdb18.test.json are cut from end to end, and no position is used twice in a
    song. The draws depend only on the seed, the split and the song's name.

    The command writes the split's scenes and scene-listeners, excerpts.<split>.json (what each excerpt was cut
    from), the excerpts' own stems, and the at-mic files with their list. Only what is missing is made: run it again
    after an interruption. Metadata files that change are kept as numbered backups. --songs selects what is rendered.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    settings = _settings(given, split, number_listeners_per_scene)
    if per_song is not None and settings.split != "valid":
        raise click.UsageError("--per-song goes with --split valid: test songs are cut from end to end.")
    if per_song is not None and per_song < 1:
        raise click.UsageError(f"--per-song {per_song} must be at least 1.")
    if not 0 < duration < 1e6:
        raise click.UsageError(f"--duration {duration:g} is not a number of seconds.")
    from cadrender.cli.log import record, tell
    from cadrender.cli.running import cluster_of, resumable, run_plan
    from cadrender.excerpts import Recipe, plan_excerpts
    from cadrender.wording import plural

    recipe = Recipe(duration, 0 if settings.split == "test" else per_song or 2, seed, min_loudness)
    work = plan_excerpts(settings, recipe, songs=songs, force=run.force, shard=run.shard)
    drawn = work.drawn
    say = record if run.quiet else tell
    say(*drawn.remarks)
    if not drawn.excerpts:
        for line in drawn.failures.values():
            tell(f"failed: {line}")
        raise CadrenderError("no song gave an excerpt: nothing is written")
    files, size = work.at_mic_to_come(audio_format=audio_format, songs=songs, stems=stems)
    say(f"{plural(files, 'at-mic file')} to render: {size / 1e9:.2f} GB")
    if not run.force:
        work.check_space(size)
    with cluster_of(run, settings) as cluster, resumable():
        if not run.dry_run:
            backups = work.write_metadata(keep=not run.force)
            for file, backup in backups.items():
                say(f"{file}: written; the former file is kept as {backup.name}")
        status = run_plan(work.cuts, run, cluster, last=False)
        if not run.dry_run:
            startup.hold_collector()  # cutting has released it, and the kernels are loaded only now
            at_mic = work.plan_at_mic(audio_format=audio_format, songs=songs, stems=stems)
            status = run_plan(at_mic, run, cluster) or status
    sys.exit(status)


def _settings(given: Given, split: str | None, listeners: int | None) -> Settings:
    """The settings of the split; valid excerpts are of the training songs unless another list is given."""
    settings = given.settings(split=split, number_listeners_per_scene=listeners)
    if settings.split == "train":
        raise click.UsageError("--split valid or --split test is needed.")
    usual = settings.music_file == settings.metadata_dir / "musdb18.valid.json"
    if settings.split == "valid" and usual and not given.names("music_file"):
        file = settings.metadata_dir / "musdb18.train.json"
        settings = replace(settings, music_file=file, music_files=(file,))
    return settings
