"""Head and loudspeaker positions (``head_loudspeaker_positions.json``) and the HRIR files that they name.

A loudspeaker at the left (negative angles) has its HRIR in ``<mic>-<subject>-n<angle>.wav``, one at the right in
``<mic>-<subject>-p<angle>.wav``. Straight ahead (0 degrees) and behind (180) there is no left or right: one file
is enough, which cadrender writes as ``p0.0`` or ``p180.0``; it serves both loudspeakers unless there is an ``n``
file too. See section 6 of ``docs/contract.md``.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.contract import (
    check_name,
    check_number,
    check_object,
    collecting,
    field,
    is_safe_name,
    read_entries,
    shown,
)


@dataclass(frozen=True)
class HeadPosition:
    """A head between two loudspeakers.

    Attributes
    ----------
    id : str
        Such as ``hlp_0001``.
    subject : str
        Whose head, such as ``VP_E1``.
    left_angle, right_angle : int or float
        Azimuths of the loudspeakers in degrees, left negative; int or float as in the file, because the HRIR files'
        names print them so.
    mic : str
        Where the microphones are, such as ``BTE_fr``.
    """

    id: str
    subject: str
    left_angle: int | float
    right_angle: int | float
    mic: str

    @property
    def left_hrir(self) -> str:
        """The left loudspeaker's HRIR file, such as ``BTE_fr-VP_E1-n37.5.wav``."""
        return f"{self.mic}-{self.subject}-n{abs(self.left_angle)}.wav"

    @property
    def right_hrir(self) -> str:
        """The right loudspeaker's HRIR file, such as ``BTE_fr-VP_E1-p22.5.wav``."""
        return f"{self.mic}-{self.subject}-p{abs(self.right_angle)}.wav"

    def hrir_files(self, folder: Path) -> tuple[Path, Path]:
        """The HRIR files of the left and the right loudspeaker in `folder`, which may not exist.

        They are `left_hrir` and `right_hrir`; at 0 and 180 degrees the other side's file stands in for a missing one.
        """
        left, right = folder / self.left_hrir, folder / self.right_hrir
        if on_median_plane(self.left_angle) and not left.exists():
            other = folder / f"{self.mic}-{self.subject}-p{abs(self.left_angle)}.wav"
            left = other if other.exists() else left
        if on_median_plane(self.right_angle) and not right.exists():
            other = folder / f"{self.mic}-{self.subject}-n{abs(self.right_angle)}.wav"
            right = other if other.exists() else right
        return left, right


def on_median_plane(angle: float) -> bool:
    """Whether an azimuth in degrees is straight ahead or behind, neither left nor right."""
    return angle % 180 == 0


def hrir_name(mic: str, subject: str, angle: float) -> str:
    """Name the HRIR file of a direction.

    Parameters
    ----------
    mic, subject : str
    angle : int or float
        Azimuth in degrees, left negative; printed as Python prints it.

    Raises
    ------
    UsageError
        If no HRIR file can have that name: the microphone's name is empty, contains a hyphen or starts with a
        dot, a name is not safe as part of a file name, or the angle is printed in scientific notation.

    Examples
    --------
    >>> hrir_name("BTE_fr", "VP_E1", -37.5), hrir_name("BTE_fr", "VP_E1", 0.0)
    ('BTE_fr-VP_E1-n37.5.wav', 'BTE_fr-VP_E1-p0.0.wav')
    """
    side = "n" if angle < 0 and not on_median_plane(angle) else "p"
    name = f"{mic}-{subject}-{side}{abs(angle)}.wav"
    if parse_hrir_name(name) != (mic, subject, side, abs(angle)):
        raise UsageError(
            f"microphone {shown(mic)}, subject {shown(subject)}, angle {angle}: no HRIR file can be named "
            f"{shown(name)}; a microphone's name contains no hyphen, and neither name a slash"
        )
    return name


def read_positions(file: Path, problems: list[str] | None = None) -> dict[str, HeadPosition]:
    """Read the positions by their ids, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    positions = {}
    for name, item in read_entries(file, "position", problems).items():
        with collecting(problems):
            positions[name] = _position(name, item, file)
    return positions


def _position(name: str, item: object, file: Path) -> HeadPosition:
    what = f"position {shown(name)}"
    item = check_object(item, file, what)
    position = HeadPosition(
        id=name,
        subject=check_name(field(item, "subject", file, what), file, f"{what}: subject"),
        left_angle=check_number(field(item, "left_angle", file, what), file, f"{what}: left_angle"),
        right_angle=check_number(field(item, "right_angle", file, what), file, f"{what}: right_angle"),
        mic=check_name(field(item, "mic", file, what), file, f"{what}: mic"),
    )
    check_name(position.left_hrir, file, f"{what}: HRIR file")
    check_name(position.right_hrir, file, f"{what}: HRIR file")
    return position


def parse_hrir_name(name: str) -> tuple[str, str, str, int | float] | None:
    """Take an HRIR file's name apart.

    Returns
    -------
    tuple or None
        Microphone, subject, side (``n`` left, ``p`` right) and angle in degrees (int or float as written);
        ``None`` for a file that no position can name.

    Examples
    --------
    >>> parse_hrir_name("BTE_fr-VP_E1-n37.5.wav")
    ('BTE_fr', 'VP_E1', 'n', 37.5)
    """
    match = re.fullmatch(r"([^-.][^-]*)-(.+)-([np])([0-9]{1,9}(?:\.[0-9]{1,9})?)\.wav", name)
    if match is None or not is_safe_name(name):
        return None
    mic, subject, side, text = match.groups()
    angle = float(text) if "." in text else int(text)
    return (mic, subject, side, angle) if str(angle) == text else None


def hrir_names(folder: Path) -> list[str]:
    """List the WAV files of a folder of HRIRs by name, sorted.

    Raises
    ------
    MetadataError
        If the folder cannot be read.
    """
    try:
        return sorted(file.name for file in folder.iterdir() if file.suffix == ".wav" and file.name[0] != ".")
    except OSError as error:
        raise MetadataError(f"{folder}: cannot list the HRIR files: {error.strerror or error}") from error


PAIRS = ("all", "symmetric")


def build_positions(
    hrir_names: Iterable[str],
    *,
    mics: Collection[str] = (),
    subjects: Collection[str] = (),
    angles: Collection[float] = (),
    pairs: str = "all",
) -> dict[str, HeadPosition]:
    """Build the positions that a set of HRIR files allows, in the order of the distributed ones.

    Microphones and subjects are in natural order (``VP_E2`` before ``VP_E11``), left angles from the outermost
    inwards, right angles from the innermost outwards, varying fastest. The official 96 files give the official 144
    positions. A file at 0 or 180 degrees, ``n`` or ``p``, counts as left and as right.

    Parameters
    ----------
    hrir_names : iterable of str
        File names such as ``BTE_fr-VP_E1-n37.5.wav``; others are ignored.
    mics, subjects : collection of str
        Only these; all by default.
    angles : collection of float
        Only these azimuths in degrees, left negative (see `parse_angles`); all by default.
    pairs : {"all", "symmetric"}
        Every left loudspeaker with every right one, or only those at the same angle.

    Raises
    ------
    MetadataError
        If no head has an HRIR on either side, or there is no file for a requested microphone, subject or angle.
    """
    found: dict[tuple[str, str], _Sides] = defaultdict(lambda: {"n": set(), "p": set()})
    for name in hrir_names:
        if parts := parse_hrir_name(name):
            mic, subject, side, angle = parts
            for either in "np" if on_median_plane(angle) else side:
                found[mic, subject][either].add((angle, str(angle)))
    _check_names("microphone", mics, {mic for mic, _ in found})
    _check_names("subject", subjects, {subject for _, subject in found})
    heads = [
        (mic, subject)
        for mic, subject in sorted(found, key=lambda head: [_natural(part) for part in head])
        if (not mics or mic in mics) and (not subjects or subject in subjects)
    ]
    for head in heads if angles else ():
        _keep_angles(head, found[head], angles)
    chosen = (
        (subject, 0 - left, right, mic)  # not -left: the file should say 0.0, not -0.0
        for mic, subject in heads
        for left, _ in sorted(found[mic, subject]["n"], reverse=True)
        for right, _ in sorted(found[mic, subject]["p"])
        if pairs == "all" or left == right
    )
    positions = {f"hlp_{number:04d}": pair for number, pair in enumerate(chosen, 1)}
    if not positions:
        which = "" if pairs == "all" else " at the same angle"
        raise MetadataError(
            f"no head has an HRIR on the left and one on the right{which}: expected names such as "
            "BTE_fr-VP_E1-n37.5.wav and BTE_fr-VP_E1-p37.5.wav"
        )
    return {name: HeadPosition(name, *pair) for name, pair in positions.items()}


# A head's angles left and right. With each angle its text: 30 and 30.0 are different files.
_Sides = dict[str, set[tuple[float, str]]]


def _check_names(what: str, wanted: Iterable[str], present: Collection[str]) -> None:
    for name in wanted:
        if name not in present:
            there = ", ".join(sorted(present, key=_natural)) or "none"
            raise MetadataError(f"no HRIR file is named after the {what} {shown(name)}; there are: {there}")


def _keep_angles(head: tuple[str, str], sides: _Sides, angles: Collection[float]) -> None:
    """Remove all other angles from a head's two sets; a MetadataError names those it lacks."""
    present = {-angle for angle, _ in sides["n"]} | {angle for angle, _ in sides["p"]}
    if lacking := sorted(set(angles) - present):
        numbers = ", ".join(f"{angle:g}" for angle in lacking)
        there = ", ".join(f"{angle:g}" for angle in sorted(present))
        raise MetadataError(f"{'-'.join(head)}: no HRIR file for {numbers} degrees; there are: {there}")
    sides["n"] = {item for item in sides["n"] if -item[0] in angles or _is_both(item[0], angles)}
    sides["p"] = {item for item in sides["p"] if item[0] in angles or _is_both(item[0], angles)}


def _is_both(angle: float, angles: Collection[float]) -> bool:
    return on_median_plane(angle) and (angle in angles or -angle in angles)


def parse_angles(text: str) -> tuple[float, ...]:
    """Read a list of azimuths such as ``22.5,30`` or ``-30,+45``.

    Parameters
    ----------
    text : str
        Numbers from -180 to 180 separated by commas. With a sign it is one side, left negative; without, both sides.

    Returns
    -------
    tuple of float
        Azimuths in degrees, left negative, ascending; 0 and 180 once and positive.

    Raises
    ------
    UsageError
        If it is not such a list.

    Examples
    --------
    >>> parse_angles("30,0,+45")
    (-30.0, 0.0, 30.0, 45.0)
    """
    angles = set()
    for word in text.split(","):
        word = word.strip()
        try:
            angle = float(word) if "_" not in word else math.nan
        except ValueError:
            angle = math.nan
        if not -180 <= angle <= 180:
            raise UsageError(
                f"angle {shown(word)} is not a number of degrees from -180 to 180; expected a list such as 22.5,30 "
                "(both sides) or -30,+45 (left 30, right 45)"
            )
        if on_median_plane(angle):
            angles.add(abs(angle))
        else:
            angles |= {angle} if word[0] in "+-" else {-angle, angle}
    return tuple(sorted(angles))


def _natural(text: str) -> list[tuple[int, str] | tuple[str]]:
    """Sort key that compares runs of digits as numbers."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), part) if place % 2 else (part,) for place, part in enumerate(parts)]


def positions_json(positions: Mapping[str, HeadPosition]) -> str:
    """Write positions as JSON text, in the layout of the distributed ``head_loudspeaker_positions.json``."""
    return json.dumps({name: _entry(position) for name, position in positions.items()}, indent=4)


def _entry(position: HeadPosition) -> dict[str, object]:
    return {
        "subject": position.subject,
        "left_angle": position.left_angle,
        "right_angle": position.right_angle,
        "mic": position.mic,
    }


def add_positions(file: Path, positions: Iterable[HeadPosition]) -> tuple[str, list[str]]:
    """Add positions to those of a file, as JSON text; the file itself is not written.

    Existing entries keep their ids, order and further fields, and are not added again. New ids continue after the
    largest number: ``hlp_0145`` after ``hlp_0144``.

    Parameters
    ----------
    file : pathlib.Path
        The positions file; it need not exist.
    positions : iterable of HeadPosition
        Their ids are not used.

    Returns
    -------
    text : str
        What the file should hold.
    ids : list of str
        Those of the new positions.

    Raises
    ------
    MetadataError
        If the file exists and breaks its contract.
    """
    present = read_positions(file) if file.exists() else {}
    entries = read_entries(file, "position") if present else {}
    known = {(position.left_hrir, position.right_hrir) for position in present.values()}
    numbers = [int(match[1]) for name in present if (match := re.fullmatch(r"hlp_([0-9]{1,9})", name))]
    number = max(numbers, default=0)
    ids = []
    for position in positions:
        if (position.left_hrir, position.right_hrir) in known:
            continue
        known.add((position.left_hrir, position.right_hrir))
        number += 1
        ids.append(f"hlp_{number:04d}")
        entries[ids[-1]] = _entry(position)
    return json.dumps(entries, indent=4), ids
