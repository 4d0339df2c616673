"""Head and loudspeaker positions (``head_loudspeaker_positions.json``) and the HRIR files that they name."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError
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
        Azimuths of the loudspeakers in degrees, left negative; int or float as the file has it, for the
        HRIR files' names print them so.
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


def build_positions(hrir_names: Iterable[str]) -> dict[str, HeadPosition]:
    """Build all the positions that a set of HRIR files allows, in the order of the distributed ones.

    Microphones and subjects stand in natural order (``VP_E2`` before ``VP_E11``), the left angle goes from
    the outermost inwards, the right angle from the innermost outwards and varies fastest. The official 96
    files give the official 144 positions.

    Parameters
    ----------
    hrir_names : iterable of str
        File names such as ``BTE_fr-VP_E1-n37.5.wav``; others are passed over.

    Raises
    ------
    MetadataError
        If no head has an HRIR on either side.
    """
    angles = defaultdict(lambda: {"n": set(), "p": set()})
    for name in hrir_names:
        if parts := parse_hrir_name(name):
            mic, subject, side, angle = parts
            angles[mic, subject][side].add((angle, str(angle)))
    heads = sorted(angles, key=lambda head: [_natural(part) for part in head])
    pairs = (
        (subject, -left, right, mic)
        for mic, subject in heads
        for left, _ in sorted(angles[mic, subject]["n"], reverse=True)
        for right, _ in sorted(angles[mic, subject]["p"])
    )
    positions = {f"hlp_{number:04d}": pair for number, pair in enumerate(pairs, 1)}
    if not positions:
        raise MetadataError(
            "no head has an HRIR on the left and one on the right: expected names such as "
            "BTE_fr-VP_E1-n37.5.wav and BTE_fr-VP_E1-p22.5.wav"
        )
    return {name: HeadPosition(name, *pair) for name, pair in positions.items()}


def _natural(text: str) -> list[tuple]:
    """Sort key that takes a run of digits as the number it is."""
    parts = re.split(r"([0-9]+)", text)
    return [(int(part), part) if place % 2 else (part,) for place, part in enumerate(parts)]


def positions_json(positions: Mapping[str, HeadPosition]) -> str:
    """Write positions as JSON text, in the layout of the distributed ``head_loudspeaker_positions.json``."""
    entries = {
        name: {
            "subject": position.subject,
            "left_angle": position.left_angle,
            "right_angle": position.right_angle,
            "mic": position.mic,
        }
        for name, position in positions.items()
    }
    return json.dumps(entries, indent=4)
