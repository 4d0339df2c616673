"""Writing at-mic files, and telling whether one is complete."""

import contextlib
import os
import struct
from pathlib import Path

import numpy as np
import soundfile
from blake3 import blake3

from cadrender.errors import AudioError
from cadrender.store.atomic import AtomicFile, temporary_name
from cadrender.store.audio import AudioFormat, Header, read_header
from cadrender.store.digest import digest_of

# Bytes gathered before the system is asked to write: larger gains nothing, 32 KiB costs a third more.
_BUFFER = 256 * 1024

_WAV_LIMIT = 2**32 - 44


def wav_header(frames: int, samplerate: int) -> bytes:
    """The 44 bytes before the samples of a stereo PCM_16 WAV file (as libsndfile writes them)."""
    data = 4 * frames
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", data + 36, b"WAVE"),
        *(b"fmt ", 16, 1, 2, samplerate, 4 * samplerate, 4, 16),
        *(b"data", data),
    )


class AudioWriter:
    """A stereo file that is written piece by piece and appears when it is complete.

    A context manager; see :class:`cadrender.store.AtomicFile`. PCM_16 WAV goes to the system directly, at a
    third of soundfile's cost; everything else through soundfile.

    Parameters
    ----------
    file : pathlib.Path
        The place; its folder must exist.
    frames : int
        How many frames will be written.
    samplerate : int
        In hertz.
    audio_format : AudioFormat
        Container and subtype.

    Raises
    ------
    AudioError
        If the file would be larger than a WAV file can be.
    """

    def __init__(self, file: Path, frames: int, samplerate: int, audio_format: AudioFormat):
        if frames * audio_format.bytes_per_frame > _WAV_LIMIT:
            raise AudioError(f"{file}: {frames} frames are more than a WAV file can hold")
        self.pcm16 = audio_format.subtype == "PCM_16"
        self._format = audio_format
        self._plain = audio_format == AudioFormat("wav", "PCM_16")
        self._frames_left = frames
        self._atomic = AtomicFile(file)
        self._sound = None
        try:
            if self._plain:
                self._buffer = np.empty((_BUFFER // 4, 2), np.int16)
                self._filled = 0
                self._hasher = blake3()
                self._append(wav_header(frames, samplerate))
            else:
                self._sound = soundfile.SoundFile(
                    self._atomic.descriptor,
                    "w",
                    samplerate=samplerate,
                    channels=2,
                    format=audio_format.container.upper(),
                    subtype=audio_format.subtype,
                    closefd=False,
                )
        except BaseException:
            self._atomic.__exit__()
            raise

    def write(self, piece: np.ndarray) -> None:
        """Append (n, 2) frames: int16 for PCM_16, else float64 with full scale 1."""
        self._frames_left -= len(piece)
        if self._sound is not None:
            self._sound.write(piece if self.pcm16 else _quantised(piece, self._format.subtype))
            return
        while len(piece):
            room = len(self._buffer) - self._filled
            part = piece[:room]
            self._buffer[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            piece = piece[room:]
            if self._filled == len(self._buffer):
                self._flush()

    def _flush(self):
        self._append(self._buffer[: self._filled])
        self._filled = 0

    def _append(self, data):
        """Write to the file, and digest what is still in the cache."""
        data = memoryview(data).cast("B")
        self._hasher.update(data)
        self._atomic.write(data)

    def finish(self) -> tuple[str, int]:
        """Complete the file, which stays under its temporary name.

        Returns
        -------
        digest : str
            BLAKE3 of its bytes.
        size : int
            How many there are.

        Raises
        ------
        AudioError
            If not all frames were written.
        """
        if self._frames_left:
            raise AudioError(f"{self._atomic.file}: {self._frames_left} frames were never written")
        if self._sound is not None:
            self._sound.close()
            digest = digest_of(temporary_name(self._atomic.file))
        else:
            self._flush()
            digest = self._hasher.hexdigest()
        return digest, os.fstat(self._atomic.descriptor).st_size

    def commit(self) -> None:
        """Move the finished file into its place."""
        self._atomic.commit()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._sound is not None:
            with contextlib.suppress(soundfile.LibsndfileError):
                self._sound.close()
        self._atomic.__exit__(*exception)


def _quantised(piece, subtype):
    """What soundfile is given: rounded 24-bit integers in the upper bits of int32, or float32."""
    if subtype == "FLOAT":
        return piece.astype(np.float32)
    whole = np.clip(np.rint(piece * 2.0**23), -(2.0**23), 2.0**23 - 1)
    return whole.astype(np.int32) << 8


def is_complete(file: Path, frames: int, samplerate: int, audio_format: AudioFormat) -> bool:
    """Whether a file is there with the right length, rate, channels and subtype."""
    if audio_format == AudioFormat("wav", "PCM_16"):
        expected = wav_header(frames, samplerate)
        try:
            with file.open("rb") as stream:
                if (
                    stream.read(len(expected)) == expected
                    and os.fstat(stream.fileno()).st_size == len(expected) + 4 * frames
                ):
                    return True
        except OSError:
            return False
    try:  # another writer's file may have another header
        header = read_header(file)
    except AudioError:
        return False
    return header == Header(frames, samplerate, 2, audio_format.container.upper(), audio_format.subtype)
