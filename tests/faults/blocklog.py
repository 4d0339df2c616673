"""A disk that records every write and flush in order, so that its state at any moment can be reconstructed.

Run as a program, it serves a disk image as a FUSE file for a loop device to sit on::

    python -m tests.faults.blocklog FOLDER MEGABYTES MEGABYTES_PER_SECOND

FOLDER gets ``mount/disk`` (the file), ``index`` (a record per write and flush) and ``data`` (the bytes written).
"""

import errno
import mmap
import random
import stat
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = 4096

# Offset and length of a write; a flush has no length.
_RECORD = struct.Struct("<QQ")


@dataclass(frozen=True)
class Log:
    """Everything a disk received, in order."""

    records: tuple[tuple[int, int], ...]
    data: bytes
    size: int

    @classmethod
    def read(cls, folder: Path, size: int) -> "Log":
        index = (folder / "index").read_bytes()
        return cls(tuple(_RECORD.iter_unpack(index)), (folder / "data").read_bytes(), size)

    def cuts(self, places: Iterable[int], rng: random.Random) -> Iterator[tuple[int, Any]]:
        """The disk after a power cut at each of several places, in ascending order: (place, image).

        Everything up to the last flush is present. Each block written after it is in any one of its states since then,
        including the one before: that is what a disk with a cache may keep. Occasionally simply everything or nothing
        is kept.
        """
        image, done, at = bytearray(self.size), 0, 0
        for place in sorted(places):
            flushed = max(
                (number for number in range(done, place) if not self.records[number][1]), default=done
            )
            for offset, length in self.records[done:flushed]:
                image[offset : offset + length] = self.data[at : at + length]
                at += length
            done = flushed
            chance = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            cut, later = bytearray(image), at
            for offset, length in self.records[flushed:place]:
                for start in range(0, length, BLOCK):
                    end = min(start + BLOCK, length)
                    if rng.random() < chance:
                        cut[offset + start : offset + end] = self.data[later + start : later + end]
                later += length
            yield place, cut


def position(folder: Path) -> int:
    """The current number of records."""
    return (folder / "index").stat().st_size // _RECORD.size


def write_sparse(file: Path, image: bytes) -> None:
    """Write an image, with holes for zeros."""
    step = 1 << 18
    zeros = bytes(step)
    with file.open("wb") as stream:
        for start in range(0, len(image), step):
            piece = image[start : start + step]
            if piece == zeros:
                stream.seek(len(piece), 1)
            else:
                stream.write(piece)
        stream.truncate(len(image))


def serve(folder: Path, megabytes: int, rate: float) -> None:
    """Serve the disk until it is unmounted; the image starts as ``FOLDER/begin`` if that exists."""
    import mfusepy

    size = megabytes << 20
    disk = mmap.mmap(-1, size)
    index, data = ((folder / name).open("wb", buffering=0) for name in ("index", "data"))
    if (begin := folder / "begin").exists():
        disk[: begin.stat().st_size] = begin.read_bytes()

    class Disk(mfusepy.Operations):
        def getattr(self, path, fh=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o700, "st_nlink": 2}
            if path == "/disk":
                return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": size}
            raise mfusepy.FuseOSError(errno.ENOENT)

        def readdir(self, path, fh):
            return [".", "..", "disk"]

        def read(self, path, length, offset, fh):
            return disk[offset : offset + length]

        def write(self, path, written, offset, fh):
            disk[offset : offset + len(written)] = written
            data.write(written)
            index.write(_RECORD.pack(offset, len(written)))
            if rate:
                time.sleep(len(written) / rate / 1e6)
            return len(written)

        def fsync(self, path, datasync, fh):
            index.write(_RECORD.pack(0, 0))
            return 0

        def truncate(self, path, length, fh=None):
            return 0

    mfusepy.FUSE(Disk(), str(folder / "mount"), foreground=True, nothreads=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
