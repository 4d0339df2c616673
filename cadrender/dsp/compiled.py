"""One decorator for every compiled kernel: the flags, and where the machine code is kept.

Flags, chosen once: ``error_model="numpy"`` (no check for division by zero in the loops), no fast-math (sums
are kept in the order in which they are written, so that results do not depend on the compiler's mood;
kernels that want fused multiply-adds or lanes say so through :mod:`cadrender.dsp.lanes`), ``nogil``.

Machine code is kept where :mod:`cadrender.cache` allows it, or nowhere.
"""

import numba

from cadrender.cache import code_directory


def _compiled(cache):
    return numba.njit(cache=cache, nogil=True, error_model="numpy", boundscheck=False)


def compiled(function):
    """Compile ``function`` with Numba when it is first called, and keep the machine code."""
    directory = code_directory()
    if directory is None:
        return _compiled(cache=False)(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        return _compiled(cache=True)(function)
    except RuntimeError:  # the folder can no longer be written
        return _compiled(cache=False)(function)
    finally:
        numba.config.CACHE_DIR = before


inlined = numba.njit(nogil=True, error_model="numpy", boundscheck=False, forceinline=True)
