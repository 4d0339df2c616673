"""``cadrender info``: what a root holds."""

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import click

from cadrender.cli.settings import jobs_option, settings_options, splits_from
from cadrender.config import SPLITS
from cadrender.errors import UsageError


@click.command()
@settings_options(music=True)
@click.option(
    "--split", type=click.Choice(SPLITS), multiple=True, help="Only this one; repeatable. All that are there."
)
@jobs_option
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music is.")
@click.option("--output-music-file", type=click.Path(path_type=Path), help="Where its list is.")
@click.option("--scenes-file", "scene_file", type=click.Path(path_type=Path), help="The scenes.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(split, jobs, as_json, **options) -> None:
    """Say what a root holds, what is rendered, and how long the rest would take on this machine.

    Loudness is the mixtures' integrated loudness, from the manifest where it knows it; others are measured,
    as many as two seconds allow. The time is from rendering noise for a second in one process, with the
    root's own HRIRs and as many scenes a song, divided by the processes.

    Exit status: 0, or 2 for wrong usage or bad metadata.
    """
    from cadrender.info import look_at_split
    from cadrender.pipeline.pool import usable_cpus

    splits = splits_from(split, **options)
    present = [
        settings
        for settings in splits
        if any(file.exists() for file in (*settings.music_files, settings.scene_file, settings.excerpts_file))
    ]
    root = splits[0].root
    if not present:
        names = " or ".join(settings.music_file.name for settings in splits)
        raise UsageError(f"{splits[0].metadata_dir}: there is no {names}")
    n_jobs = usable_cpus() if jobs in (None, -1) else jobs
    infos = [look_at_split(settings, n_jobs) for settings in present]
    if as_json:
        print(json.dumps({"root": str(root), "splits": [_as_json(info) for info in infos]}, indent=4))
    else:
        print(root)
        for info in infos:
            print("\n".join(_lines(info)))
    sys.exit(0)


def _as_json(info):
    """JSON knows no NaN: what is not known is null."""

    def known(value):
        if isinstance(value, dict):
            return {key: known(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return known(asdict(info))


def _lines(info):
    from cadrender.wording import duration

    what = f"{info.songs}, {duration(info.seconds)}"
    if info.unusable:
        what += f"; {info.unusable} more cannot be used (cadrender check says why)"
    rows = [("songs", what)]
    if info.loudness:
        rows.append(("loudness", _loudness(info.loudness)))
    if info.samples:
        rows += [
            ("scenes", f"{info.scenes}"),
            ("samples", f"{info.samples}: {info.rendered} rendered, {info.missing} missing"),
            (
                "at-mic music",
                f"{_gigabytes(info.bytes_now)} now, {_gigabytes(info.bytes_to_come)} to come, "
                f"{_gigabytes(info.bytes_free)} free",
            ),
        ]
    else:
        rows.append(("scenes", "none yet (cadrender scenes draws them)"))
    if info.speed:
        speed = info.speed
        heads = f"{speed.heads} head{'s' if speed.heads > 1 else ''}"
        processes = f"{info.n_jobs} process{'es' if info.n_jobs > 1 else ''}"
        rows += [
            (
                "generate",
                f"{duration(info.generate_seconds)} for what is missing, "
                f"{duration(info.whole_seconds)} for everything, with {processes}",
            ),
            (
                "",
                f"{speed.nanoseconds:.1f} ns per frame-scene: noise at {heads} of {speed.taps} taps, "
                f"{speed.seconds:.1f} s in one process",
            ),
        ]
    return [info.split, *(f"  {name:<14}{text}".rstrip() for name, text in rows)]


def _loudness(loudness) -> str:
    origin = [
        text
        for count, text in ((loudness.known, "from the manifest"), (loudness.measured, "measured now"))
        if count
        for text in (f"{count} {text}",)
    ]
    origin = f"{' and '.join(origin) or 'none read'}, of {loudness.songs} mixtures"
    silent = f", {loudness.silent} silent" if loudness.silent else ""
    if math.isnan(loudness.median):
        return f"unknown{silent} ({origin})"
    return f"{loudness.lowest:.1f} to {loudness.highest:.1f} LUFS, median {loudness.median:.1f}{silent} ({origin})"


def _gigabytes(count) -> str:
    return f"{count / 1e9:.2f} GB"
