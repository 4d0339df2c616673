"""Stereo files read block by block, in any order."""

import contextlib
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.errors import AudioError
from cadrender.store.audio import check_values, read_header, reason
from cadrender.store.writing import wav_header
from cadrender.wording import plural


class BlockReader:
    """A stereo file read piece by piece; a context manager.

    PCM_16 WAV files written by this package are read by the system directly, all others through soundfile.

    Parameters
    ----------
    file : pathlib.Path
    frames, samplerate : int
        What the file must hold.
    dtype : dtype
        The type to read: the file's own (:func:`cadrender.store.audio.exact_dtype`), or float64.

    Raises
    ------
    AudioError
        If the file cannot be opened or does not match.
    """

    def __init__(self, file: Path, frames: int, samplerate: int, dtype: npt.DTypeLike) -> None:
        header = read_header(file)
        if (header.frames, header.samplerate, header.channels) != (frames, samplerate, 2):
            raise AudioError(
                f"{file}: {header.frames} frames, {header.samplerate} Hz, {plural(header.channels, 'channel')}; "
                f"needed are {frames} frames, {samplerate} Hz, 2 channels"
            )
        self._file = file
        self._dtype = np.dtype(dtype)
        self._sound = None
        try:
            self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AudioError(f"{file}: cannot be read: {reason(error)}") from error
        try:
            expected = wav_header(frames, samplerate)
            plain = self._dtype == np.int16 and os.pread(self._descriptor, len(expected), 0) == expected
            self._offset = len(expected)
            if not plain:
                self._sound = soundfile.SoundFile(self._descriptor, closefd=False)
                self._position = 0
        except (soundfile.LibsndfileError, OSError) as error:
            os.close(self._descriptor)
            raise AudioError(f"{file}: cannot be read: {reason(error)}") from error

    def read(self, start: int, out: npt.NDArray[Any]) -> None:
        """Read frames.

        Parameters
        ----------
        start : int
            The first frame.
        out : ndarray
            (2 * frames,): filled with interleaved samples.

        Raises
        ------
        AudioError
            If they cannot be read, are not finite or exceed :data:`cadrender.store.audio.LOUDEST`.
        """
        try:
            count = self._read(start, out)
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError(f"{self._file}: cannot be read: {reason(error)}") from error
        if count != len(out):
            raise AudioError(f"{self._file}: damaged: it ends at frame {start + count // 2}")
        check_values(self._file, out)

    def _read(self, start: int, out: npt.NDArray[Any]) -> int:
        """Fill `out`; returns the number of samples read."""
        if self._sound is None:
            return os.preadv(self._descriptor, [out.data], self._offset + 4 * start) // 2
        if start != self._position:
            self._sound.seek(start)
        read = 2 * len(self._sound.read(out=out.reshape(-1, 2)))
        self._position = start + read // 2
        return read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._sound is not None:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._sound.close()
        os.close(self._descriptor)
