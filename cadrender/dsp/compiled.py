"""One decorator for every compiled kernel: the flags, and where the machine code is kept.

Flags, chosen once: ``error_model="numpy"`` (no check for division by zero in the loops), no fast-math (sums
are kept in the order in which they are written, so that results do not depend on the compiler's mood;
kernels that want fused multiply-adds or lanes say so through :mod:`cadrender.dsp.lanes`), ``nogil``.

Machine code is kept in the user's cache directory, or beside the sources, or nowhere, whichever can be
written first.
"""

import numba

from cadrender.cache import cache_directory
from cadrender.version import version

# Numba notices a change of the kernel's own file only, not of `lanes.py`: a release has a folder of its own.
_DIRECTORY = cache_directory() / f"numba-{version()}"


def _compiled(cache):
    return numba.njit(cache=cache, nogil=True, error_model="numpy", boundscheck=False)


def compiled(function):
    """Compile ``function`` with Numba when it is first called, and keep the machine code."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = before or str(_DIRECTORY)
    try:
        return _compiled(cache=True)(function)
    except RuntimeError:  # Numba found no place that it may write to
        return _compiled(cache=False)(function)
    finally:
        numba.config.CACHE_DIR = before


inlined = numba.njit(nogil=True, error_model="numpy", boundscheck=False, forceinline=True)
