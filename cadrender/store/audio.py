"""Reading audio files: headers, stems and HRIRs. Each error is one line that names the file."""

import contextlib
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.errors import AudioError, UsageError
from cadrender.wording import plural

# The smallest array type that holds a subtype's samples exactly; float32 for all others.
_EXACT = {"PCM_16": "int16", "PCM_S8": "int16", "PCM_U8": "int16", "PCM_24": "int32", "PCM_32": "int32"}
_EXACT |= {"DOUBLE": "float64"}

LOUDEST = 1e6
"""Largest sample accepted in a stem, full scale being 1. Beyond it, rounding errors change too many PCM values."""

# A damaged header may claim any length, and memory is allocated for it.
_LONGEST_STEM = (2**32 - 44) // 4
_LONGEST_HRIR = 2**20


@dataclass(frozen=True)
class Header:
    """An audio file's header.

    Attributes
    ----------
    frames, samplerate, channels : int
        As in soundfile.
    format, subtype : str
        Such as ``"WAV"`` and ``"PCM_16"``.
    """

    frames: int
    samplerate: int
    channels: int
    format: str
    subtype: str


@dataclass(frozen=True)
class AudioFormat:
    """How at-mic files are written.

    Attributes
    ----------
    container : str
        ``"wav"`` or ``"flac"``; also the files' suffix. Where a format is asked for: empty for that of existing files.
    subtype : str
        ``"PCM_16"``, ``"PCM_24"`` or, in WAV only, ``"FLOAT"``; likewise.
    """

    container: str = "wav"
    subtype: str = "PCM_16"

    @property
    def bytes_per_frame(self) -> int:
        """Bytes of one stereo frame, uncompressed."""
        return {"PCM_16": 4, "PCM_24": 6, "FLOAT": 8}[self.subtype]

    def over(self, existing: "AudioFormat") -> "AudioFormat":
        """The format that is asked for where files have another one.

        Raises
        ------
        UsageError
            If there is no such format.
        """
        container, subtype = self.container or existing.container, self.subtype or existing.subtype
        if (container, subtype) == ("flac", "FLOAT"):
            raise UsageError(
                "the files that are there are FLAC, which does not hold FLOAT: --format wav is needed too"
                if self.subtype
                else "the files that are there are FLOAT, which FLAC does not hold: --subtype is needed too"
            )
        return AudioFormat(container, subtype)


def reason(error: BaseException) -> str:
    """An error's message, on one line."""
    text = str(getattr(error, "error_string", None) or getattr(error, "strerror", None) or error)
    return " ".join(text.split()).rstrip(".")


def read_header(file: Path) -> Header:
    """Read an audio file's header.

    Raises
    ------
    AudioError
        If the file is missing, not an audio file, or a WAV file shorter than its header claims.
    """
    try:
        if not file.is_file():
            raise AudioError(f"{file}: no such file")
        info = soundfile.info(str(file))
        missing = _missing_bytes(file) if info.format in ("WAV", "WAVEX") else 0
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{file}: not a readable audio file: {reason(error)}") from error
    if missing:
        raise AudioError(f"{file}: truncated: {missing} bytes fewer than its header promises")
    return Header(info.frames, info.samplerate, info.channels, info.format, info.subtype)


def _missing_bytes(file: Path) -> int:
    """Number of bytes a RIFF file lacks; to libsndfile a truncated file is just a shorter one."""
    with file.open("rb") as stream:
        head = stream.read(8)
        size = os.fstat(stream.fileno()).st_size
    if len(head) < 8 or head[:4] != b"RIFF":
        return 0
    promised: int = struct.unpack("<I", head[4:])[0]
    if promised in (0, 0xFFFFFFFF):  # written to a pipe: length unknown to the writer
        return 0
    return max(0, promised + 8 - size)


def _read(file: Path, frames: int, dtype: str) -> npt.NDArray[Any]:
    try:
        with file.open("rb") as stream, soundfile.SoundFile(stream.fileno(), closefd=False) as sound:
            array = sound.read(frames, dtype=dtype, always_2d=True)
    except FileNotFoundError as error:
        raise AudioError(f"{file}: no such file") from error
    except (soundfile.LibsndfileError, OSError, RuntimeError, MemoryError, ValueError) as error:
        raise AudioError(f"{file}: cannot be read: {reason(error)}") from error
    if len(array) != frames:
        raise AudioError(f"{file}: damaged: {len(array)} frames can be read of the {frames} it promises")
    check_values(file, array, np.inf)
    return array


def check_values(file: Path, samples: npt.NDArray[Any], most: float = LOUDEST) -> None:
    """Raise an AudioError unless all samples are finite and at most `most`."""
    if samples.dtype.kind != "f" or not samples.size:
        return
    largest = max(samples.max(), -samples.min())
    if not np.isfinite(largest):
        raise AudioError(f"{file}: holds NaN or infinite samples")
    if largest > most:
        raise AudioError(f"{file}: holds a sample of {largest:g}; full scale is 1, the limit is {most:g}")


def exact_dtype(subtype: str) -> str:
    """The array type that holds a subtype's samples exactly: int16, int32, float32 or float64."""
    return _EXACT.get(subtype, "float32")


def check_stem_header(file: Path, header: Header, samplerate: int) -> None:
    """Raise an AudioError unless a stem is stereo, has this rate, and lasts the 400 ms needed to measure loudness."""
    if header.channels != 2:
        raise AudioError(f"{file}: {plural(header.channels, 'channel')}; stereo is needed")
    if header.samplerate != samplerate:
        raise AudioError(f"{file}: {header.samplerate} Hz; {samplerate} Hz is needed")
    if header.frames > _LONGEST_STEM:
        raise AudioError(f"{file}: {header.frames} frames; an at-mic file holds {_LONGEST_STEM} at most")
    if header.frames < 0.4 * samplerate:
        least = math.ceil(0.4 * samplerate)
        raise AudioError(
            f"{file}: {plural(header.frames, 'frame')}; a loudness needs at least {least} (400 ms)"
        )


def read_stem(file: Path, samplerate: int, start: int = 0, frames: int | None = None) -> npt.NDArray[Any]:
    """Read a stem, or an excerpt of it.

    Parameters
    ----------
    file : pathlib.Path
        Stereo, at `samplerate`, in any format libsndfile reads.
    samplerate : int
        The required rate in hertz.
    start, frames : int, optional
        The excerpt; the whole file by default.

    Returns
    -------
    ndarray
        (frames, 2) int16, int32, float32 or float64, whichever holds the file's samples exactly.

    Raises
    ------
    AudioError
        If the file cannot be read, is not stereo, has another rate, is shorter than 400 ms, or holds samples that
        are not finite or exceed :data:`LOUDEST`.
    """
    header = read_header(file)
    check_stem_header(file, header, samplerate)
    dtype = exact_dtype(header.subtype)
    if start == 0 and frames in (None, header.frames):
        stem = _read(file, header.frames, dtype)
        check_values(file, stem)
        return stem
    frames = header.frames - start if frames is None else frames
    if start < 0 or frames < 1 or start + frames > header.frames:
        raise AudioError(f"{file}: no frames {start} to {start + frames}: it has {header.frames}")
    with contextlib.suppress(soundfile.LibsndfileError, OSError), soundfile.SoundFile(str(file)) as sound:
        sound.seek(start)
        excerpt: npt.NDArray[Any] = sound.read(frames, dtype=dtype, always_2d=True)
        if len(excerpt) == frames:
            check_values(file, excerpt)
            return excerpt
    raise AudioError(f"{file}: damaged: frames {start} to {start + frames} cannot be read")


def read_hrir(file: Path, samplerate: int) -> npt.NDArray[np.float64]:
    """Read one loudspeaker's HRIR.

    Returns
    -------
    ndarray
        (taps, 2) float64: left ear, right ear.

    Raises
    ------
    AudioError
        If the file cannot be read, is not stereo, has another rate, is empty, or holds non-finite values.
    """
    header = read_header(file)
    if header.channels != 2:
        raise AudioError(f"{file}: {plural(header.channels, 'channel')}; an HRIR has two, left and right ear")
    if header.samplerate != samplerate:
        raise AudioError(
            f"{file}: {header.samplerate} Hz; {samplerate} Hz is needed (`cadrender positions --resample`)"
        )
    if header.frames < 1:
        raise AudioError(f"{file}: empty")
    if header.frames > _LONGEST_HRIR:
        raise AudioError(f"{file}: {header.frames} taps; an HRIR has {_LONGEST_HRIR} at most")
    return _read(file, header.frames, "float64").astype(np.float64, copy=False)
