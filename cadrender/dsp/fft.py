"""FFTW plans, made once per process, and the wisdom that makes the next process's plans instant.

All transforms are batches of contiguous rows of equal length, float64, one thread. A plan owns its aligned
input and output: callers write into ``plan.input``, call ``plan.execute()`` and read ``plan.output``. Plans are
per thread, so callers need no lock.
"""

import contextlib
import functools
import os
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cadrender.cache import cache_directory
from cadrender.dsp.arrays import Samples


def _import_pyfftw() -> types.ModuleType:
    """Import pyFFTW without its drop-in modules for NumPy, SciPy and Dask, which take a seventh of a second.

    A later ``import pyfftw.interfaces`` imports the real module.
    """
    name = "pyfftw.interfaces"
    if "pyfftw" in sys.modules:
        return sys.modules["pyfftw"]
    stand_in = sys.modules[name] = types.ModuleType(name)
    try:
        import pyfftw
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
    if getattr(pyfftw, "interfaces", None) is stand_in:
        del pyfftw.interfaces
    return pyfftw


pyfftw = _import_pyfftw()

# Lengths that are fast in FFTW and that the vector kernels can split (multiples of 16).
LENGTHS = tuple(sorted(16 * m << e for m in (1, 3, 5) for e in range(17)))

# Padding bins after each row, so that rows start on cache lines and eight bins can be moved at once.
ROW_PADDING = 8


def _wisdom_file() -> Path | None:
    # Wisdom is for one FFTW build; on another build or machine it makes plans slower, never wrong.
    folder = cache_directory()
    return folder / f"fftw-{pyfftw.fftw_version}.wisdom" if folder else None


@functools.cache
def _load_wisdom() -> None:
    """Import the wisdom of earlier runs, if readable."""
    if file := _wisdom_file():
        with contextlib.suppress(OSError):
            pyfftw.import_wisdom((file.read_bytes(), b"", b""))


def _save_wisdom() -> None:
    """Save the wisdom for the next process, if the cache is writable."""
    if (file := _wisdom_file()) is None:
        return
    with contextlib.suppress(OSError):
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pyfftw.export_wisdom()[0])
        Path(name).replace(file)


def _plan(source: Samples, target: Samples, direction: str) -> Any:
    _load_wisdom()
    arguments: dict[str, Any] = {"axes": (1,), "direction": direction, "threads": 1}
    if direction == "FFTW_BACKWARD":
        arguments["normalise_idft"] = False
    try:
        return pyfftw.FFTW(source, target, flags=("FFTW_MEASURE", "FFTW_WISDOM_ONLY"), **arguments)
    except RuntimeError:  # no wisdom for this one yet
        plan = pyfftw.FFTW(source, target, flags=("FFTW_MEASURE",), **arguments)
        _save_wisdom()
        return plan


_of_this_thread = threading.local()


def _once_a_thread(make: "Callable[..., Transform]") -> "Callable[..., Transform]":
    """Cache the results of ``make`` by argument, separately for each thread."""

    @functools.wraps(make)
    def remembered(*key: int | str) -> Transform:
        made: dict[tuple[int | str, ...], Transform] = _of_this_thread.__dict__.setdefault(make.__name__, {})
        if key not in made:
            made[key] = make(*key)
        return made[key]

    return remembered


class Transform:
    """A batch of equal transforms with its buffers.

    Attributes
    ----------
    input, output : ndarray
        One transform per row, padded at the end of the row.
    execute : callable
        Transform all rows of ``input`` into ``output``.
    filled : int
        Columns of ``input`` that may be non-zero, for callers that leave the rest zero.
    """

    def __init__(self, input: Samples, output: Samples, fftw: Any) -> None:
        self.input = input
        self.output = output
        self.execute: Callable[[], None] = fftw.execute
        self.filled = 0
        self._fftw = fftw


@_once_a_thread
def real_forward(length: int, rows: int, slot: str = "") -> Transform:
    """Transforms of real rows.

    Parameters
    ----------
    length : int
        Frames per transform.
    rows : int
        Transforms in the batch.
    slot : str
        Plans of the same shape but different slots have different buffers.

    Returns
    -------
    Transform
        ``input`` float64 (rows, length), zeroed and left untouched by ``execute``; ``output`` complex128
        (rows, length // 2 + ROW_PADDING), of which the first ``length // 2 + 1`` columns are the spectrum.
    """
    source = pyfftw.zeros_aligned((rows, length), "float64", n=64)
    target = pyfftw.zeros_aligned((rows, length // 2 + ROW_PADDING), "complex128", n=64)
    plan = _plan(source, target[:, : length // 2 + 1], "FFTW_FORWARD")
    source[:] = 0.0
    target[:] = 0.0
    return Transform(source, target, plan)


@_once_a_thread
def complex_inverse(length: int, rows: int, slot: str = "") -> Transform:
    """Unnormalised inverse transforms of complex rows.

    Returns
    -------
    Transform
        ``input`` and ``output`` complex128 (rows, length + ROW_PADDING), padding included.
    """
    source = pyfftw.zeros_aligned((rows, length + ROW_PADDING), "complex128", n=64)
    target = pyfftw.zeros_aligned((rows, length + ROW_PADDING), "complex128", n=64)
    plan = _plan(source[:, :length], target[:, :length], "FFTW_BACKWARD")
    source[:] = 0.0
    target[:] = 0.0
    return Transform(source, target, plan)
