"""At-mic stems as inputs of targets."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from cadrender.errors import AudioError
from cadrender.signals.at_mic import AtMic, size_and_time
from cadrender.store import read_header, read_stem
from cadrender.store.audio import exact_dtype
from cadrender.store.manifest import Record


@dataclass(frozen=True)
class Stored:
    """An at-mic stem that a target is mixed from: the stored file or, failing that, the rendered signal.

    Attributes
    ----------
    stem : str
    files : tuple of pathlib.Path
        Where its file may be.
    frames, samplerate : int
        What the file must match to count.
    subtype : str
        Likewise; default: any.
    at_mic : AtMic, optional
        What to render if none of the files is complete.
    doubtful : bool
        Whether a power cut may have damaged the files, so they are not used.
    record : Record, optional
        What is recorded of its file.
    """

    stem: str
    files: tuple[Path, ...]
    frames: int
    samplerate: int
    subtype: str = ""
    at_mic: AtMic | None = None
    doubtful: bool = False
    record: Record | None = field(default=None, compare=False, repr=False)

    def find(self) -> tuple[Path, str] | None:
        """The complete file and the array type that holds its samples exactly; None if there is none."""
        for file in () if self.doubtful else self.files:
            try:
                header = read_header(file)
            except AudioError:
                continue
            if (header.frames, header.samplerate, header.channels) != (self.frames, self.samplerate, 2):
                continue
            if self.subtype in ("", header.subtype):
                return file, exact_dtype(header.subtype)
        return None

    def whole(self) -> npt.NDArray[Any]:
        """The whole stem, (frames, 2), in the type that holds it exactly.

        Raises
        ------
        AudioError
            If it is not stored and cannot be rendered.
        """
        if found := self.find():
            return read_stem(found[0], self.samplerate)
        return self.signal.read_whole()

    def state(self) -> Hashable:
        """A key for its samples: size and mtime of its file, or of what it is rendered from."""
        if found := self.find():
            return found[0], size_and_time(found[0])
        return self.signal.state()

    @property
    def signal(self) -> AtMic:
        """The signal to render if it is not stored.

        Raises
        ------
        AudioError
            If there is no song.
        """
        if self.at_mic is None:
            raise AudioError(f"{self.files[0]}: not complete, and there is no song to render it from")
        return self.at_mic
