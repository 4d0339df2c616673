"""Complex numbers in lanes: real parts in one register, imaginary parts in another.

In memory they are *interleaved*, each real part next to its imaginary part, as in FFTW and NumPy.
"""

from cadrender.dsp.compiled import inlined
from cadrender.dsp.lanes import (
    evens,
    fma,
    interleave_high,
    interleave_low,
    load,
    mirror_high,
    mirror_low,
    odds,
    store,
)


@inlined
def times(re, im, c, s):
    """``(re + i im) (c + i s)``."""
    return fma(-im, s, re * c), fma(im, c, re * s)


@inlined
def times_conjugate(re, im, c, s):
    """``(re + i im) (c - i s)``."""
    return fma(im, s, re * c), fma(im, c, -(re * s))


@inlined
def plus_times(sum_re, sum_im, re, im, c, s):
    """``sum + (re + i im) (c + i s)``."""
    return fma(-im, s, fma(re, c, sum_re)), fma(im, c, fma(re, s, sum_im))


@inlined
def plus_times_conjugate(sum_re, sum_im, re, im, c, s):
    """``sum + (re + i im) (c - i s)``."""
    return fma(im, s, fma(re, c, sum_re)), fma(-re, s, fma(im, c, sum_im))


@inlined
def load_interleaved(array, at):
    """Load eight numbers starting at element ``at``."""
    low = load(array, at)
    high = load(array, at + 8)
    return evens(low, high), odds(low, high)


@inlined
def store_interleaved(array, at, re, im):
    """Write eight numbers starting at element ``at``."""
    store(array, at, interleave_low(re, im))
    store(array, at + 8, interleave_high(re, im))


@inlined
def store_mirrored(array, at, re, im):
    """Write eight numbers in reverse order starting at element ``at``."""
    store(array, at, mirror_low(re, im))
    store(array, at + 8, mirror_high(re, im))
