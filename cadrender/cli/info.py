"""``cadrender info``: what a root holds."""

import json
import math
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cadrender.cli.settings import Given, jobs_option, json_option, settings_options
from cadrender.errors import UsageError
from cadrender.wording import duration, plural

if TYPE_CHECKING:
    from cadrender.info import Loudness, SplitInfo


@click.command()
@settings_options(
    split="Only this split; repeatable. Default: all that exist.",
    music=True,
    places=("output_music_dir", "output_music_file", "scene_file"),
)
@jobs_option
@json_option
def command(given: Given, jobs: int, as_json: bool) -> None:
    """Show what a root holds, what is rendered, and how long the rest would take on this machine.

    Loudness is the mixtures' integrated loudness, from the manifest where it is recorded; others are measured, as
    many as two seconds allow. The time is extrapolated from rendering noise for a second in one process, with the
    root's own HRIRs and as many scenes for each song.

    Exit status: 0, or 2 for wrong usage or bad metadata.
    """
    from cadrender.info import look_at_split

    splits = given.every_split()
    present = [
        settings
        for settings in splits
        if any(file.exists() for file in (*settings.music_files, settings.scene_file, settings.excerpts_file))
    ]
    if not present:
        names = " or ".join(settings.music_file.name for settings in splits)
        raise UsageError(f"{splits[0].metadata_dir}: there is no {names}")
    root = splits[0].root
    infos = [look_at_split(settings, jobs) for settings in present]
    if as_json:
        print(json.dumps({"root": str(root), "splits": [_as_json(info) for info in infos]}, indent=4))
    else:
        print(root)
        for info in infos:
            print("\n".join(_lines(info)))
    sys.exit(0)


def _as_json(info: "SplitInfo") -> Any:
    """JSON has no NaN: what is unknown is null."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(item) for key, item in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return known(asdict(info))


def _lines(info: "SplitInfo") -> list[str]:
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
    if speed := info.speed:
        rows += [
            (
                "generate",
                f"{duration(info.generate_seconds)} for what is missing, "
                f"{duration(info.whole_seconds)} for everything, with {plural(info.n_jobs, 'process')}",
            ),
            (
                "",
                f"{speed.nanoseconds:.1f} ns per frame-scene: noise at {plural(speed.heads, 'head')} of "
                f"{speed.taps} taps, {speed.seconds:.1f} s in one process",
            ),
        ]
    return [info.split, *(f"  {name:<14}{text}".rstrip() for name, text in rows)]


def _loudness(loudness: "Loudness") -> str:
    counts = ((loudness.known, "from the manifest"), (loudness.measured, "measured now"))
    read = " and ".join(f"{count} {source}" for count, source in counts if count) or "none read"
    origin = f"{read}, of {plural(loudness.songs, 'mixture')}"
    silent = f", {loudness.silent} silent" if loudness.silent else ""
    if math.isnan(loudness.median):
        return f"unknown{silent} ({origin})"
    return f"{loudness.lowest:.1f} to {loudness.highest:.1f} LUFS, median {loudness.median:.1f}{silent} ({origin})"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB"
