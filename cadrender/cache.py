"""Where FFT plans and compiled kernels are kept between runs.

What is there gets executed: Numba's files are machine code, found through pickles. So a folder is used only if it
belongs to this user and nobody else may write to it.
"""

import functools
import logging
import os
import stat
import tempfile
from pathlib import Path

from cadrender.version import version

# Set once a process has reported that there is no cache, so that its workers do not repeat it.
_SAID = "CADRENDER_NO_CACHE_SAID"

_HINT = "set CADRENDER_CACHE_DIR to a folder of your own"


def cache_place() -> Path:
    """Where the user's cache for cadrender belongs: ``CADRENDER_CACHE_DIR``, or the system's usual place."""
    if chosen := os.environ.get("CADRENDER_CACHE_DIR"):
        return Path(chosen).absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("cadrender")).absolute()


@functools.cache
def cache_directory() -> Path | None:
    """The user's cache directory, made if necessary; None if it cannot be used, which is reported once."""
    place = cache_place()
    if problem := _make_private(place):
        kept = "machine code is kept beside the sources" if _beside_sources() else "every run compiles anew"
        _say(f"{place}: {problem}: not used as a cache, {kept} ({_HINT})")
        return None
    return place


@functools.cache
def code_directory() -> Path | None:
    """Where machine code is kept: in the user's cache directory, else beside the sources; None for nowhere."""
    if (place := cache_directory()) is None:
        return _beside_sources()
    # Numba notices changes of a kernel's own file only, so each release has its own folder.
    folder = place / f"numba-{version()}"
    if problem := _make_private(folder) or _close(folder):
        _say(f"{folder}: {problem}: not used as a cache, every run compiles anew (delete it, or {_HINT})")
        return None
    return folder


def report_failed(folder: Path, error: OSError) -> None:
    """Report, once, that machine code could not be loaded from a cache folder or saved there."""
    _say(f"{folder}: {error.strerror or error}: what is compiled is not kept ({_HINT})")


@functools.cache
def _beside_sources() -> Path | None:
    beside = Path(__file__).parent / "__pycache__"
    folder = beside / f"numba-{version()}"
    return None if _make_private(beside) or _make_private(folder) or _close(folder) else folder


def _make_private(folder: Path) -> str:
    """Make a folder that only this user may write to; returns what is wrong with it, or ""."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if problem := _shared(folder):
            return problem
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"
    return ""


def _close(folder: Path) -> str:
    """Close a private folder to others, so that the permissions of new files in it do not matter."""
    try:
        if folder.stat().st_mode & 0o077:
            for each in folder.rglob("*"):
                if problem := _shared(each):
                    return f"{each.relative_to(folder)} in it: {problem}"
            folder.chmod(0o700)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return ""


def _shared(place: Path) -> str:
    status = place.stat()
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "others may write to it"
    return ""


def _say(line: str) -> None:
    if not os.environ.get(_SAID):
        os.environ[_SAID] = "1"
        logging.getLogger("cadrender").warning(line)
