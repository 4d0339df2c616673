"""Heads of SOFA files as HRIR files and positions of a root."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cadrender.config import Settings
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.heads.impulse import delayed, resampled, wav_bytes
from cadrender.heads.sofa import MOST_TAPS, Receiver, Sofa, read_responses, read_sofa
from cadrender.metadata.contract import shown
from cadrender.metadata.positions import add_positions, build_positions, hrir_name, on_median_plane
from cadrender.metadata.writing import write_all
from cadrender.store import read_hrir

ANGLES = (-37.5, -30.0, -22.5, 22.5, 30.0, 37.5)
"""The challenge's azimuths in degrees, left negative."""

MIC = "ear"
"""The microphones' name where neither the user nor the file gives one."""

_SAME_DISTANCE = 0.05  # metres
_SAME_DIRECTION = 0.01  # degrees


@dataclass(frozen=True)
class Head:
    """A head of one SOFA file, as it is imported.

    Attributes
    ----------
    sofa : Sofa
    subject, mic : str
        The names in the HRIR files' names.
    receivers : tuple of Receiver
        Left and right microphone.
    measurements : dict of float to int
        Azimuth in degrees, left negative, to the measurement used for it.
    longest_delay : float
        The largest ``Data.Delay`` applied, in samples of the file.
    """

    sofa: Sofa
    subject: str
    mic: str
    receivers: tuple[Receiver, Receiver]
    measurements: Mapping[float, int]
    longest_delay: float

    @property
    def deviations(self) -> dict[float, float]:
        """Degrees between each azimuth and the measured direction, where more than 0.01."""
        away = {
            angle: float(angles_between(self.sofa, angle)[measurement])
            for angle, measurement in self.measurements.items()
        }
        return {angle: degrees for angle, degrees in away.items() if degrees > _SAME_DIRECTION}


@dataclass(frozen=True)
class Import:
    """Everything that `write_heads` writes.

    Attributes
    ----------
    heads : list of Head
    files : dict of pathlib.Path to bytes
        The HRIR files to write.
    kept : int
        HRIR files that exist already with the same taps.
    positions_file : pathlib.Path
    positions : str
        Its new contents.
    ids : list of str
        The new positions.
    """

    heads: list[Head]
    files: dict[Path, bytes]
    kept: int
    positions_file: Path
    positions: str
    ids: list[str]


def prepare_heads(
    files: Sequence[Path],
    settings: Settings,
    *,
    subject: str | None = None,
    mic: str | None = None,
    receivers: tuple[int, int] | None = None,
    angles: Sequence[float] | None = ANGLES,
    tolerance: float = 1.0,
    distance: float | None = None,
    pairs: str = "all",
    factor: float = 1.0,
    force: bool = False,
) -> Import:
    """Read SOFA files and work out which HRIR files and positions they give; nothing is written.

    Parameters
    ----------
    files : sequence of pathlib.Path
        SOFA files, one head each.
    settings : Settings
        The root: its HRIR folder, positions file and rate.
    subject : str, optional
        The head's name; default: the file's ``ListenerShortName``, or its own name without suffix.
    mic : str, optional
        The microphones' name. It chooses among several per ear by their names in the file.
    receivers : tuple of int, optional
        The left and the right receiver by number, for files without names.
    angles : sequence of float or None
        Azimuths in degrees, left negative, after which the HRIR files are named; None for all that were measured in
        the horizontal plane, rounded to 0.01 degrees.
    tolerance : float
        Largest angle between the measured direction and the requested one, in degrees, including elevation.
    distance : float, optional
        Loudspeaker distance in metres, for files with several.
    pairs : {"all", "symmetric"}
        See `cadrender.metadata.build_positions`.
    factor : float
        Factor for all impulse responses.
    force : bool
        Replace HRIR files with other taps.

    Raises
    ------
    MetadataError
        If a file cannot be used, or the positions file breaks its contract.
    UsageError
        If a name or choice is missing or invalid, or HRIR files would be replaced.
    """
    if subject is not None and len(files) > 1:
        raise UsageError(f"one subject name ({shown(subject)}) cannot be given to {len(files)} files")
    heads: list[Head] = []
    hrirs: dict[str, npt.NDArray[np.float32]] = {}
    for file in files:
        head = _choose(read_sofa(file), subject, mic, receivers, angles, tolerance, distance)
        if twin := next((h for h in heads if (h.subject, h.mic) == (head.subject, head.mic)), None):
            raise UsageError(
                f"{file}: subject {shown(head.subject)} with microphone {shown(head.mic)}, as in {twin.sofa.file}; "
                "import them one by one with different subjects"
            )
        heads.append(head)
        for angle, hrir in _hrirs(head, settings.sample_rate, factor).items():
            hrirs[hrir_name(head.mic, head.subject, angle)] = hrir
    kept = [name for name, hrir in hrirs.items() if _holds(settings.hrtf_dir / name, hrir, settings)]
    new = {
        settings.hrtf_dir / name: wav_bytes(hrir, settings.sample_rate)
        for name, hrir in hrirs.items()
        if name not in kept
    }
    replaced = [file for file in new if file.exists()]
    if replaced and not force:
        others = f" (1 of {len(replaced)} such files)" if len(replaced) > 1 else ""
        raise UsageError(
            f"{replaced[0]}: already exists with different content{others}: --force replaces it, and another --subject "
            "or --mic keeps both"
        )
    text, ids = add_positions(
        settings.head_loudspeaker_positions_file, build_positions(hrirs, pairs=pairs).values()
    )
    return Import(heads, new, len(kept), settings.head_loudspeaker_positions_file, text, ids)


def write_heads(planned: Import) -> None:
    """Write the HRIR files and then the positions file, all of them or none.

    Raises
    ------
    CadrenderError
        If a file cannot be written.
    """
    contents: dict[Path, bytes | str] = dict(planned.files)
    if planned.ids:
        contents[planned.positions_file] = planned.positions
    write_all(contents)


def _choose(
    sofa: Sofa,
    subject: str | None,
    mic: str | None,
    receivers: tuple[int, int] | None,
    angles: Sequence[float] | None,
    tolerance: float,
    distance: float | None,
) -> Head:
    left, right, mic = _choose_receivers(sofa, mic, receivers)
    hrir_name(mic, "any", 0.0)
    subject = _choose_subject(sofa, mic) if subject is None else subject
    hrir_name(mic, subject, 0.0)
    measurements = _choose_measurements(sofa, angles, tolerance, distance)
    delays = sofa.delays[list(measurements.values())][:, [left.number, right.number]]
    return Head(sofa, subject, mic, (left, right), measurements, float(delays.max()))


def _choose_subject(sofa: Sofa, mic: str) -> str:
    for name in (sofa.listener, sofa.file.stem):
        try:
            hrir_name(mic, name, 0.0)
        except UsageError:
            continue
        if name:
            return name
    raise UsageError(
        f"{sofa.file}: the listener's name, {shown(sofa.listener)}, cannot be used: --subject NAME"
    )


def _choose_receivers(
    sofa: Sofa, mic: str | None, numbers: tuple[int, int] | None
) -> tuple[Receiver, Receiver, str]:
    """The left and the right receiver, and their name."""
    there = "; ".join(str(receiver) for receiver in sofa.receivers)
    if numbers is not None:
        if not all(0 <= number < len(sofa.receivers) for number in numbers) or numbers[0] == numbers[1]:
            raise UsageError(f"{sofa.file}: no receivers {numbers[0]},{numbers[1]}; there are: {there}")
        left, right = (sofa.receivers[number] for number in numbers)
    elif len(sofa.receivers) == 2:
        left, right = sofa.receivers
        if {left.side, right.side} in ({"left"}, {"right"}):
            raise UsageError(f"{sofa.file}: both receivers are on one side ({there}): --receivers LEFT,RIGHT")
        if left.side == "right" or right.side == "left":
            left, right = right, left
    else:
        named = [receiver for receiver in sofa.receivers if mic and _alike(receiver.name, mic)]
        sides = [[receiver for receiver in named if receiver.side == side] for side in ("left", "right")]
        if [len(side) for side in sides] != [1, 1]:
            wanted = f"are not exactly one on each side called {shown(mic)}" if mic else "need a choice"
            raise UsageError(
                f"{sofa.file}: {len(sofa.receivers)} receivers {wanted}: {there} (--mic NAME or --receivers LEFT,RIGHT)"
            )
        (left,), (right,) = sides
    return left, right, mic or (left.name if _alike(left.name, right.name) else "") or MIC


def _alike(name: str, other: str) -> bool:
    return name.casefold() == "_".join(other.replace("-", " ").replace("_", " ").split()).casefold()


def _choose_measurements(
    sofa: Sofa, angles: Sequence[float] | None, tolerance: float, distance: float | None
) -> dict[float, int]:
    """Azimuth to measurement, ascending."""
    near = np.ones(len(sofa.azimuths), dtype=bool)
    if distance is not None:
        near = np.abs(sofa.distances - distance) <= _SAME_DISTANCE
        if not near.any():
            raise UsageError(
                f"{sofa.file}: nothing measured at {distance:g} m; there are: {_metres(sofa.distances)}"
            )
    if angles is None:
        angles = plane_azimuths(sofa, tolerance, near)
        if not angles:
            raise UsageError(
                f"{sofa.file}: nothing measured within {_degrees(tolerance)} of the horizontal plane; the nearest "
                f"elevation is {sofa.elevations[np.abs(sofa.elevations).argmin()]:g}"
            )
    chosen: dict[float, int] = {}
    lacking: dict[float, npt.NDArray[np.intp]] = {}
    for angle in sorted(angles):
        away = np.where(near, angles_between(sofa, angle), np.inf)
        # Of two equally near directions take the one nearer to the front, so that both sides are symmetric.
        order = np.lexsort((np.abs(sofa.azimuths), np.round(away, 6)))
        best = int(order[0])
        if not away[best] <= tolerance + 1e-9:
            lacking[angle] = order[:2]
            continue
        same = np.flatnonzero(np.abs(away - away[best]) <= _SAME_DIRECTION)
        same = same[np.abs(sofa.azimuths[same] - sofa.azimuths[best]) <= _SAME_DIRECTION]
        if np.ptp(sofa.distances[same]) > _SAME_DISTANCE:
            raise UsageError(
                f"{sofa.file}: {angle:g} degrees was measured at {_metres(sofa.distances[same])}: --distance METRES"
            )
        chosen[angle] = best
    if lacking:
        raise UsageError(_lacking(sofa, lacking, tolerance))
    return chosen


def _lacking(sofa: Sofa, lacking: Mapping[float, npt.NDArray[np.intp]], tolerance: float) -> str:
    """The directions that were not measured, and near ones that were."""
    near = sorted(
        {int(number) for numbers in lacking.values() for number in numbers}, key=sofa.azimuths.__getitem__
    )
    there = dict.fromkeys(_direction(sofa, number) for number in near)
    wanted = ", ".join(f"{angle:g}" for angle in lacking)
    return (
        f"{sofa.file}: nothing measured within {_degrees(tolerance)} of {wanted}; the nearest are "
        f"{', '.join(there)} (--angles with these, or a larger --tolerance)"
    )


def _direction(sofa: Sofa, number: int) -> str:
    elevation = sofa.elevations[number]
    height = f" at elevation {elevation:.4g}" if abs(elevation) > _SAME_DIRECTION else ""
    return f"{round(float(sofa.azimuths[number]), 2) + 0.0:g}{height}"


def _degrees(number: float) -> str:
    return f"{number:g} degree{'' if number == 1 else 's'}"


def _metres(distances: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{metres:g} m" for metres in np.unique(np.round(distances, 2))[:12])


def plane_azimuths(
    sofa: Sofa, tolerance: float = 1.0, among: npt.NDArray[np.bool_] | None = None
) -> list[float]:
    """List the azimuths measured in the horizontal plane.

    Parameters
    ----------
    sofa : Sofa
    tolerance : float
        Largest elevation that counts, in degrees.
    among : ndarray, optional
        (measurements,) bool: the ones to consider.

    Returns
    -------
    list of float
        Ascending, in degrees, rounded to 0.01, left negative.
    """
    level = np.abs(sofa.elevations) <= tolerance
    if among is not None:
        level &= among
    rounded = {round(float(azimuth), 2) + 0.0 for azimuth in sofa.azimuths[level]}
    return sorted({abs(azimuth) if on_median_plane(azimuth) else azimuth for azimuth in rounded})


def angles_between(sofa: Sofa, azimuth: float) -> npt.NDArray[np.float64]:
    """Angle between each measured direction and one in the horizontal plane, in degrees: (measurements,)."""
    turned, height = np.radians(sofa.azimuths - azimuth), np.radians(sofa.elevations)
    # Haversines: exact for small angles, where an arc cosine is not.
    half = np.sin(height / 2) ** 2 + np.cos(height) * np.sin(turned / 2) ** 2
    angles: npt.NDArray[np.float64] = np.degrees(2 * np.arcsin(np.sqrt(np.clip(half, 0, 1))))
    return angles


def _hrirs(head: Head, samplerate: int, factor: float) -> dict[float, npt.NDArray[np.float32]]:
    """The HRIRs of a head by azimuth, (taps, 2) each, all of one length."""
    sofa = head.sofa
    numbers = [receiver.number for receiver in head.receivers]
    rows = list(head.measurements.values())
    responses = read_responses(sofa, rows, numbers)
    for row, pair in zip(rows, responses, strict=True):
        for receiver, response in zip(head.receivers, pair, strict=True):
            if not response.any():
                raise MetadataError(
                    f"{sofa.file}: Data.IR is all zeros (measurement {row}, receiver {receiver.number})"
                )
    taps = sofa.taps + int(np.ceil(head.longest_delay))
    if taps * samplerate / sofa.samplerate > MOST_TAPS:
        raise MetadataError(f"{sofa.file}: {taps} taps with Data.Delay; an HRIR has {MOST_TAPS} at most")
    hrirs: dict[float, npt.NDArray[np.float32]] = {}
    for angle, row, pair in zip(head.measurements, rows, responses, strict=True):
        hrir = np.zeros((taps, 2))
        for ear, (number, response) in enumerate(zip(numbers, pair, strict=True)):
            late = delayed(response, sofa.delays[row, number])
            hrir[: len(late), ear] = late
        with np.errstate(over="ignore"):
            hrirs[angle] = (factor * resampled(hrir, sofa.samplerate, samplerate)).astype(np.float32)
        if not np.isfinite(hrirs[angle]).all():
            raise MetadataError(f"{sofa.file}: Data.IR is too large for 32-bit floats (measurement {row})")
    return hrirs


def _holds(file: Path, hrir: npt.NDArray[np.float32], settings: Settings) -> bool:
    """Whether an HRIR file has exactly these taps."""
    if not file.exists():
        return False
    try:
        return np.array_equal(read_hrir(file, settings.sample_rate), hrir)
    except AudioError:
        return False
