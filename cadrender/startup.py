"""A quick start and a quick end of the program's own processes.

Imported modules and loaded kernels are half a million objects that stay until the end. Python's garbage collector
walks through them again and again while they come, and once more at the exit, and finds nothing: a quarter of a
second a process.
"""

import contextlib
import gc
import os
import resource
import sys
from collections.abc import Iterator

# Objects made before the collector looks for the first time: more than all modules, less than could matter.
_PATIENT = 1_000_000

# Files open at once: more than scenes of a song and workers together.
_OPEN_FILES = 4096

_before = None


def hold_collector() -> None:
    """Keep the garbage collector waiting while the program starts; for the command line and its workers."""
    global _before
    if _before is None:
        _before = gc.get_threshold()
        gc.set_threshold(_PATIENT)


def release_collector() -> None:
    """End what :func:`hold_collector` began: from now on it looks after new objects only."""
    global _before
    if _before is not None:
        gc.freeze()
        gc.set_threshold(*_before)
        _before = None


def allow_open_files() -> None:
    """Raise the limit of open files to what the system lets a program ask for: each scene of a song has one."""
    with contextlib.suppress(OSError, ValueError):
        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def one_thread_for_blas() -> None:
    """Keep NumPy's BLAS, which nothing here uses, from starting threads; to be called before NumPy is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def print_any_name() -> None:
    """Print letters that the terminal or the log cannot show as ``\\xf1``: a song's name is no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # closed, or replaced by something else
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Discard what this process, and those that it starts, write to file descriptor 2."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def open_any_name() -> None:
    """Start the program anew in Python's UTF-8 mode where file names are taken for ASCII.

    Otherwise no file of a song with an accent in its name could be opened. Python does the same by itself under
    ``LC_ALL=C``, but not with ``PYTHONUTF8=0`` or in other locales of that kind. What is printed stays ASCII.
    """
    if sys.getfilesystemencoding() != "ascii" or os.environ.get("PYTHONUTF8") == "1":
        return
    printed = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{printed}:backslashreplace"}
    os.execv(sys.executable, sys.orig_argv)
