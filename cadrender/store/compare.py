"""Comparing a file's samples with others, piece by piece."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.errors import AudioError
from cadrender.store.audio import AudioFormat, exact_dtype
from cadrender.store.writing import quantised

# One step of each subtype in the values soundfile returns; float32 has 24 bits.
_STEP = {"PCM_16": 1, "PCM_24": 256, "FLOAT": 2.0**-23}
# Convolving stems in other groups changes samples by a few 2**-53 of full scale before float32 rounds them.
_ROUNDING = 2.0**-46


class AudioComparer:
    """Stands in for an AudioWriter and counts where a file differs from what would have been written.

    A context manager.

    Parameters
    ----------
    file : pathlib.Path
    frames : int
        The expected length.
    audio_format : AudioFormat
        The expected format.

    Attributes
    ----------
    pcm16 : bool
        Whether int16 is compared rather than float64.
    different : int
        Differing samples found so far; for FLOAT, by more than rounding to float32 can explain.
    largest : float
        The largest difference, in steps of the subtype.

    Raises
    ------
    AudioError
        If the file cannot be read, or has another length or format.
    """

    folder: None = None

    def __init__(self, file: Path, frames: int, audio_format: AudioFormat) -> None:
        self.pcm16 = audio_format.subtype == "PCM_16"
        self.frames = frames
        self.different = 0
        self.largest = 0.0
        self._file = file
        self._subtype = audio_format.subtype
        try:
            self._sound = soundfile.SoundFile(str(file))
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"{file}: not a readable audio file") from error
        if (self._sound.frames, self._sound.channels, self._sound.subtype) != (frames, 2, self._subtype):
            self._sound.close()
            raise AudioError(f"{file}: not {frames} frames of stereo {self._subtype}")

    def restart(self) -> None:
        """Start again."""
        self._sound.seek(0)
        self.different, self.largest = 0, 0.0

    def write(self, piece: npt.NDArray[Any]) -> None:
        """Compare the next frames: int16 for PCM_16, else float64 with full scale 1."""
        expected = quantised(piece, self._subtype)
        try:
            found = self._sound.read(len(piece), dtype=exact_dtype(self._subtype), always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise AudioError(f"{self._file}: damaged: it cannot be read to its end") from error
        if len(found) != len(expected):
            raise AudioError(f"{self._file}: damaged: it cannot be read to its end")
        differing = found != expected
        if differing.any() and self._subtype == "FLOAT":
            differing = np.abs(found.astype(np.float64) - expected) > np.spacing(np.abs(expected)) + _ROUNDING
        if differing.any():
            steps = np.abs(found[differing].astype(np.float64) - expected[differing]) / _STEP[self._subtype]
            self.different += int(differing.sum())
            self.largest = max(self.largest, float(steps.max()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._sound.close()
