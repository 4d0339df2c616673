"""``cadrender excerpts``: validation and evaluation excerpts."""

import sys
from dataclasses import replace

import click

from cadrender.cli.settings import (
    check_number,
    format_options,
    run_options,
    settings_from,
    settings_options,
    songs_option,
    stems_option,
)
from cadrender.errors import CadrenderError


@click.command()
@settings_options(music=True, places=("output_music_dir", "output_music_file", "excerpts_dir"))
@click.option("--split", type=click.Choice(["valid", "test"]), help="Which excerpts; required.")
@click.option("--duration", type=float, default=10.0, show_default=True, help="Seconds of an excerpt.")
@click.option("--per-song", type=int, help="Excerpts of each song, with --split valid; default: 2.")
@click.option("--seed", default="icassp2024", show_default=True, help="The text that seeds the draws.")
@click.option(
    "--min-loudness",
    type=float,
    callback=check_number,
    metavar="LUFS",
    help="How loud an excerpt's mixture must be.",
)
@click.option(
    "--listeners-per-scene", "number_listeners_per_scene", type=int, help="Listeners per scene; default: 2."
)
@songs_option
@stems_option
@format_options
@run_options("Replace what is there without a backup; go on although the disk seems too small.")
def command(duration, per_song, seed, min_loudness, songs, stems, audio_format, run, **options) -> None:
    """Cut excerpts of songs, draw their scenes, and render them.

    With --split valid, excerpts are taken at random places of the songs of musdb18.train.json, each with
    another head position than its siblings and, as long as there are enough, than the song's training scenes.
    With --split test, the songs of musdb18.test.json are cut from end to end, and no position comes twice in a
    song. The draws depend on the seed, the split and the song's name alone.

    Written are the split's scenes and scene-listeners, excerpts.<split>.json (what each excerpt was cut from),
    the excerpts' own stems, and the at-mic files with their list. Only what is missing is made: run it again
    after an interruption. Metadata that change are kept as numbered backups. --songs selects what is rendered.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    settings = _settings(options)
    if per_song is not None and settings.split != "valid":
        raise click.UsageError("--per-song goes with --split valid: test songs are cut from end to end.")
    if per_song is not None and per_song < 1:
        raise click.UsageError(f"--per-song {per_song} is not a number from 1 on.")
    if not 0 < duration < 1e6:
        raise click.UsageError(f"--duration {duration:g} is not a number of seconds.")
    from cadrender.cli.log import record, tell
    from cadrender.cli.running import cluster_of, resumable, run_plan
    from cadrender.excerpts import Recipe, plan_excerpts
    from cadrender.pipeline.shards import Shard
    from cadrender.wording import plural

    recipe = Recipe(duration, 0 if settings.split == "test" else per_song or 2, seed, min_loudness)
    shard = Shard.parse(run.shard) if run.shard else None
    work = plan_excerpts(settings, recipe, songs=songs, force=run.force, shard=shard)
    drawn = work.drawn
    say = record if run.quiet else tell
    say(*drawn.remarks)
    if not drawn.excerpts:
        for line in drawn.failures.values():
            tell(f"failed: {line}")
        raise CadrenderError("no song gave an excerpt: nothing is written")
    chosen = {"audio_format": audio_format, "songs": songs, "stems": stems}
    files, size = work.at_mic_to_come(**chosen)
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
            status = run_plan(work.plan_at_mic(**chosen), run, cluster) or status
    sys.exit(status)


def _settings(options):
    """The settings of the split; valid excerpts are of the training songs unless another list is named."""
    settings = settings_from(**options)
    if settings.split == "train":
        raise click.UsageError("say --split valid or --split test.")
    named = options["music_file"] or any(text.startswith("path.music_file=") for text in options["overrides"])
    usual = settings.music_file == settings.metadata_dir / "musdb18.valid.json"
    if settings.split == "valid" and usual and not named:
        file = settings.metadata_dir / "musdb18.train.json"
        settings = replace(settings, music_file=file, music_files=(file,))
    return settings
