"""The compiled loops of :mod:`cadrender.dsp.parts`, with their own transforms so that a block never leaves the caches.

**Two blocks travel as one complex signal**, one as its real part, one as its imaginary part; left and right channels
are two such signals. HRIRs are real, so one spectrum multiplies both blocks at once, and none has to be taken
apart.

**Layout**: a signal or spectrum of ``N`` complex numbers is a row of *registers*: eight real parts, the eight
imaginary parts, and so on. In float64 that is one channel; in float32 a register has two halves, for the left and the
right channel, which the same loops treat alike. Positions and spans are counted in registers.

The forward transform decimates in frequency, the inverse in time, so the bins in between stay in digit-reversed
order; HRIRs are transformed by the same loops and share it. Passes of radix 8 and 4 run over strides of at least
one register; the last eight-point transforms, of neighbours, need the 8 x 8 transposition of a *tile* of 64
numbers, which stays transposed until the inverse.

**Overlap-save**: a block's window of ``N`` frames yields its last ``hop`` frames; nothing is carried over.

Nearly all the time goes into arithmetic and shuffles, two instructions per cycle.
"""

import numba
import numpy as np

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.complexes import plus_times, times, times_conjugate
from cadrender.dsp.kernels import SNAP, _transpose
from cadrender.dsp.lanes import (
    fma,
    larger,
    left_half,
    load_both,
    load_left,
    load_right,
    pointer_to,
    prefetch_to_read,
    prefetch_to_write,
    register,
    right_half,
    set_register,
    smaller,
    splat,
    splat_like,
    store_frames,
    store_pcm_frames,
    swap_halves,
    with_sign_of,
)


@inlined
def _four(r0, i0, r1, i1, r2, i2, r3, i3):
    """The four-point transform in each lane; with ``re`` and ``im`` swapped, the inverse."""
    ar, ai, br, bi = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    cr, ci, dr, di = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    return ar + cr, ai + ci, br + di, bi - dr, ar - cr, ai - ci, br - di, bi + dr


@inlined
def _eight(r0, i0, r1, i1, r2, i2, r3, i3, r4, i4, r5, i5, r6, i6, r7, i7):
    """The eight-point transform; see :func:`_four`."""
    r0, i0, r4, i4 = r0 + r4, i0 + i4, r0 - r4, i0 - i4
    r1, i1, r5, i5 = r1 + r5, i1 + i5, r1 - r5, i1 - i5
    r2, i2, r6, i6 = r2 + r6, i2 + i6, r2 - r6, i2 - i6
    r3, i3, r7, i7 = r3 + r7, i3 + i7, r3 - r7, i3 - i7
    r0, i0, r1, i1, r2, i2, r3, i3 = _four(r0, i0, r1, i1, r2, i2, r3, i3)
    # Times 1 - i and -1 - i; the root of 1/2 comes with the last sums.
    r5, i5, r7, i7 = r5 + i5, i5 - r5, i7 - r7, -(r7 + i7)
    r4, i4, r6, i6 = r4 + i6, i4 - r6, r4 - i6, i4 + r6
    r5, i5, r7, i7 = r5 + r7, i5 + i7, r5 - r7, i5 - i7
    root = splat_like(0.5**0.5, r0)
    ar, ai, br, bi = fma(root, r5, r4), fma(root, i5, i4), fma(-root, r5, r4), fma(-root, i5, i4)
    cr, ci, dr, di = fma(root, i7, r6), fma(-root, r7, i6), fma(-root, i7, r6), fma(root, r7, i6)
    return r0, i0, ar, ai, r1, i1, cr, ci, r2, i2, br, bi, r3, i3, dr, di


@inlined
def _set(z, p, re, im):
    set_register(z, p, re)
    set_register(z, p + 1, im)


@inlined
def _set_times(z, p, re, im, twiddles, t):
    re, im = times(re, im, register(twiddles, t), register(twiddles, t + 1))
    _set(z, p, re, im)


@inlined
def _get_times(z, p, twiddles, t):
    """A number times the conjugate of its twiddle factor."""
    return times_conjugate(
        register(z, p), register(z, p + 1), register(twiddles, t), register(twiddles, t + 1)
    )


@inlined
def _set_eight(z, p, step, twiddles, t, a):
    """Write an eight-point transform, all but the first number multiplied by its twiddle factor."""
    _set(z, p, a[0], a[1])
    _set_times(z, p + step, a[2], a[3], twiddles, t)
    _set_times(z, p + 2 * step, a[4], a[5], twiddles, t + 2)
    _set_times(z, p + 3 * step, a[6], a[7], twiddles, t + 4)
    _set_times(z, p + 4 * step, a[8], a[9], twiddles, t + 6)
    _set_times(z, p + 5 * step, a[10], a[11], twiddles, t + 8)
    _set_times(z, p + 6 * step, a[12], a[13], twiddles, t + 10)
    _set_times(z, p + 7 * step, a[14], a[15], twiddles, t + 12)


@inlined
def _first_pass(load, a, a_at, b, b_at, registers, z, twiddles):
    step = registers // 8
    t = 0
    for p in range(0, step, 2):
        i = a_at + 8 * p
        j = b_at + 8 * p
        spectrum = _eight(
            load(a, i),
            load(b, j),
            load(a, i + 8 * step),
            load(b, j + 8 * step),
            load(a, i + 16 * step),
            load(b, j + 16 * step),
            load(a, i + 24 * step),
            load(b, j + 24 * step),
            load(a, i + 32 * step),
            load(b, j + 32 * step),
            load(a, i + 40 * step),
            load(b, j + 40 * step),
            load(a, i + 48 * step),
            load(b, j + 48 * step),
            load(a, i + 56 * step),
            load(b, j + 56 * step),
        )
        _set_eight(z, p, step, twiddles, t, spectrum)
        t += 14


@compiled
def first_left(a, a_at, b, b_at, registers, z, twiddles):
    """The first pass of the forward transform, radix 8, from the left channels of two windows.

    Parameters
    ----------
    a, b : ndarray
        (any,), interleaved stereo of one type: the windows begin at elements ``a_at`` and ``b_at``.
    registers : int
        Number of registers of ``z``.
    z : ndarray
        (8 * registers,) float64: written.
    twiddles : ndarray
        See :func:`cadrender.dsp.parts.transform`.
    """
    _first_pass(load_left, a, a_at, b, b_at, registers, z, twiddles)


@compiled
def first_right(a, a_at, b, b_at, registers, z, twiddles):
    """As :func:`first_left`, from the right channels."""
    _first_pass(load_right, a, a_at, b, b_at, registers, z, twiddles)


@compiled
def first_both(a, a_at, b, b_at, registers, z, twiddles):
    """As :func:`first_left`, from both channels; ``z`` and ``twiddles`` are float32."""
    _first_pass(load_both, a, a_at, b, b_at, registers, z, twiddles)


@compiled
def forward_eight(z, registers, span, twiddles, t0):
    """A pass of the forward transform: radix 8 over each ``span`` of ``z``, in place."""
    step = span // 8
    for base in range(0, registers, span):
        t = t0
        for p in range(base, base + step, 2):
            spectrum = _eight(
                register(z, p),
                register(z, p + 1),
                register(z, p + step),
                register(z, p + step + 1),
                register(z, p + 2 * step),
                register(z, p + 2 * step + 1),
                register(z, p + 3 * step),
                register(z, p + 3 * step + 1),
                register(z, p + 4 * step),
                register(z, p + 4 * step + 1),
                register(z, p + 5 * step),
                register(z, p + 5 * step + 1),
                register(z, p + 6 * step),
                register(z, p + 6 * step + 1),
                register(z, p + 7 * step),
                register(z, p + 7 * step + 1),
            )
            _set_eight(z, p, step, twiddles, t, spectrum)
            t += 14


@compiled
def inverse_eight(z, registers, span, twiddles, t0):
    """Undo :func:`forward_eight`, up to a factor of 8."""
    step = span // 8
    for base in range(0, registers, span):
        t = t0
        for p in range(base, base + step, 2):
            r1, i1 = _get_times(z, p + step, twiddles, t)
            r2, i2 = _get_times(z, p + 2 * step, twiddles, t + 2)
            r3, i3 = _get_times(z, p + 3 * step, twiddles, t + 4)
            r4, i4 = _get_times(z, p + 4 * step, twiddles, t + 6)
            r5, i5 = _get_times(z, p + 5 * step, twiddles, t + 8)
            r6, i6 = _get_times(z, p + 6 * step, twiddles, t + 10)
            r7, i7 = _get_times(z, p + 7 * step, twiddles, t + 12)
            i0, r0, i1, r1, i2, r2, i3, r3, i4, r4, i5, r5, i6, r6, i7, r7 = _eight(
                register(z, p + 1), register(z, p), i1, r1, i2, r2, i3, r3, i4, r4, i5, r5, i6, r6, i7, r7
            )
            _set(z, p, r0, i0)
            _set(z, p + step, r1, i1)
            _set(z, p + 2 * step, r2, i2)
            _set(z, p + 3 * step, r3, i3)
            _set(z, p + 4 * step, r4, i4)
            _set(z, p + 5 * step, r5, i5)
            _set(z, p + 6 * step, r6, i6)
            _set(z, p + 7 * step, r7, i7)
            t += 14


@inlined
def _forward_four(z, p, step, twiddles, t):
    """The four-point transform of neighbours ``step`` apart, times their twiddle factors."""
    r0, i0, r1, i1, r2, i2, r3, i3 = _four(
        register(z, p),
        register(z, p + 1),
        register(z, p + step),
        register(z, p + step + 1),
        register(z, p + 2 * step),
        register(z, p + 2 * step + 1),
        register(z, p + 3 * step),
        register(z, p + 3 * step + 1),
    )
    r1, i1 = times(r1, i1, register(twiddles, t), register(twiddles, t + 1))
    r2, i2 = times(r2, i2, register(twiddles, t + 2), register(twiddles, t + 3))
    r3, i3 = times(r3, i3, register(twiddles, t + 4), register(twiddles, t + 5))
    return r0, i0, r1, i1, r2, i2, r3, i3


@inlined
def _set_inverse_four(z, p, step, twiddles, t, r0, i0, r1, i1, r2, i2, r3, i3):
    """Undo :func:`_forward_four`, up to a factor of 4."""
    r1, i1 = times_conjugate(r1, i1, register(twiddles, t), register(twiddles, t + 1))
    r2, i2 = times_conjugate(r2, i2, register(twiddles, t + 2), register(twiddles, t + 3))
    r3, i3 = times_conjugate(r3, i3, register(twiddles, t + 4), register(twiddles, t + 5))
    i0, r0, i1, r1, i2, r2, i3, r3 = _four(i0, r0, i1, r1, i2, r2, i3, r3)
    _set(z, p, r0, i0)
    _set(z, p + step, r1, i1)
    _set(z, p + 2 * step, r2, i2)
    _set(z, p + 3 * step, r3, i3)


@compiled
def forward_four(z, registers, span, twiddles, t0):
    """As :func:`forward_eight`, radix 4."""
    step = span // 4
    for base in range(0, registers, span):
        t = t0
        for p in range(base, base + step, 2):
            r0, i0, r1, i1, r2, i2, r3, i3 = _forward_four(z, p, step, twiddles, t)
            _set(z, p, r0, i0)
            _set(z, p + step, r1, i1)
            _set(z, p + 2 * step, r2, i2)
            _set(z, p + 3 * step, r3, i3)
            t += 6


@compiled
def inverse_four(z, registers, span, twiddles, t0):
    """Undo :func:`forward_four`, up to a factor of 4."""
    step = span // 4
    for base in range(0, registers, span):
        t = t0
        for p in range(base, base + step, 2):
            _set_inverse_four(
                z,
                p,
                step,
                twiddles,
                t,
                register(z, p),
                register(z, p + 1),
                register(z, p + step),
                register(z, p + step + 1),
                register(z, p + 2 * step),
                register(z, p + 2 * step + 1),
                register(z, p + 3 * step),
                register(z, p + 3 * step + 1),
            )
            t += 6


@inlined
def _forward_tile(z, p, twiddles, t):
    """The last two passes, radix 4 and radix 8, over a tile, which stays transposed."""
    r0, i0, r1, i1, r2, i2, r3, i3 = _forward_four(z, p, 2, twiddles, t)
    r4, i4, r5, i5, r6, i6, r7, i7 = _forward_four(z, p + 8, 2, twiddles, t)
    r0, r1, r2, r3, r4, r5, r6, r7 = _transpose(r0, r1, r2, r3, r4, r5, r6, r7)
    i0, i1, i2, i3, i4, i5, i6, i7 = _transpose(i0, i1, i2, i3, i4, i5, i6, i7)
    r0, i0, r1, i1, r2, i2, r3, i3, r4, i4, r5, i5, r6, i6, r7, i7 = _eight(
        r0, i0, r1, i1, r2, i2, r3, i3, r4, i4, r5, i5, r6, i6, r7, i7
    )
    _set(z, p, r0, i0)
    _set(z, p + 2, r1, i1)
    _set(z, p + 4, r2, i2)
    _set(z, p + 6, r3, i3)
    _set(z, p + 8, r4, i4)
    _set(z, p + 10, r5, i5)
    _set(z, p + 12, r6, i6)
    _set(z, p + 14, r7, i7)


@inlined
def _inverse_tile(z, p, twiddles, t):
    """Undo :func:`_forward_tile`, up to a factor of 32."""
    i0, r0, i1, r1, i2, r2, i3, r3, i4, r4, i5, r5, i6, r6, i7, r7 = _eight(
        register(z, p + 1),
        register(z, p),
        register(z, p + 3),
        register(z, p + 2),
        register(z, p + 5),
        register(z, p + 4),
        register(z, p + 7),
        register(z, p + 6),
        register(z, p + 9),
        register(z, p + 8),
        register(z, p + 11),
        register(z, p + 10),
        register(z, p + 13),
        register(z, p + 12),
        register(z, p + 15),
        register(z, p + 14),
    )
    r0, r1, r2, r3, r4, r5, r6, r7 = _transpose(r0, r1, r2, r3, r4, r5, r6, r7)
    i0, i1, i2, i3, i4, i5, i6, i7 = _transpose(i0, i1, i2, i3, i4, i5, i6, i7)
    _set_inverse_four(z, p, 2, twiddles, t, r0, i0, r1, i1, r2, i2, r3, i3)
    _set_inverse_four(z, p + 8, 2, twiddles, t, r4, i4, r5, i5, r6, i6, r7, i7)


@compiled
def forward(z, registers, passes, twiddles):
    """The passes of the forward transform between the first and the last two, in place."""
    for i in range(1, len(passes) - 1):
        if passes[i, 0] == 8:
            forward_eight(z, registers, passes[i, 1], twiddles, passes[i, 2])
        else:
            forward_four(z, registers, passes[i, 1], twiddles, passes[i, 2])


@compiled
def inverse(z, registers, passes, twiddles):
    """The passes of the inverse transform after the first two, in place."""
    for i in range(len(passes) - 2, -1, -1):
        if passes[i, 0] == 8:
            inverse_eight(z, registers, passes[i, 1], twiddles, passes[i, 2])
        else:
            inverse_four(z, registers, passes[i, 1], twiddles, passes[i, 2])


@compiled
def forward_tiles(z, registers, twiddles, t):
    """The last two passes of the forward transform, in place; their twiddle factors start at ``t``."""
    for p in range(0, registers, 16):
        _forward_tile(z, p, twiddles, t)


@inlined
def _expect(array, start, stop, write):
    """Prefetch some elements of an array, a few for each tile."""
    for n in range(start, min(stop, len(array)), 64 // array.itemsize):
        if write:
            prefetch_to_write(array, n)
        else:
            prefetch_to_read(array, n)


@compiled
def multiply(left, right, registers, twiddles, t, hrirs, out_a, out_b, source):
    """From the channels before their last two forward passes to the ears after their first two inverse ones, in place.

    Parameters
    ----------
    left, right : ndarray
        (8 * registers,) float64.
    hrirs : ndarray
        (32 * registers,): for every eight bins, left channel to left ear, right to left, left to right and right to
        right, real parts and imaginary parts.
    out_a, out_b, source : ndarray
        What is written and read next, prefetched into the caches: memory is idle here.
    """
    h = 0
    for tile in range(0, registers, 16):
        _expect(out_a, 8 * tile, 8 * tile + 128, True)
        _expect(out_b, 8 * tile, 8 * tile + 128, True)
        _expect(source, 16 * tile, 16 * tile + 256, False)
        _forward_tile(left, tile, twiddles, t)
        _forward_tile(right, tile, twiddles, t)
        for p in range(tile, tile + 16, 2):
            lr = register(left, p)
            li = register(left, p + 1)
            rr = register(right, p)
            ri = register(right, p + 1)
            re, im = times(lr, li, register(hrirs, h), register(hrirs, h + 1))
            re, im = plus_times(re, im, rr, ri, register(hrirs, h + 2), register(hrirs, h + 3))
            _set(left, p, re, im)
            re, im = times(lr, li, register(hrirs, h + 4), register(hrirs, h + 5))
            re, im = plus_times(re, im, rr, ri, register(hrirs, h + 6), register(hrirs, h + 7))
            _set(right, p, re, im)
            h += 8
        _inverse_tile(left, tile, twiddles, t)
        _inverse_tile(right, tile, twiddles, t)


@compiled
def multiply_both(z, registers, twiddles, t, hrirs, out_a, out_b, source):
    """As :func:`multiply`, both channels in float32.

    ``hrirs`` (32 * registers,): for every eight bins, real and imaginary parts of left to left and right to right,
    then of right to left and left to right.
    """
    h = 0
    for tile in range(0, registers, 16):
        _expect(out_a, 8 * tile, 8 * tile + 128, True)
        _expect(out_b, 8 * tile, 8 * tile + 128, True)
        _expect(source, 16 * tile, 16 * tile + 256, False)
        _forward_tile(z, tile, twiddles, t)
        for p in range(tile, tile + 16, 2):
            re = register(z, p)
            im = register(z, p + 1)
            other_re = swap_halves(re)
            other_im = swap_halves(im)
            re, im = times(re, im, register(hrirs, h), register(hrirs, h + 1))
            re, im = plus_times(re, im, other_re, other_im, register(hrirs, h + 2), register(hrirs, h + 3))
            _set(z, p, re, im)
            h += 4
        _inverse_tile(z, tile, twiddles, t)


@inlined
def _ears(left, right, p):
    """The ears' values at ``p``: from one row each, or from one float32 row of both."""
    return register(left, p), register(right, p)


@inlined
def _ears_of_both(z, nothing, p):
    v = register(z, p)
    return left_half(v), right_half(v)


@inlined
def _truncatable(v, gain):
    """A value times a gain, limited to 16 bits, so that truncating it gives what exact arithmetic would."""
    v = fma(v, gain, with_sign_of(splat(SNAP), v))
    return larger(splat(-32768.0), smaller(splat(32767.0), v))


@inlined
def _put_pcm(ears, left, right, p, gain, out, at):
    left_ear, right_ear = ears(left, right, p)
    store_pcm_frames(out, at, _truncatable(left_ear, gain), _truncatable(right_ear, gain))


@inlined
def _put_floats(ears, left, right, p, gain, out, at):
    left_ear, right_ear = ears(left, right, p)
    store_frames(out, at, left_ear * gain, right_ear * gain)


@inlined
def _put(put, ears, left, right, p, gain, out, at, frames, rest):
    g = splat(gain)
    whole = 2 * (frames - frames % 8)
    for i in range(0, whole, 16):
        put(ears, left, right, p, g, out, at + i)
        p += 2
    if whole < 2 * frames:
        put(ears, left, right, p, g, rest, 0)
        for i in range(2 * frames - whole):
            out[at + whole + i] = rest[i]


@compiled
def put_pcm(left, right, p, gain, out, at, frames, rest):
    """Write frames of both ears times a gain, clipped to 16 bits and truncated toward zero.

    Parameters
    ----------
    left, right : ndarray
        (any,) float64: the first eight frames are at ``p``, the next at ``p + 2``.
    gain : float
        Not negative; the product is in units of one LSB.
    out : ndarray
        (any,) int16, or floats (then divided by 32768); written from element ``at`` on.
    frames : int
        Number of frames.
    rest : ndarray
        (16,) as `out`: overwritten.
    """
    _put(_put_pcm, _ears, left, right, p, gain, out, at, frames, rest)


@compiled
def put_floats(left, right, p, gain, out, at, frames, rest):
    """As :func:`put_pcm`, but the products are written unchanged."""
    _put(_put_floats, _ears, left, right, p, gain, out, at, frames, rest)


@compiled
def put_both_pcm(z, nothing, p, gain, out, at, frames, rest):
    """As :func:`put_pcm`, both ears in one float32 row."""
    _put(_put_pcm, _ears_of_both, z, nothing, p, gain, out, at, frames, rest)


@compiled
def put_both_floats(z, nothing, p, gain, out, at, frames, rest):
    """As :func:`put_floats`, both ears in one float32 row."""
    _put(_put_floats, _ears_of_both, z, nothing, p, gain, out, at, frames, rest)


@inlined
def _is_silent(source, start, stop):
    n = start
    while n < stop and source[n] == 0:
        n += 1
    return n >= stop


@compiled
def cut_window(source, start, first, last, window):
    """Copy elements ``first .. last`` of ``source`` to a window starting at ``start``, zeros elsewhere."""
    window[: first - start] = 0
    window[first - start : last - start] = source[first:last]
    window[last - start :] = 0


@inlined
def _convolve(a, a_at, b, b_at, left, right, registers, passes, twiddles, hrirs, out_a, out_b, source):
    # One channel after the other: each stays in the L1 cache.
    first_left(a, a_at, b, b_at, registers, left, twiddles)
    forward(left, registers, passes, twiddles)
    first_right(a, a_at, b, b_at, registers, right, twiddles)
    forward(right, registers, passes, twiddles)
    multiply(left, right, registers, twiddles, passes[-1, 2], hrirs, out_a, out_b, source)
    inverse(left, registers, passes, twiddles)
    inverse(right, registers, passes, twiddles)


@inlined
def _convolve_both(a, a_at, b, b_at, z, nothing, registers, passes, twiddles, hrirs, out_a, out_b, source):
    first_both(a, a_at, b, b_at, registers, z, twiddles)
    forward(z, registers, passes, twiddles)
    multiply_both(z, registers, twiddles, passes[-1, 2], hrirs, out_a, out_b, source)
    inverse(z, registers, passes, twiddles)


@inlined
def _render(
    convolve, put, addresses, like, lengths, origin, gains, length, hop, passes, twiddles, hrirs, out
):
    size = 32 * length // twiddles.itemsize
    memory = np.empty(size + 24, twiddles.dtype)
    # On cache lines, and with the right row at a different offset in a 4096-byte page from the left one.
    skip = -memory.ctypes.data % 64 // memory.itemsize
    left = memory[skip:]
    right = memory[skip + size // 2 + 16 :]
    windows = np.empty((2, 2 * length), like.dtype)
    rest = np.empty(16, out.dtype)
    registers = length // 4
    first_useful = (length - hop) // 4
    width = out.shape[1]
    waiting = False
    a = windows[0]
    a_at = a_stem = a_to = 0
    blocks = -(-width // (2 * hop))
    total = len(addresses) * blocks
    # One step more than there are blocks, for a leftover one: the loop convolves in one place only, as each such
    # place takes seconds to compile.
    for step in range(total + 1):
        stem = min(step // blocks, len(addresses) - 1)
        to = step % blocks * 2 * hop
        end = min(to + 2 * hop, width)
        source = numba.carray(pointer_to(addresses[stem], like), 2 * lengths[stem])
        b = source
        b_at = start = 2 * (origin - length + hop) + to
        stop = start + 2 * length
        if step == total:
            if not waiting:
                break
            end = to
            b = windows[1]
            b_at = 0
            b[:] = 0
        else:
            first = max(start, 0)
            last = min(stop - 2 * hop + end - to, len(source))
            if gains[stem] == 0.0 or _is_silent(source, first, last):
                out[stem, to:end] = 0
                continue
            if first > start or last < stop:
                b = windows[1 if waiting else 0]
                b_at = 0
                cut_window(source, start, first, last, b)
            if not waiting:
                waiting = True
                a = b
                a_at = b_at
                a_stem = stem
                a_to = to
                continue
        waiting = False
        out_a = out[a_stem, a_to : min(a_to + 2 * hop, width)]
        out_b = out[stem, to:end]
        following = source[max(stop, 0) : max(stop + 4 * hop, 0)]
        convolve(a, a_at, b, b_at, left, right, registers, passes, twiddles, hrirs, out_a, out_b, following)
        put(left, right, first_useful, gains[a_stem], out_a, 0, len(out_a) // 2, rest)
        put(left, right, first_useful + 1, gains[stem], out_b, 0, len(out_b) // 2, rest)


@compiled
def render_pcm(addresses, like, lengths, origin, gains, length, hop, passes, twiddles, hrirs, out):
    """Convolve parts of some stems with one head's HRIRs, written as by :func:`put_pcm`.

    Parameters
    ----------
    addresses : ndarray
        (stems,) int64: address of each part, interleaved stereo of `like`'s type.
    lengths : ndarray
        (stems,) int64: frames of each part; those before and after it count as zeros.
    origin : int
        The frame of each part that an HRIR's first tap maps to the first output frame.
    gains : ndarray
        (stems,): linear factors, including those of the transforms.
    length, hop : int
        Frames per window, and how many of them, at the end, are valid; the others are a multiple of 8.
    passes, twiddles : ndarray
        See :func:`cadrender.dsp.parts.transform`.
    hrirs : ndarray
        See :func:`multiply`.
    out : ndarray
        (stems, 2 * frames wanted): written.
    """
    _render(
        _convolve,
        put_pcm,
        addresses,
        like,
        lengths,
        origin,
        gains,
        length,
        hop,
        passes,
        twiddles,
        hrirs,
        out,
    )


@compiled
def render_floats(addresses, like, lengths, origin, gains, length, hop, passes, twiddles, hrirs, out):
    """As :func:`render_pcm`, written as by :func:`put_floats`."""
    _render(
        _convolve,
        put_floats,
        addresses,
        like,
        lengths,
        origin,
        gains,
        length,
        hop,
        passes,
        twiddles,
        hrirs,
        out,
    )


@compiled
def render_both_pcm(addresses, like, lengths, origin, gains, length, hop, passes, twiddles, hrirs, out):
    """As :func:`render_pcm`, in single precision; see :func:`multiply_both`."""
    _render(
        _convolve_both,
        put_both_pcm,
        addresses,
        like,
        lengths,
        origin,
        gains,
        length,
        hop,
        passes,
        twiddles,
        hrirs,
        out,
    )


@compiled
def render_both_floats(addresses, like, lengths, origin, gains, length, hop, passes, twiddles, hrirs, out):
    """As :func:`render_both_pcm`, written as by :func:`put_floats`."""
    _render(
        _convolve_both,
        put_both_floats,
        addresses,
        like,
        lengths,
        origin,
        gains,
        length,
        hop,
        passes,
        twiddles,
        hrirs,
        out,
    )
