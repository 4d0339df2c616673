"""``cadrender generate``: the main job."""

import sys
from typing import TYPE_CHECKING

import click

from cadrender.cli.settings import (
    ONE_SPLIT,
    Given,
    RunOptions,
    format_options,
    run_options,
    settings_options,
    songs_option,
    stems_option,
)
from cadrender.stems import STEMS

if TYPE_CHECKING:
    from cadrender.catalogue.base import Catalogue
    from cadrender.store import AudioFormat


@click.command()
@settings_options(split=ONE_SPLIT, music=True, places=("output_music_dir", "output_music_file", "scene_file"))
@songs_option
@stems_option
@format_options
@click.option(
    "--remix", is_flag=True, help="Also make each sample's targets once it is complete; see `remix`."
)
@run_options()
def command(
    given: Given,
    songs: tuple[str, ...],
    stems: tuple[str, ...],
    audio_format: "AudioFormat | None",
    remix: bool,
    run: RunOptions,
) -> None:
    """Render the at-mic music of a root's scenes.

    Only what is missing is rendered: run it again after an interruption. The official script's overrides are
    accepted as they are: cadrender generate path.root=/data/icassp_2024

    With --remix the rebalanced targets are made in the same run: each sample is mixed soon after its five files
    are complete, while the system still holds them in memory. A shard then takes whole songs.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    if remix and len(stems) < len(STEMS):
        raise click.UsageError("--remix needs whole samples: it does not go with --stems.")
    settings = given.settings()
    from cadrender.catalogue.at_mic import AtMicCatalogue
    from cadrender.catalogue.targets import TargetCatalogue
    from cadrender.cli.running import cluster_of, run_plan
    from cadrender.pipeline.plan import make_plan

    at_mic = AtMicCatalogue(settings, audio_format=audio_format, songs=songs, stems=stems)
    catalogues: list[Catalogue] = [at_mic]
    if remix:
        catalogues.append(TargetCatalogue(settings, audio_format=audio_format, songs=songs, after=at_mic))
    plan = make_plan(*catalogues, shard=run.shard)
    with cluster_of(run, settings) as cluster:
        sys.exit(run_plan(plan, run, cluster))
