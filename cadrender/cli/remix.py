"""``cadrender remix``: rebalanced targets."""

import sys
from pathlib import Path

import click

from cadrender.cli.settings import format_options, jobs_option, settings_from, settings_options


@click.command()
@settings_options(split=True, music=True)
@jobs_option
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music is.")
@click.option("--output-remix-dir", type=click.Path(path_type=Path), help="Where the targets go.")
@click.option("--output-remix-file", type=click.Path(path_type=Path), help="Where their list goes.")
@click.option("--scenes-file", type=click.Path(path_type=Path), help="The scenes.")
@click.option("--scenes", multiple=True, metavar="PATTERN", help="Only these, e.g. 'scene_100*'; repeatable.")
@click.option("--songs", multiple=True, metavar="PATTERN", help="Only these tracks, e.g. 'A*'; repeatable.")
@format_options
@click.option(
    "--sample-rate", "output_rate", type=int, metavar="HZ", help="Resample the targets, e.g. 32000."
)
@click.option("--listeners", is_flag=True, help="Also amplify each target for the scene's listeners (NAL-R).")
@click.option(
    "--listeners-subtype",
    type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
    default="FLOAT",
    show_default=True,
    help="Of the amplified targets; they exceed full scale, and FLOAT, always WAV, does not clip them.",
)
@click.option(
    "--output-remix-listeners-dir",
    type=click.Path(path_type=Path),
    help="Where the amplified targets go.",
)
@click.option("--force", is_flag=True, help="Go on although the disk seems too small.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Name every clipped file.")
def command(
    overrides,
    root,
    config,
    split,
    music_file,
    jobs,
    output_music_dir,
    output_remix_dir,
    output_remix_file,
    output_remix_listeners_dir,
    scenes_file,
    scenes,
    songs,
    container,
    subtype,
    output_rate,
    listeners,
    listeners_subtype,
    force,
    dry_run,
    quiet,
    verbose,
):
    """Make the rebalanced target of every scene.

    A target is the sum of the scene's at-mic stems, each turned up or down by the scene's gain, at the
    loudness of the at-mic mixture. It goes to ROOT/audio/remix/SPLIT/SCENE.wav, and
    ROOT/metadata/remix.SPLIT.json lists all with their gains and loudness. At-mic stems that are not on disk
    are rendered on the way, and not kept.

    With --listeners, ROOT/audio/remix_listeners/SPLIT/SCENE_LISTENER.wav is the target amplified by the
    listener's NAL-R prescription: 220 frames longer and 110 frames late, as the challenge's baseline has it.

    Only what is missing is made: run it again after an interruption.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    settings = settings_from(
        overrides,
        root,
        config,
        split=split,
        music_file=music_file,
        output_music_dir=output_music_dir,
        output_remix_dir=output_remix_dir,
        output_remix_file=output_remix_file,
        output_remix_listeners_dir=output_remix_listeners_dir,
        scene_file=scenes_file,
    )
    from cadrender.cli.remixing import run_remix_plan
    from cadrender.jobs.remix_plan import make_remix_plan
    from cadrender.store import AudioFormat

    plan = make_remix_plan(
        settings,
        audio_format=AudioFormat(container, subtype),
        listener_format=AudioFormat("wav" if listeners_subtype == "FLOAT" else container, listeners_subtype),
        output_rate=output_rate,
        listeners=listeners,
        scenes=scenes,
        songs=songs,
    )
    sys.exit(run_remix_plan(plan, jobs, force=force, dry_run=dry_run, quiet=quiet, verbose=verbose))
