"""``cadrender generate``: the main job."""

import sys
from pathlib import Path

import click

from cadrender.cli.settings import settings_from, settings_options
from cadrender.stems import STEMS


def _jobs(context, parameter, value):
    if value is not None and value != -1 and value < 1:
        raise click.BadParameter(f"{value} is neither -1 (all CPUs) nor a number of processes from 1 on.")
    return value


@click.command()
@settings_options(split=True, music=True)
@click.option("-j", "--jobs", type=int, callback=_jobs, help="Processes; all usable CPUs if not said, or -1.")
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music goes.")
@click.option("--output-music-file", type=click.Path(path_type=Path), help="Where its list goes.")
@click.option("--scenes-file", type=click.Path(path_type=Path), help="The scenes to render.")
@click.option("--songs", multiple=True, metavar="PATTERN", help="Only these tracks, e.g. 'A*'; repeatable.")
@click.option("--stems", metavar="NAMES", help=f"Only these, with commas between: {','.join(STEMS)}.")
@click.option("--format", "container", type=click.Choice(["wav", "flac"]), default="wav", show_default=True)
@click.option(
    "--subtype",
    type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
    default="PCM_16",
    show_default=True,
    help="PCM_16 truncates as the challenge does; PCM_24 rounds.",
)
@click.option("--shard", metavar="I/N", help="Only the I-th of N equal parts of the work; for batch queues.")
@click.option("--force", is_flag=True, help="Go on although the disk seems too small.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Name every clipped and silent file.")
def command(
    overrides,
    root,
    config,
    split,
    music_file,
    jobs,
    output_music_dir,
    output_music_file,
    scenes_file,
    songs,
    stems,
    container,
    subtype,
    shard,
    force,
    dry_run,
    quiet,
    verbose,
):
    """Render the at-mic music of a root's scenes.

    Only what is missing is rendered: run it again after an interruption. The official script's overrides are
    accepted as they are: cadrender generate path.root=/data/icassp_2024

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    if container == "flac" and subtype == "FLOAT":
        raise click.UsageError("--format flac holds PCM_16 or PCM_24, not FLOAT.")
    settings = settings_from(
        overrides,
        root,
        config,
        split=split,
        music_file=music_file,
        output_music_dir=output_music_dir,
        output_music_file=output_music_file,
        scene_file=scenes_file,
    )
    from cadrender.cli.running import run_plan
    from cadrender.jobs.plan import make_plan
    from cadrender.jobs.shards import Shard
    from cadrender.store import AudioFormat

    plan = make_plan(
        settings,
        audio_format=AudioFormat(container, subtype),
        songs=songs,
        stems=_stems(stems),
        shard=Shard.parse(shard) if shard else None,
    )
    sys.exit(run_plan(plan, jobs, force=force, dry_run=dry_run, quiet=quiet, verbose=verbose))


def _stems(text):
    if text is None:
        return STEMS
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in STEMS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(STEMS)}.", param_hint="--stems")
    return names
