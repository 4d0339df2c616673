"""Where a tree is mounted: the system's FUSE, and whether a place can be used."""

from __future__ import annotations

import contextlib
import ctypes.util
import errno
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from cadrender.errors import CadrenderError, UsageError

KIND = "cadrender"

# errno on accessing a mount whose process is gone: on Linux, on macOS.
_DEAD = (errno.ENOTCONN, errno.ENXIO)

_INSTALL = "apt-get install fuse3, or macFUSE on a Mac"


def load_fuse() -> ModuleType:
    """The mfusepy module.

    Raises
    ------
    UsageError
        If it, libfuse or the kernel's FUSE is missing.
    """
    if sys.platform == "linux" and ctypes.util.find_library("fuse3"):
        os.environ.setdefault("FUSE_LIBRARY_NAME", "fuse3")  # mfusepy would prefer libfuse 2
    try:
        import mfusepy
    except ImportError as error:
        raise UsageError("mounting needs mfusepy: pip install 'cadrender[mount]'") from error
    except (OSError, AttributeError, NotImplementedError) as error:
        raise UsageError(f"mounting needs libfuse 3 ({_INSTALL}): {error}") from error
    if sys.platform == "linux":
        try:
            os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise UsageError(f"no FUSE on this machine: /dev/fuse: {error.strerror}") from error
        if os.getuid() and not (shutil.which("fusermount3") or shutil.which("fusermount")):
            raise UsageError(f"mounting needs fusermount3 ({_INSTALL})")
    return mfusepy


@contextlib.contextmanager
def claimed(place: Path) -> Iterator[Path]:
    """Hold a place while something is mounted there; the remains of a killed mount are removed.

    Yields
    ------
    pathlib.Path
        The place without symbolic links.

    Raises
    ------
    UsageError
        If something is mounted there, or it is not an empty folder.
    """
    place = Path(os.path.realpath(place))
    try:
        os.statvfs(place)  # the kernel may still have the remains of a dead mount
    except FileNotFoundError:
        try:
            place.mkdir(parents=True)
        except OSError as error:
            raise UsageError(
                f"{place}: cannot be made: {error.strerror}; name a MOUNTPOINT that can"
            ) from error
    except OSError as error:
        if error.errno not in _DEAD:
            raise UsageError(f"{place}: cannot be used as a mountpoint: {error.strerror}") from error
        _remove_dead(place)
    if not place.is_dir():
        raise UsageError(f"{place}: not a folder: a mountpoint is an empty one")
    if place.is_mount():
        raise UsageError(f"{place}: something is mounted there already")
    if next(place.iterdir(), None):
        raise UsageError(f"{place}: not empty: mount at an empty folder, or generate what is missing there")
    # Of two simultaneous claims, one sees the other's lock.
    folder = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{place}: another process is mounting there") from error
        except OSError:
            pass  # a file system without locks
        yield place
    finally:
        os.close(folder)


def _remove_dead(place: Path) -> None:
    kind = _kind_at(place)
    if kind not in (None, f"fuse.{KIND}"):
        raise UsageError(f"{place}: what is mounted there ({kind}) does not answer: unmount it first")
    unmount(place)
    try:
        os.statvfs(place)
    except OSError as error:
        raise UsageError(f"{place}: a dead mount that cannot be removed: {error.strerror}") from error


def _kind_at(place: Path) -> str | None:
    """The type of the file system mounted at a place, if the system lists it."""
    with contextlib.suppress(OSError):
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            fields, _, kind = line.partition(" - ")
            if fields.split()[4].encode().decode("unicode_escape").encode("latin-1") == os.fsencode(place):
                return kind.split()[0]
    return None


def unmount(place: Path) -> None:
    """Unmount a place even if files are open there; does nothing if nothing is mounted."""
    commands = (
        ("fusermount3", "-u", "-z", "-q"),
        ("fusermount", "-u", "-z", "-q"),
        ("umount", "-l") if sys.platform == "linux" else ("umount", "-f"),
    )
    for command in commands:
        if shutil.which(command[0]):
            done = subprocess.run((*command, str(place)), capture_output=True, check=False)
            if done.returncode == 0:
                return


def set_readahead(place: Path, kibibytes: int) -> None:
    """Let the kernel read further ahead than 128 KiB, if permitted: that needs root."""
    with contextlib.suppress(OSError):
        device = place.stat().st_dev
        setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        setting.write_text(str(kibibytes))


@contextlib.contextmanager
def what_libfuse_says() -> Iterator[Callable[[], str]]:
    """Collect what is written to standard error meanwhile; libfuse reports its reasons only there.

    Yields
    ------
    callable
        The text written so far, on one line.
    """
    import tempfile

    with tempfile.TemporaryFile() as collected:
        kept = os.dup(2)
        os.dup2(collected.fileno(), 2)

        def said() -> str:
            return "; ".join(
                line.strip().removeprefix("fuse: ")
                for line in os.pread(collected.fileno(), 4096, 0).decode(errors="replace").splitlines()
            )

        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def failed(place: Path, reason: str) -> CadrenderError:
    """The error for a failed mount."""
    return UsageError(f"{place}: cannot be mounted: {reason or 'libfuse does not say why'}")
