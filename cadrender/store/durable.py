"""What survives a power cut: files that were made durable, and how a machine tells one boot from another."""

import contextlib
import ctypes
import functools
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from cadrender.errors import CadrenderError

# macOS: fsync does not reach the disk's medium, this does.
_F_FULLFSYNC = 51


@functools.cache
def this_boot() -> str:
    """Stands for this boot of this machine; empty where the system does not tell.

    What was written earlier in the same boot is as it was written, whether it has reached the disk or not.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
            boot = subprocess.run(command, capture_output=True, check=True, timeout=5).stdout
        else:
            boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return hashlib.md5(boot.strip(), usedforsecurity=False).hexdigest()[:16]
    return ""


def sync_files(files: Iterable[Path]) -> None:
    """Make files and their names durable: one call for each file system where there is one, else one for each file.

    Parameters
    ----------
    files : iterable of pathlib.Path
        Files that are complete and in their places.

    Raises
    ------
    CadrenderError
        If the system reports that something could not be written.
    """
    files = list(files)
    if syncfs := _syncfs():
        folders = {}
        for folder in {file.parent for file in files}:
            with contextlib.suppress(FileNotFoundError):
                folders.setdefault(folder.stat().st_dev, folder)
        for folder in folders.values():
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
        If the system reports that something could not be written.
    """
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not every file system has it
            fcntl.fcntl(descriptor, _F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises
    ------
    CadrenderError
        If the system reports that something could not be written.
    """
    _with_descriptor(folder, sync_descriptor)


def _with_descriptor(place, sync):
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # replaced or removed by another process meanwhile
        return
    except OSError as error:
        raise CadrenderError(f"{place}: cannot be made durable: {error.strerror or error}") from error
    try:
        sync(descriptor)
    except OSError as error:
        raise CadrenderError(f"{place}: cannot be made durable: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


@functools.cache
def _syncfs():
    """The C library's syncfs; None where it has none."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def syncfs(descriptor):
        if function(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs
