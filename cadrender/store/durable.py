"""What survives a power cut: making files durable, and telling one boot or mount from another."""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cadrender.errors import CadrenderError

# On macOS fsync does not reach the medium; this does.
_F_FULLFSYNC = 51

# statx(2): the request, and the offsets of the mask and the mount in struct statx.
_AT_FDCWD, _STATX_MNT_ID_UNIQUE = -100, 0x4000
_STATX_BYTES, _MASK_AT, _MOUNT_AT = 256, 0, 144


def this_mount(folder: Path) -> str:
    """An identifier of this boot and this mount of a folder's file system; empty if unknown.

    Files written under the same mount read back as written, whether or not they have reached the disk. Where mounts
    have no unique numbers (before Linux 6.8) only the boot counts, so a disk that was lost and mounted again goes
    unnoticed.
    """
    if not (boot := _this_boot()):
        return ""
    try:
        mount = mount_number(folder)
    except OSError:
        return ""
    return hashlib.md5(b"%s %d" % (boot, mount), usedforsecurity=False).hexdigest()[:16]


@functools.cache
def _this_boot() -> bytes:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            return subprocess.run(command, capture_output=True, check=True, timeout=5).stdout.strip()
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    return b""


def mount_number(folder: Path) -> int:
    """The number of a mount, never reused; 0 if the system has none."""
    statx = _from_libc("statx")
    if statx is None:
        folder.stat()
        return 0
    found = ctypes.create_string_buffer(_STATX_BYTES)
    statx(_AT_FDCWD, os.fsencode(folder), 0, _STATX_MNT_ID_UNIQUE, found)
    (mask,) = struct.unpack_from("=I", found, _MASK_AT)
    (mount,) = struct.unpack_from("=Q", found, _MOUNT_AT)
    return int(mount) if mask & _STATX_MNT_ID_UNIQUE else 0


class Disks:
    """Makes files durable, and learns of every write that fails during its lifetime; a context manager.

    The system reports a failed write once, and only to those who had the file system open when it failed.
    """

    def __init__(self) -> None:
        self._opened: dict[int, int] = {}

    def open(self, folders: Iterable[Path]) -> None:
        """Watch the file systems of some folders from now on.

        Raises
        ------
        CadrenderError
            If one cannot be opened.
        """
        for folder in folders:
            with _named(folder):
                device = folder.stat().st_dev
                if device not in self._opened:
                    self._opened[device] = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)

    def sync(self, files: Iterable[Path]) -> None:
        """Make files durable, as :func:`sync_files` does."""
        sync_files(files, self._opened)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        while self._opened:
            os.close(self._opened.popitem()[1])


def sync_files(files: Iterable[Path], opened: Mapping[int, int] = MappingProxyType({})) -> None:
    """Make files and their names durable: with one call per file system where possible, else one per file.

    Parameters
    ----------
    files : iterable of pathlib.Path
        Files that are complete and in their places.
    opened : mapping of int to int
        Descriptors of folders by device: these report every write that failed since they were opened.

    Raises
    ------
    CadrenderError
        If the system reports a failed write.
    """
    files = list(files)
    if syncfs := _from_libc("syncfs"):
        folders: dict[int, Path] = {}
        for folder in {file.parent for file in files}:
            with _named(folder), contextlib.suppress(FileNotFoundError):
                folders.setdefault(folder.stat().st_dev, folder)
        for device, folder in folders.items():
            if device in opened:
                with _named(folder):
                    syncfs(opened[device])
            else:
                _with_descriptor(folder, syncfs)
        return
    for file in files:
        _with_descriptor(file, sync_descriptor)
    for folder in {file.parent for file in files}:
        _with_descriptor(folder, sync_descriptor)


def sync_descriptor(descriptor: int) -> None:
    """Make an open file durable.

    Raises
    ------
    OSError
        If the system reports a failed write.
    """
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not every file system supports it
            fcntl.fcntl(descriptor, _F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises
    ------
    CadrenderError
        If the system reports a failed write.
    """
    _with_descriptor(folder, sync_descriptor)


def _with_descriptor(place: Path, sync: Callable[[int], None]) -> None:
    with _named(place):
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # replaced or removed by another process meanwhile
            return
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _named(place: Path) -> Iterator[None]:
    """Name the place in system errors."""
    try:
        yield
    except OSError as error:
        raise CadrenderError(f"{place}: cannot be made durable: {error.strerror or error}") from error


@functools.cache
def _from_libc(name: str) -> Callable[..., None] | None:
    """A function of Linux's C library that raises OSError on failure; None if it does not exist."""
    if sys.platform != "linux":
        return None
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (OSError, AttributeError):
        return None

    def call(*arguments: object) -> None:
        while function(*arguments):
            number = ctypes.get_errno()
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    return call
