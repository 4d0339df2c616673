"""Stereo files read block by block, from any frame on and as often as needed."""

import contextlib
import os
from pathlib import Path

import numpy as np
import soundfile

from cadrender.errors import AudioError
from cadrender.store.audio import check_values, exact_dtype, read_header, reason
from cadrender.store.writing import wav_header


class BlockReader:
    """A stereo file that is read piece by piece; a context manager.

    WAV files that this package wrote are read straight from the system, all others through soundfile.

    Parameters
    ----------
    file : pathlib.Path
    frames, samplerate : int
        What the file must hold.
    dtype : dtype
        What to read it as: its own type (:func:`cadrender.store.audio.exact_dtype`), or float64.

    Raises
    ------
    AudioError
        If the file cannot be opened or is not such a file.
    """

    def __init__(self, file: Path, frames: int, samplerate: int, dtype) -> None:
        header = read_header(file)
        if (header.frames, header.samplerate, header.channels) != (frames, samplerate, 2):
            raise AudioError(
                f"{file}: {header.frames} frames, {header.samplerate} Hz, {header.channels} channel(s); "
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

    def read(self, start: int, out: np.ndarray) -> None:
        """Read frames.

        Parameters
        ----------
        start : int
            The first.
        out : ndarray
            (2 * frames,): filled with interleaved samples; integers are fractions of their full scale.

        Raises
        ------
        AudioError
            If they cannot be read, are not finite or exceed `cadrender.store.audio.LOUDEST`.
        """
        try:
            count = self._read(start, out)
        except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError(f"{self._file}: cannot be read: {reason(error)}") from error
        if count != len(out):
            raise AudioError(f"{self._file}: damaged: it ends at frame {start + count // 2}")
        check_values(self._file, out)

    def _read(self, start, out):
        if self._sound is None:
            return os.preadv(self._descriptor, [out], self._offset + 4 * start) // 2
        if start != self._position:
            self._sound.seek(start)
        read = 2 * len(self._sound.read(out=out.reshape(-1, 2)))
        self._position = start + read // 2
        return read

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._sound is not None:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._sound.close()
        os.close(self._descriptor)


def dtype_of(file: Path) -> np.dtype:
    """The type that holds a file's samples exactly.

    Raises
    ------
    AudioError
        If it is no audio file.
    """
    return exact_dtype(read_header(file))
