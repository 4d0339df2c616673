"""``cadrender heads``: heads from SOFA files."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cadrender.cli.settings import angle_list, check_number, config_option, pairs_option, root_option
from cadrender.config import load_settings
from cadrender.wording import plural

if TYPE_CHECKING:
    from cadrender.heads import Sofa
    from cadrender.heads.add import Head

# Numbers listed in one line.
_MANY = 12


def _angles_or_all(text: str) -> tuple[float, ...] | None:
    """Read ``--angles``: None for all of them."""
    return None if text == "all" else angle_list(text)


def _two_numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        raise click.BadParameter(f"{text!r} is not two receiver numbers such as 0,1.")
    return tuple(int(word) for word in words)


def _check_factor(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value):
        raise click.BadParameter(f"{value} is not a number other than 0.")
    return value


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="FILE.sofa... [KEY=VALUE]...")
@root_option
@config_option
@click.option("--subject", help="The head's name; default: the file's ListenerShortName, or its own name.")
@click.option(
    "--mic",
    metavar="NAME",
    help="The microphones' name; chooses among several per ear. Default: as in the file, or ear.",
)
@click.option(
    "--receivers",
    metavar="LEFT,RIGHT",
    type=_two_numbers,
    help="The two receivers by number (see --dry-run), where the file has no names for them.",
)
@click.option(
    "--angles",
    metavar="LIST",
    default="22.5,30,37.5",
    show_default=True,
    type=_angles_or_all,
    help="Azimuths in degrees: 30 is both sides, -30 left, +30 right; all: all that were measured at elevation 0.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 180),
    default=1.0,
    show_default=True,
    callback=check_number,
    help="Largest difference of a measurement from an azimuth, in degrees.",
)
@click.option(
    "--distance",
    type=click.FloatRange(0, min_open=True),
    callback=check_number,
    help="The loudspeakers' distance in metres, where several were measured.",
)
@pairs_option
@click.option(
    "--factor",
    type=float,
    default=1.0,
    show_default=True,
    callback=_check_factor,
    help="Factor for all impulse responses.",
)
@click.option("--dry-run", is_flag=True, help="List what the files hold and stop; needs no root.")
@click.option("--force", is_flag=True, help="Replace HRIR files that are different.")
def command(
    arguments: tuple[str, ...],
    root: Path | None,
    config: Path | None,
    dry_run: bool,
    force: bool,
    **options: Any,
) -> None:
    """Add heads from SOFA files to a root: their HRIR files, and positions that use them.

    Each file is one head (convention SimpleFreeFieldHRIR, or GeneralFIR with the same fields). HRIR files are
    written as 32-bit float WAV at the root's rate, named after the requested angles. Positions are added to the
    positions file; existing ones keep their ids.

    Needs h5py: pip install 'cadrender[sofa]'.
    """
    from cadrender import heads

    overrides = tuple(text for text in arguments if "=" in text and not Path(text).exists())
    files = [Path(text) for text in arguments if text not in overrides]
    if not files:
        raise click.UsageError("Missing argument 'FILE.sofa'.")
    if dry_run:
        for file in files:
            click.echo(_holdings(heads.read_sofa(file), options["tolerance"]))
        return
    settings = load_settings(overrides, config=config, root=root)
    planned = heads.prepare_heads(files, settings, force=force, **options)
    heads.write_heads(planned)
    for head in planned.heads:
        click.echo(_taken(head, settings.sample_rate))
    kept = f", {planned.kept} there already" if planned.kept else ""
    click.echo(f"{settings.hrtf_dir}: {plural(len(planned.files), 'HRIR file')} written{kept}")
    new = f", {planned.ids[0]} to {planned.ids[-1]}" if planned.ids else ""
    click.echo(f"{planned.positions_file}: {plural(len(planned.ids), 'position')} added{new}")


def _taken(head: "Head", samplerate: int) -> str:
    """What was taken from a file, and what was done to it."""
    sofa = head.sofa
    numbers = " and ".join(str(receiver.number) for receiver in head.receivers)
    said = [f"{sofa.file}: subject {head.subject}, microphone {head.mic} (receivers {numbers})"]
    if sofa.samplerate != samplerate:
        said.append(f"resampled from {sofa.samplerate:g} to {samplerate} Hz")
    if head.longest_delay:
        said.append(f"delays of up to {head.longest_delay:g} samples applied")
    away = [f"{angle:g} (by {degrees:.2g})" for angle, degrees in head.deviations.items()]
    if away:
        more = f" and {len(away) - _MANY} more" if len(away) > _MANY else ""
        said.append(f"measured at other angles, in degrees: {', '.join(away[:_MANY])}{more}")
    return "; ".join(said)


def _holdings(sofa: "Sofa", tolerance: float) -> str:
    """What a SOFA file holds, in lines."""
    from cadrender.heads import plane_azimuths

    azimuths = plane_azimuths(sofa, tolerance)
    distances = sorted({round(float(distance), 2) for distance in sofa.distances})
    metres = ", ".join(f"{distance:g}" for distance in distances[:_MANY])
    more = ", ..." if len(distances) > _MANY else ""
    return "\n".join(
        (
            f"{sofa.file}: {sofa.convention}",
            f"  subject: {sofa.listener or f'not given; {sofa.file.stem} by the name of the file'}",
            f"  receivers: {'; '.join(str(receiver) for receiver in sofa.receivers)}",
            f"  rate: {sofa.samplerate:g} Hz, {plural(sofa.taps, 'tap')}",
            f"  delays: {_delays(sofa)}",
            f"  distances: {metres}{more} m",
            f"  directions: {len(sofa.azimuths)}, of which in the horizontal plane {len(azimuths)}: "
            f"{_listed(azimuths)}",
        )
    )


def _delays(sofa: "Sofa") -> str:
    low, high = sofa.delays.min(), sofa.delays.max()
    return f"{low:g} to {high:g} samples" if low != high else f"{low:g} samples"


def _listed(azimuths: Sequence[float]) -> str:
    """Azimuths in few words where they are evenly spaced."""
    steps = {round(after - before, 2) for before, after in itertools.pairwise(azimuths)}
    if len(azimuths) > _MANY and len(steps) == 1:
        return f"every {steps.pop():g} degrees from {azimuths[0]:g} to {azimuths[-1]:g}"
    return ", ".join(f"{azimuth:g}" for azimuth in azimuths)
