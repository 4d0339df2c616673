"""``cadrender remix``: rebalanced targets."""

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
)

if TYPE_CHECKING:
    from cadrender.catalogue.base import Catalogue
    from cadrender.store import AudioFormat


@click.command()
@settings_options(
    split=ONE_SPLIT,
    music=True,
    places=(
        "output_music_dir",
        "output_remix_dir",
        "output_remix_file",
        "output_remix_listeners_dir",
        "output_submission_dir",
        "scene_file",
    ),
)
@click.option(
    "--scenes", multiple=True, metavar="PATTERN", help="Only these scenes, such as 'scene_100*'; repeatable."
)
@songs_option
@format_options
@click.option(
    "--sample-rate",
    "output_rate",
    type=int,
    metavar="HZ",
    help="Resample the targets, such as 32000; default: the root's rate.",
)
@click.option("--listeners", is_flag=True, help="Also amplify each target for the scene's listeners (NAL-R).")
@click.option(
    "--listeners-subtype",
    type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
    help="Subtype of the amplified targets: they exceed full scale, and FLOAT (always WAV) does not clip them. "
    "Default: as existing files, else FLOAT.",
)
@click.option(
    "--submission",
    is_flag=True,
    help="Make the files that the challenge's evaluator reads instead: FLAC at 32 kHz, each divided by its peak if "
    "that exceeds full scale, with the factor in a .txt file.",
)
@click.option(
    "--resampler-quality",
    "resampler",
    type=click.Choice(["HQ", "VHQ"]),
    default="HQ",
    show_default=True,
    help="Quality of soxr, where targets are resampled; HQ is the challenge's.",
)
@run_options()
def command(
    given: Given,
    scenes: tuple[str, ...],
    songs: tuple[str, ...],
    audio_format: "AudioFormat | None",
    output_rate: int | None,
    listeners: bool,
    listeners_subtype: str | None,
    submission: bool,
    resampler: str,
    run: RunOptions,
) -> None:
    """Make the rebalanced target of every scene.

    A target is the sum of the scene's at-mic stems, each turned up or down by the scene's gain, at the
    loudness of the at-mic mixture. It is written to ROOT/audio/remix/SPLIT/SCENE.wav, and
    ROOT/metadata/remix.SPLIT.json lists all targets with their gains and loudness. At-mic stems that are not on
    disk are rendered on the way and not kept.

    With --listeners, ROOT/audio/remix_listeners/SPLIT/SCENE_LISTENER.wav is the target amplified by the
    listener's NAL-R prescription: 220 frames longer and 110 frames late, as in the challenge's baseline.

    With --submission, ROOT/audio/submission/SPLIT/enhanced_signals/SCENE_LISTENER_remix.flac is the same at 32 kHz
    and within full scale; for the challenge's evaluate.py, ROOT/audio/submission/SPLIT is path.exp_folder.

    Only what is missing is made: run it again after an interruption.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    if submission and (audio_format or output_rate or listeners or listeners_subtype):
        raise click.UsageError(
            "--submission does not go with --format, --subtype, --sample-rate and --listeners: its format is fixed."
        )
    settings = given.settings()
    from cadrender.catalogue.targets import SubmissionCatalogue, TargetCatalogue
    from cadrender.cli.running import cluster_of, run_plan
    from cadrender.pipeline.plan import make_plan
    from cadrender.store import AudioFormat

    catalogue: Catalogue
    if submission:
        catalogue = SubmissionCatalogue(settings, scenes=scenes, songs=songs, resampler=resampler)
    else:
        container = (audio_format and audio_format.container) or "wav"
        listener_format = None
        if listeners_subtype:
            listener_format = AudioFormat(
                "wav" if listeners_subtype == "FLOAT" else container, listeners_subtype
            )
        catalogue = TargetCatalogue(
            settings,
            audio_format=audio_format,
            listener_format=listener_format,
            output_rate=output_rate,
            listeners=listeners,
            scenes=scenes,
            songs=songs,
            resampler=resampler,
        )
    plan = make_plan(catalogue, shard=run.shard)
    with cluster_of(run, settings) as cluster:
        sys.exit(run_plan(plan, run, cluster))
