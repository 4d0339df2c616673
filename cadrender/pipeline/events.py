"""What a run tells while it goes on: values, of which ``str`` makes one line."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """Something worth telling.

    Attributes
    ----------
    detail : bool
        Whether it is for those only who want to know everything.
    """

    detail = False


@dataclass(frozen=True)
class Failed(Event):
    """Something that could not be made.

    Attributes
    ----------
    text : str
        One line.
    song : str
        What it is a part of; empty if of no song alone.
    """

    text: str
    song: str = ""

    def __str__(self) -> str:
        return f"failed: {self.text}"


@dataclass(frozen=True)
class Clipped(Event):
    """A file that was written with clipped PCM values.

    Attributes
    ----------
    file : pathlib.Path
    count : int
        How many values.
    """

    detail = True
    file: Path
    count: int

    def __str__(self) -> str:
        return f"clipped: {self.file}: {self.count} PCM value{'s' if self.count != 1 else ''}"


@dataclass(frozen=True)
class Silent(Event):
    """A file that was written as zeros because it has no loudness.

    Attributes
    ----------
    file : pathlib.Path
    """

    detail = True
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
    """Work that was done since the last such event.

    Attributes
    ----------
    frame_scenes : int
        Frames of the files that were completed, or found complete.
    units : int
        Samples, or whatever the run counts, that were completed by it.
    unit : str
        What they are, in the plural.
    seconds : float
        How long that took one process; 0 where it is not known.
    """

    detail = True
    frame_scenes: int
    units: int
    unit: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.units} {self.unit} completed"
