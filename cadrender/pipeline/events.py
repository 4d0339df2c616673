"""What a run reports as it proceeds: values that ``str`` turns into one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cadrender.wording import plural


@dataclass(frozen=True)
class Event:
    """Something to report.

    Attributes
    ----------
    detail : bool
        Whether to show it only on request.
    """

    detail: ClassVar[bool] = False


@dataclass(frozen=True)
class Failed(Event):
    """Something that could not be made.

    Attributes
    ----------
    text : str
        One line.
    song : str
        The song concerned; empty if no single one.
    """

    text: str
    song: str = ""

    def __str__(self) -> str:
        return f"failed: {self.text}"


@dataclass(frozen=True)
class Clipped(Event):
    """A file written with clipped PCM values.

    Attributes
    ----------
    file : pathlib.Path
    count : int
        Number of clipped values.
    """

    detail: ClassVar[bool] = True
    file: Path
    count: int

    def __str__(self) -> str:
        return f"clipped: {self.file}: {plural(self.count, 'PCM value')}"


@dataclass(frozen=True)
class Silent(Event):
    """A file written as zeros because it has no loudness.

    Attributes
    ----------
    file : pathlib.Path
    """

    detail: ClassVar[bool] = True
    file: Path

    def __str__(self) -> str:
        return f"silent: {self.file}: no loudness before or after the HRIRs, written as zeros"


@dataclass(frozen=True)
class Remark(Event):
    """Something about the run itself: temporary files removed, another process at work, a worker killed.

    Attributes
    ----------
    text : str
        One line.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Progressed(Event):
    """Work done since the last such event.

    Attributes
    ----------
    frame_scenes : int
        Frames of the files that were completed, or found complete.
    units : int
        Samples, or whatever the run counts, completed by these files.
    unit : str
        The name of these units, in the plural.
    seconds : float
        Time it took one process; 0 if unknown.
    """

    detail: ClassVar[bool] = True
    frame_scenes: int
    units: int
    unit: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.units} {self.unit} completed"
