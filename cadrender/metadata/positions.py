"""Head and loudspeaker positions (``head_loudspeaker_positions.json``) and the HRIR files that they name."""

from dataclasses import dataclass
from pathlib import Path

from cadrender.metadata.contract import check_name, check_number, check_object, field, read_entries, shown


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


def read_positions(file: Path) -> dict[str, HeadPosition]:
    """Read the positions by their ids, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    positions = {}
    for name, item in read_entries(file, "position").items():
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
        positions[name] = position
    return positions
