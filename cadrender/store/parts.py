"""Reading parts of stereo files as cheaply as possible: with one system call if the file holds plain samples."""

import functools
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.errors import AudioError
from cadrender.store.audio import check_stem_header, check_values, exact_dtype, read_header, reason

# Subtypes whose samples are copied straight from a WAV file, which is little-endian.
_PLAIN = {"PCM_16": "<i2", "PCM_32": "<i4", "FLOAT": "<f4", "DOUBLE": "<f8"}

_of_this_thread = threading.local()


@dataclass(frozen=True)
class Layout:
    """How samples are laid out in a stereo file.

    Attributes
    ----------
    frames : int
    dtype : numpy.dtype
        The type that holds them exactly.
    offset : int
        Where they begin, in bytes; -1 if they must be decoded.
    """

    frames: int
    dtype: np.dtype[Any]
    offset: int


@functools.lru_cache(maxsize=4096)
def _layout(file: Path, samplerate: int, size: int, mtime_ns: int) -> Layout:
    """A file's layout; size and mtime are part of the cache key, so that a changed file is read again."""
    header = read_header(file)
    check_stem_header(file, header, samplerate)
    plain = header.format in ("WAV", "WAVEX") and header.subtype in _PLAIN
    offset = _data_offset(file, header.frames, np.dtype(_PLAIN[header.subtype]).itemsize) if plain else -1
    return Layout(header.frames, np.dtype(exact_dtype(header.subtype)), offset)


def _data_offset(file: Path, frames: int, size: int) -> int:
    """Where the samples of a RIFF file begin; -1 if unclear."""
    with file.open("rb") as stream:
        if stream.read(4) != b"RIFF":
            return -1
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            name, length = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                return stream.tell() if length >= 2 * size * frames else -1
            stream.seek(length + length % 2, os.SEEK_CUR)
    return -1


def scratch(slot: int, frames: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Reusable memory of this thread, (frames, 2): fresh pages cost as much as reading.

    Each `slot` has its own memory.
    """
    memory: dict[int, npt.NDArray[np.uint8]] = _of_this_thread.__dict__.setdefault("memory", {})
    needed = 2 * frames * dtype.itemsize
    if slot not in memory or len(memory[slot]) < needed:
        memory[slot] = np.empty(max(needed, 1 << 16), np.uint8)
    return memory[slot][:needed].view(dtype).reshape(frames, 2)


def read_part(
    file: Path, samplerate: int, frames: int, start: int, count: int, slot: int | None = None
) -> tuple[npt.NDArray[Any], tuple[int, int]]:
    """Read a part of a stem whose length is known.

    Parameters
    ----------
    file : pathlib.Path
        Stereo, at `samplerate`, in any format libsndfile reads.
    samplerate, frames : int
        What the file must have.
    start, count : int
        The part; it must lie within the file.
    slot : int, optional
        Slot of :func:`scratch` whose memory to reuse; default: new memory.

    Returns
    -------
    part : ndarray
        (count, 2) in the type that holds the samples exactly; valid until this thread uses the slot again.
    state : (int, int)
        The file's size and mtime, the same before and after reading.

    Raises
    ------
    AudioError
        If the part cannot be read, the file is not as expected, or it changes meanwhile.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise AudioError(f"{file}: no such file") from error
    except OSError as error:
        raise AudioError(f"{file}: cannot be read: {reason(error)}") from error
    try:
        before = os.fstat(descriptor)
        state = before.st_size, before.st_mtime_ns
        layout = _layout(file, samplerate, *state)
        if layout.frames != frames:
            raise AudioError(f"{file}: {layout.frames} frames, and {frames} when it was looked at first")
        if slot is None:
            part = np.empty((count, 2), layout.dtype)
        else:
            part = scratch(slot, count, layout.dtype)
        read = _read(descriptor, layout, start, part)
        after = os.fstat(descriptor)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{file}: cannot be read: {reason(error)}") from error
    finally:
        os.close(descriptor)
    if (after.st_size, after.st_mtime_ns) != state:
        raise AudioError(f"{file}: changed while it was being read")
    if read != count:
        raise AudioError(f"{file}: damaged: it ends at frame {start + read}")
    check_values(file, part)
    return part, state


def _read(descriptor: int, layout: Layout, start: int, part: npt.NDArray[Any]) -> int:
    """Fill an array; returns the number of frames read."""
    if not len(part):  # an empty memoryview cannot be cast
        return 0
    if layout.offset < 0:
        with soundfile.SoundFile(descriptor, closefd=False) as sound:
            sound.seek(start)
            return len(sound.read(out=part))
    view = part.data.cast("B")
    at, done = layout.offset + start * part.itemsize * 2, 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], at + done)
        if count == 0:
            break
        done += count
    return done // (2 * part.itemsize)
