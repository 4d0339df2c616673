"""Writing at-mic files, and telling whether one is complete."""

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile
from blake3 import blake3

from cadrender.errors import AudioError
from cadrender.store.atomic import AtomicFile, temporary_name
from cadrender.store.audio import AudioFormat, Header, read_header
from cadrender.store.digest import digest_of

# Bytes gathered per write: more gains nothing, 32 KiB costs a third more.
_BUFFER = 256 * 1024

_WAV_LIMIT = 2**32 - 64

# Format tag and bytes per sample.
_WAV_CODES = {"PCM_16": (1, 2), "PCM_24": (1, 3), "FLOAT": (3, 4)}


def wav_header(frames: int, samplerate: int, subtype: str = "PCM_16") -> bytes:
    """The bytes before the samples of a stereo WAV file.

    For PCM they are libsndfile's. Float files lack the timestamp that libsndfile adds, so that the same samples give
    the same file.
    """
    tag, size = _WAV_CODES[subtype]
    data = 2 * size * frames
    form = struct.pack(
        "<4sIHHIIHH", b"fmt ", 16, tag, 2, samplerate, 2 * size * samplerate, 2 * size, 8 * size
    )
    fact = struct.pack("<4sII", b"fact", 4, frames) if subtype == "FLOAT" else b""
    riff = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(fact) + 8 + data, b"WAVE")
    return riff + form + fact + struct.pack("<4sI", b"data", data)


class _Sink:
    """The file that libsndfile writes to; keeps the system's error, which libsndfile does not pass on."""

    def __init__(self, atomic: AtomicFile) -> None:
        self._atomic = atomic
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._atomic.write(data)
        except OSError as error:
            self.error = self.error or error
            return 0
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._atomic.descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._atomic.descriptor, 0, os.SEEK_CUR)


class AudioWriter:
    """A stereo file that is written piece by piece and appears when complete.

    A context manager; see :class:`cadrender.store.atomic.AtomicFile`. WAV is written directly, at a third of the
    cost of soundfile; FLAC through soundfile.

    Parameters
    ----------
    file : pathlib.Path
        Its folder must exist.
    frames : int or None
        Number of frames to be written; None if not known yet.
    samplerate : int
        In hertz.
    audio_format : AudioFormat
        Container and subtype.

    Attributes
    ----------
    frames : int or None
        The file's length, once known.
    pcm16 : bool
        Whether int16 is written rather than float64.
    folder : pathlib.Path
        The file's folder.

    Raises
    ------
    AudioError
        If the file would exceed the size limit of WAV.
    """

    def __init__(self, file: Path, frames: int | None, samplerate: int, audio_format: AudioFormat) -> None:
        self.pcm16 = audio_format.subtype == "PCM_16"
        self.folder = file.parent
        self.frames = frames
        self._file, self._samplerate, self._format = file, samplerate, audio_format
        self._subtype = audio_format.subtype
        self._hasher: blake3 | None = None
        self._check_size(frames or 0)
        self._atomic = AtomicFile(file)
        try:
            self._begin()
        except BaseException:
            self._atomic.close()
            raise

    def _begin(self) -> None:
        self._written = 0
        self._sound = None
        self._hasher = None
        if self._format.container == "wav":
            frame_bytes = self._format.bytes_per_frame
            self._buffer = np.empty((_BUFFER // frame_bytes, frame_bytes), np.uint8)
            self._filled = 0
            if self.frames is not None:  # otherwise the header is written and digested last
                self._hasher = blake3()
            self._append(wav_header(self.frames or 0, self._samplerate, self._subtype))
        else:
            self._sink = _Sink(self._atomic)
            self._sound = self._through_sink(
                lambda: soundfile.SoundFile(
                    self._sink,
                    "w",
                    samplerate=self._samplerate,
                    channels=2,
                    format=self._format.container.upper(),
                    subtype=self._subtype,
                )
            )

    def restart(self) -> None:
        """Discard what was written and start again."""
        if self._sound is not None:
            self._through_sink(self._sound.close)
        self._atomic.rewind()
        self._begin()

    def _check_size(self, frames: int) -> None:
        if self._format.container == "wav" and frames * self._format.bytes_per_frame > _WAV_LIMIT:
            raise AudioError(f"{self._file}: {frames} frames are more than a WAV file can hold")

    def write(self, piece: npt.NDArray[Any]) -> None:
        """Append (n, 2) frames: int16 for PCM_16, else float64 with full scale 1."""
        self._written += len(piece)
        if self.frames is None:
            self._check_size(self._written)
        if not len(piece):
            return
        piece = quantised(piece, self._subtype)
        if (sound := self._sound) is not None:
            self._through_sink(lambda: sound.write(piece))
            return
        frames = frame_bytes(piece, self._subtype)
        if not self._filled and frames.size >= _BUFFER // 2:  # already large enough
            self._append(frames.data)
            return
        while len(frames):
            room = len(self._buffer) - self._filled
            part = frames[:room]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            frames = frames[room:]
            if self._filled == len(self._buffer):
                self._flush()

    def _flush(self) -> None:
        if self._filled:
            self._append(self._buffer[: self._filled].data)
            self._filled = 0

    def _append(self, data: bytes | memoryview) -> None:
        """Write to the file, and digest the bytes while they are in the CPU cache."""
        data = memoryview(data).cast("B")
        if self._hasher is not None:
            self._hasher.update(data)
        self._atomic.write(data)

    def _through_sink(self, action: Callable[[], Any]) -> Any:
        """Call into libsndfile; a system error is raised in place of libsndfile's own."""
        try:
            return action()
        finally:
            if self._sink.error is not None:
                raise self._sink.error

    def finish(self) -> tuple[str, int, int]:
        """Complete the file, which keeps its temporary name.

        Returns
        -------
        digest : str
            BLAKE3 of its bytes.
        size : int
            Its size in bytes.
        mtime_ns : int
            Its time of last modification.

        Raises
        ------
        AudioError
            If not all frames were written.
        """
        if self.frames is not None and self.frames != self._written:
            raise AudioError(f"{self._file}: {self.frames - self._written} frames were never written")
        if self._sound is not None:
            self._through_sink(self._sound.close)
        else:
            self._flush()
            if self.frames is None:
                header = wav_header(self._written, self._samplerate, self._subtype)
                os.pwrite(self._atomic.descriptor, header, 0)
        self.frames = self._written
        digest = (
            self._hasher.hexdigest() if self._hasher is not None else digest_of(temporary_name(self._file))
        )
        status = os.fstat(self._atomic.descriptor)
        return digest, status.st_size, status.st_mtime_ns

    def commit(self) -> None:
        """Move the finished file into its place."""
        self._atomic.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._sound is not None:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._sound.close()
        self._atomic.close()


def quantised(piece: npt.NDArray[Any], subtype: str) -> npt.NDArray[Any]:
    """Samples as they are written: for PCM_24 rounded, in the upper bits of int32; for FLOAT as float32."""
    if subtype == "PCM_16":
        return piece
    if subtype == "FLOAT":
        return piece.astype("<f4")
    whole = np.clip(np.rint(piece.astype(np.float64, copy=False) * 2.0**23), -(2.0**23), 2.0**23 - 1)
    return whole.astype("<i4") << 8


def frame_bytes(piece: npt.NDArray[Any], subtype: str) -> npt.NDArray[np.uint8]:
    """The bytes of quantised frames as in a WAV file, one row per frame."""
    rows = np.ascontiguousarray(piece).view(np.uint8).reshape(len(piece), -1)
    if subtype != "PCM_24":
        return rows
    return rows.reshape(len(piece), 2, 4)[:, :, 1:].reshape(len(piece), 6)


def is_complete(file: Path, frames: int, samplerate: int, audio_format: AudioFormat) -> bool:
    """Whether a file exists with the right length, rate, channels and subtype."""
    if audio_format.container == "wav" and frames * audio_format.bytes_per_frame <= _WAV_LIMIT:
        expected = wav_header(frames, samplerate, audio_format.subtype)
        size = len(expected) + frames * audio_format.bytes_per_frame
        try:
            with file.open("rb") as stream:
                if stream.read(len(expected)) == expected and os.fstat(stream.fileno()).st_size == size:
                    return True
        except OSError:
            return False
    try:  # another writer's header may differ
        header = read_header(file)
    except AudioError:
        return False
    return header == Header(frames, samplerate, 2, audio_format.container.upper(), audio_format.subtype)
