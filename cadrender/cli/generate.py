"""``cadrender generate``: the main job."""

import contextlib
import sys
from pathlib import Path

import click

from cadrender.cli.settings import (
    format_options,
    jobs_option,
    settings_from,
    settings_options,
    stems_option,
)
from cadrender.stems import STEMS


@click.command()
@settings_options(split=True, music=True)
@jobs_option
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music goes.")
@click.option("--output-music-file", type=click.Path(path_type=Path), help="Where its list goes.")
@click.option("--scenes-file", type=click.Path(path_type=Path), help="The scenes to render.")
@click.option("--songs", multiple=True, metavar="PATTERN", help="Only these tracks, e.g. 'A*'; repeatable.")
@stems_option
@format_options
@click.option("--shard", metavar="I/N", help="Only the I-th of N equal parts of the work; for batch queues.")
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask"]),
    default="loky",
    show_default=True,
    help="Who does the work: processes of this machine, or the workers of a Dask cluster.",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="The Dask cluster's scheduler, such as tcp://node1:8786."
)
@click.option(
    "--remix", is_flag=True, help="Also mix each sample's targets when it is complete; see `remix`."
)
@click.option(
    "--force", is_flag=True, help="Go on although the disk seems too small; nothing is rendered twice."
)
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
    backend,
    scheduler,
    remix,
    force,
    dry_run,
    quiet,
    verbose,
):
    """Render the at-mic music of a root's scenes.

    Only what is missing is rendered: run it again after an interruption. The official script's overrides are
    accepted as they are: cadrender generate path.root=/data/icassp_2024

    With --remix the rebalanced targets are made in the same run: each sample is mixed soon after its five files
    are complete, while the system still holds them in memory.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    if remix and (shard or len(stems) < len(STEMS)):
        raise click.UsageError("--remix needs whole samples: it goes neither with --shard nor with --stems.")
    if (backend == "dask") != (scheduler is not None):
        raise click.UsageError("--backend dask and --scheduler ADDRESS go together.")
    if remix and scheduler:
        raise click.UsageError("--remix does not go with --backend dask: run `cadrender remix` afterwards.")
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
        stems=stems,
        shard=Shard.parse(shard) if shard else None,
    )
    remix_plan = None
    if remix:
        from cadrender.jobs.remix_plan import make_remix_plan

        remix_plan = make_remix_plan(settings, audio_format=plan.audio_format, songs=songs, after=plan)
    with _cluster(scheduler, settings.root) as cluster:
        status = run_plan(
            plan,
            jobs,
            force=force,
            dry_run=dry_run,
            quiet=quiet,
            verbose=verbose,
            remix_plan=remix_plan,
            cluster=cluster,
        )
    sys.exit(status)


def _cluster(scheduler, root):
    if scheduler is None:
        return contextlib.nullcontext()
    from cadrender.jobs.dask import Cluster

    return Cluster(scheduler, root, lambda line: print(line, file=sys.stderr))
