"""Fast start and exit of the program's own processes.

Imported modules and loaded kernels are half a million objects that live until the end. Python's garbage collector
scans them repeatedly during start-up and once more at exit, and finds nothing: a quarter of a second per process.
"""

import contextlib
import gc
import importlib
import io
import os
import resource
import sys
import types
from collections.abc import Iterator

# New objects before the first collection: more than all modules make, too few to matter for memory.
_PATIENT = 1_000_000

# Files open at once: more than a song's scenes and the workers together.
_OPEN_FILES = 4096

_before: tuple[int, int, int] | None = None


def hold_collector() -> None:
    """Suspend garbage collection while the program starts; for the command line and its workers."""
    global _before
    if _before is None:
        _before = gc.get_threshold()
        gc.set_threshold(_PATIENT)


def release_collector() -> None:
    """Resume garbage collection after :func:`hold_collector`, for new objects only."""
    global _before
    if _before is not None:
        gc.freeze()
        gc.set_threshold(*_before)
        _before = None


def spare_linear_algebra() -> None:
    """Load the part of Numba that loads SciPy's linear algebra with it, but without that: a tenth of a second.

    No kernel needs it, and Numba loads it where a function does. Only while the program starts, as
    :func:`hold_collector` says: elsewhere other threads may be importing SciPy.
    """
    name = "scipy.linalg.cython_blas"
    if _before is None or name in sys.modules:
        return
    sys.modules[name] = types.ModuleType(name)
    try:
        with contextlib.suppress(ImportError):
            importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[name]


def allow_open_files() -> None:
    """Raise the limit of open files as far as the system allows: each scene of a song has one."""
    with contextlib.suppress(OSError, ValueError):
        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
        if now != resource.RLIM_INFINITY and now < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def one_thread_for_blas() -> None:
    """Keep NumPy's BLAS, which is unused, from starting threads; call it before NumPy is imported."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def open_closed_streams() -> None:
    """Let standard input, output and error lead nowhere where they are closed.

    Otherwise the next files to be opened would take their place, here and in workers.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def print_any_name() -> None:
    """Print letters that the terminal cannot show as ``\\xf1``, instead of failing on a song's name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # closed
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
    """Restart the program in Python's UTF-8 mode if file names would be ASCII.

    Otherwise files of songs with an accent in their name could not be opened. Python does the same by itself under
    ``LC_ALL=C``, but not with ``PYTHONUTF8=0`` or in other such locales. What is printed stays ASCII.
    """
    if sys.getfilesystemencoding() != "ascii" or os.environ.get("PYTHONUTF8") == "1":
        return
    printed = getattr(sys.stdout, "encoding", None) or "ascii"
    os.environ |= {"PYTHONUTF8": "1", "PYTHONIOENCODING": f"{printed}:backslashreplace"}
    os.execv(sys.executable, sys.orig_argv)
