"""The compiled loops of :mod:`cadrender.dsp.parts`: own transforms, so that a block never leaves the caches.

**Two blocks travel as one complex signal**, one as its real part, one as its imaginary part; left and right channels
are two such signals. An HRIR is real, so that its spectrum multiplies both blocks at once, and no spectrum has to be
taken apart.

**Layout**: a signal or spectrum of ``N`` complex numbers is one float64 row of ``2 N``: eight real parts, then the
eight imaginary parts, and so on. The forward transform decimates in frequency, the inverse one in time, so that the
order of the bins in between is the one that falls out (digits reversed); HRIRs are transformed by the same loops and
so have the same order. Passes of radix 8 and 4 run over strides of at least one register; the last eight-point
transforms, of neighbours, need the 8 x 8 transposition of a *tile* of 64, and stay transposed until the inverse.

**Overlap-save**: a block's window of ``N`` frames gives its last ``hop`` frames; nothing is carried over.
"""

import numba
import numpy as np

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.kernels import SNAP, _transpose
from cadrender.dsp.lanes import (
    fma,
    larger,
    load,
    load_left,
    load_right,
    pointer_to,
    smaller,
    splat,
    store,
    store_frames,
    store_pcm_frames,
    with_sign_of,
)

_HALF_ROOT = 0.5**0.5


@inlined
def _times(re, im, c, s):
    """``(re + i im) (c + i s)``."""
    return fma(-im, s, re * c), fma(im, c, re * s)


@inlined
def _times_conjugate(re, im, c, s):
    """``(re + i im) (c - i s)``."""
    return fma(im, s, re * c), fma(im, c, -(re * s))


@inlined
def _four(r0, i0, r1, i1, r2, i2, r3, i3):
    """The four-point transform of four complex numbers in each lane; with ``re`` and ``im`` swapped, the inverse."""
    ar, ai, br, bi = r0 + r2, i0 + i2, r0 - r2, i0 - i2
    cr, ci, dr, di = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    return ar + cr, ai + ci, br + di, bi - dr, ar - cr, ai - ci, br - di, bi + dr


@inlined
def _eight(r0, i0, r1, i1, r2, i2, r3, i3, r4, i4, r5, i5, r6, i6, r7, i7):
    """The eight-point transform; see :func:`_four`."""
    root = splat(_HALF_ROOT)
    ar, ai, br, bi, cr, ci, dr, di = _four(
        r0 + r4, i0 + i4, r1 + r5, i1 + i5, r2 + r6, i2 + i6, r3 + r7, i3 + i7
    )
    r0, i0, r1, i1, r2, i2, r3, i3 = r0 - r4, i0 - i4, r1 - r5, i1 - i5, r2 - r6, i2 - i6, r3 - r7, i3 - i7
    # The second and fourth are to be multiplied by (1 - i) and (-1 - i), the root of 1/2 comes with the last sum.
    r1, i1 = r1 + i1, i1 - r1
    r3, i3 = i3 - r3, -(r3 + i3)
    r4, i4, r5, i5 = r0 + i2, i0 - r2, r0 - i2, i0 + r2
    r6, i6, r7, i7 = r1 + r3, i1 + i3, r1 - r3, i1 - i3
    minus = splat(-_HALF_ROOT)
    return (
        ar,
        ai,
        fma(root, r6, r4),
        fma(root, i6, i4),
        br,
        bi,
        fma(root, i7, r5),
        fma(minus, r7, i5),
        cr,
        ci,
        fma(minus, r6, r4),
        fma(minus, i6, i4),
        dr,
        di,
        fma(minus, i7, r5),
        fma(root, r7, i5),
    )


@inlined
def _store_twiddled(z, at, re, im, twiddles, t):
    re, im = _times(re, im, load(twiddles, t), load(twiddles, t + 8))
    store(z, at, re)
    store(z, at + 8, im)


@inlined
def _store_eight(z, p, step, twiddles, t, a):
    """Store an eight-point transform, each but the first times its twiddle factor."""
    store(z, p, a[0])
    store(z, p + 8, a[1])
    _store_twiddled(z, p + step, a[2], a[3], twiddles, t)
    _store_twiddled(z, p + 2 * step, a[4], a[5], twiddles, t + 16)
    _store_twiddled(z, p + 3 * step, a[6], a[7], twiddles, t + 32)
    _store_twiddled(z, p + 4 * step, a[8], a[9], twiddles, t + 48)
    _store_twiddled(z, p + 5 * step, a[10], a[11], twiddles, t + 64)
    _store_twiddled(z, p + 6 * step, a[12], a[13], twiddles, t + 80)
    _store_twiddled(z, p + 7 * step, a[14], a[15], twiddles, t + 96)


@inlined
def _first_pass(load_channel, a, a_at, b, b_at, z, twiddles):
    step = len(z) // 8
    t = 0
    for p in range(0, step, 16):
        i = a_at + p
        j = b_at + p
        spectrum = _eight(
            load_channel(a, i),
            load_channel(b, j),
            load_channel(a, i + step),
            load_channel(b, j + step),
            load_channel(a, i + 2 * step),
            load_channel(b, j + 2 * step),
            load_channel(a, i + 3 * step),
            load_channel(b, j + 3 * step),
            load_channel(a, i + 4 * step),
            load_channel(b, j + 4 * step),
            load_channel(a, i + 5 * step),
            load_channel(b, j + 5 * step),
            load_channel(a, i + 6 * step),
            load_channel(b, j + 6 * step),
            load_channel(a, i + 7 * step),
            load_channel(b, j + 7 * step),
        )
        _store_eight(z, p, step, twiddles, t, spectrum)
        t += 112


@compiled
def first_left(a, a_at, b, b_at, z, twiddles):
    """The first pass of the forward transform, radix 8, from the left channels of two windows.

    Parameters
    ----------
    a, b : ndarray
        (any,), interleaved stereo of one type: the windows begin at elements ``a_at`` and ``b_at``.
    z : ndarray
        (2 * N,): written.
    twiddles : ndarray
        See :func:`cadrender.dsp.parts.transform`.
    """
    _first_pass(load_left, a, a_at, b, b_at, z, twiddles)


@compiled
def first_right(a, a_at, b, b_at, z, twiddles):
    """As :func:`first_left`, from the right channels."""
    _first_pass(load_right, a, a_at, b, b_at, z, twiddles)


@inlined
def _load_eight(z, p, step):
    return _eight(
        load(z, p),
        load(z, p + 8),
        load(z, p + step),
        load(z, p + step + 8),
        load(z, p + 2 * step),
        load(z, p + 2 * step + 8),
        load(z, p + 3 * step),
        load(z, p + 3 * step + 8),
        load(z, p + 4 * step),
        load(z, p + 4 * step + 8),
        load(z, p + 5 * step),
        load(z, p + 5 * step + 8),
        load(z, p + 6 * step),
        load(z, p + 6 * step + 8),
        load(z, p + 7 * step),
        load(z, p + 7 * step + 8),
    )


@compiled
def forward_eight(z, span, twiddles, t0):
    """A pass of the forward transform: radix 8 over each ``span`` floats of ``z``, in place."""
    step = span // 8
    for base in range(0, len(z), span):
        t = t0
        for p in range(base, base + step, 16):
            _store_eight(z, p, step, twiddles, t, _load_eight(z, p, step))
            t += 112


@compiled
def forward_four(z, span, twiddles, t0):
    """As :func:`forward_eight`, radix 4."""
    step = span // 4
    for base in range(0, len(z), span):
        t = t0
        for p in range(base, base + step, 16):
            a = _four(
                load(z, p),
                load(z, p + 8),
                load(z, p + step),
                load(z, p + step + 8),
                load(z, p + 2 * step),
                load(z, p + 2 * step + 8),
                load(z, p + 3 * step),
                load(z, p + 3 * step + 8),
            )
            store(z, p, a[0])
            store(z, p + 8, a[1])
            _store_twiddled(z, p + step, a[2], a[3], twiddles, t)
            _store_twiddled(z, p + 2 * step, a[4], a[5], twiddles, t + 16)
            _store_twiddled(z, p + 3 * step, a[6], a[7], twiddles, t + 32)
            t += 48


@inlined
def _load_twiddled(z, at, twiddles, t):
    return _times_conjugate(load(z, at), load(z, at + 8), load(twiddles, t), load(twiddles, t + 8))


@compiled
def inverse_eight(z, span, twiddles, t0):
    """What undoes :func:`forward_eight`, but for a factor of 8."""
    step = span // 8
    for base in range(0, len(z), span):
        t = t0
        for p in range(base, base + step, 16):
            r1, i1 = _load_twiddled(z, p + step, twiddles, t)
            r2, i2 = _load_twiddled(z, p + 2 * step, twiddles, t + 16)
            r3, i3 = _load_twiddled(z, p + 3 * step, twiddles, t + 32)
            r4, i4 = _load_twiddled(z, p + 4 * step, twiddles, t + 48)
            r5, i5 = _load_twiddled(z, p + 5 * step, twiddles, t + 64)
            r6, i6 = _load_twiddled(z, p + 6 * step, twiddles, t + 80)
            r7, i7 = _load_twiddled(z, p + 7 * step, twiddles, t + 96)
            a = _eight(load(z, p + 8), load(z, p), i1, r1, i2, r2, i3, r3, i4, r4, i5, r5, i6, r6, i7, r7)
            _store_swapped(z, p, step, a)
            t += 112


@inlined
def _store_swapped(z, p, step, a):
    """Store eight numbers whose imaginary parts come first."""
    store(z, p, a[1])
    store(z, p + 8, a[0])
    store(z, p + step, a[3])
    store(z, p + step + 8, a[2])
    store(z, p + 2 * step, a[5])
    store(z, p + 2 * step + 8, a[4])
    store(z, p + 3 * step, a[7])
    store(z, p + 3 * step + 8, a[6])
    store(z, p + 4 * step, a[9])
    store(z, p + 4 * step + 8, a[8])
    store(z, p + 5 * step, a[11])
    store(z, p + 5 * step + 8, a[10])
    store(z, p + 6 * step, a[13])
    store(z, p + 6 * step + 8, a[12])
    store(z, p + 7 * step, a[15])
    store(z, p + 7 * step + 8, a[14])


@compiled
def inverse_four(z, span, twiddles, t0):
    """What undoes :func:`forward_four`, but for a factor of 4."""
    step = span // 4
    for base in range(0, len(z), span):
        t = t0
        for p in range(base, base + step, 16):
            r1, i1 = _load_twiddled(z, p + step, twiddles, t)
            r2, i2 = _load_twiddled(z, p + 2 * step, twiddles, t + 16)
            r3, i3 = _load_twiddled(z, p + 3 * step, twiddles, t + 32)
            a = _four(load(z, p + 8), load(z, p), i1, r1, i2, r2, i3, r3)
            store(z, p, a[1])
            store(z, p + 8, a[0])
            store(z, p + step, a[3])
            store(z, p + step + 8, a[2])
            store(z, p + 2 * step, a[5])
            store(z, p + 2 * step + 8, a[4])
            store(z, p + 3 * step, a[7])
            store(z, p + 3 * step + 8, a[6])
            t += 48


@inlined
def _forward_span(z, p, w):
    """Four-point transforms over 32 neighbours, eight in each lane, times their twiddle factors."""
    r0, i0, r1, i1, r2, i2, r3, i3 = _four(
        load(z, p),
        load(z, p + 8),
        load(z, p + 16),
        load(z, p + 24),
        load(z, p + 32),
        load(z, p + 40),
        load(z, p + 48),
        load(z, p + 56),
    )
    r1, i1 = _times(r1, i1, w[0], w[1])
    r2, i2 = _times(r2, i2, w[2], w[3])
    r3, i3 = _times(r3, i3, w[4], w[5])
    return r0, i0, r1, i1, r2, i2, r3, i3


@inlined
def _forward_tile(z, p, w):
    """The last two passes, of radix 4 and of radix 8, over a tile, which stays transposed."""
    r0, i0, r1, i1, r2, i2, r3, i3 = _forward_span(z, p, w)
    r4, i4, r5, i5, r6, i6, r7, i7 = _forward_span(z, p + 64, w)
    r = _transpose(r0, r1, r2, r3, r4, r5, r6, r7)
    i = _transpose(i0, i1, i2, i3, i4, i5, i6, i7)
    a = _eight(r[0], i[0], r[1], i[1], r[2], i[2], r[3], i[3], r[4], i[4], r[5], i[5], r[6], i[6], r[7], i[7])
    store(z, p, a[0])
    store(z, p + 8, a[1])
    store(z, p + 16, a[2])
    store(z, p + 24, a[3])
    store(z, p + 32, a[4])
    store(z, p + 40, a[5])
    store(z, p + 48, a[6])
    store(z, p + 56, a[7])
    store(z, p + 64, a[8])
    store(z, p + 72, a[9])
    store(z, p + 80, a[10])
    store(z, p + 88, a[11])
    store(z, p + 96, a[12])
    store(z, p + 104, a[13])
    store(z, p + 112, a[14])
    store(z, p + 120, a[15])


@inlined
def _inverse_span(z, p, w, r0, i0, r1, i1, r2, i2, r3, i3):
    """What undoes :func:`_forward_span`, but for a factor of 4."""
    r1, i1 = _times_conjugate(r1, i1, w[0], w[1])
    r2, i2 = _times_conjugate(r2, i2, w[2], w[3])
    r3, i3 = _times_conjugate(r3, i3, w[4], w[5])
    i0, r0, i1, r1, i2, r2, i3, r3 = _four(i0, r0, i1, r1, i2, r2, i3, r3)
    store(z, p, r0)
    store(z, p + 8, i0)
    store(z, p + 16, r1)
    store(z, p + 24, i1)
    store(z, p + 32, r2)
    store(z, p + 40, i2)
    store(z, p + 48, r3)
    store(z, p + 56, i3)


@inlined
def _inverse_tile(z, p, w):
    """What undoes :func:`_forward_tile`, but for a factor of 32."""
    a = _eight(
        load(z, p + 8),
        load(z, p),
        load(z, p + 24),
        load(z, p + 16),
        load(z, p + 40),
        load(z, p + 32),
        load(z, p + 56),
        load(z, p + 48),
        load(z, p + 72),
        load(z, p + 64),
        load(z, p + 88),
        load(z, p + 80),
        load(z, p + 104),
        load(z, p + 96),
        load(z, p + 120),
        load(z, p + 112),
    )
    i = _transpose(a[0], a[2], a[4], a[6], a[8], a[10], a[12], a[14])
    r = _transpose(a[1], a[3], a[5], a[7], a[9], a[11], a[13], a[15])
    _inverse_span(z, p, w, r[0], i[0], r[1], i[1], r[2], i[2], r[3], i[3])
    _inverse_span(z, p + 64, w, r[4], i[4], r[5], i[5], r[6], i[6], r[7], i[7])


@inlined
def _tile_twiddles(twiddles):
    t = len(twiddles) - 48
    return (
        load(twiddles, t),
        load(twiddles, t + 8),
        load(twiddles, t + 16),
        load(twiddles, t + 24),
        load(twiddles, t + 32),
        load(twiddles, t + 40),
    )


@compiled
def forward_tiles(z, twiddles):
    """The last two passes of the forward transform, in place."""
    w = _tile_twiddles(twiddles)
    for p in range(0, len(z), 128):
        _forward_tile(z, p, w)


@compiled
def multiply(left, right, twiddles, hrirs):
    """From the channels' spectra before their last two passes to the ears' after two inverse ones, in place.

    Parameters
    ----------
    left, right : ndarray
        (2 * N,)
    hrirs : ndarray
        (8 * N,): for every eight bins those of left channel to left ear, right to left, left to right and right to
        right, real parts and imaginary parts.
    """
    w = _tile_twiddles(twiddles)
    h = 0
    for tile in range(0, len(left), 128):
        _forward_tile(left, tile, w)
        _forward_tile(right, tile, w)
        for p in range(tile, tile + 128, 16):
            lr = load(left, p)
            li = load(left, p + 8)
            rr = load(right, p)
            ri = load(right, p + 8)
            ar = load(hrirs, h)
            ai = load(hrirs, h + 8)
            br = load(hrirs, h + 16)
            bi = load(hrirs, h + 24)
            store(left, p, fma(-ri, bi, fma(rr, br, fma(-li, ai, lr * ar))))
            store(left, p + 8, fma(ri, br, fma(rr, bi, fma(li, ar, lr * ai))))
            ar = load(hrirs, h + 32)
            ai = load(hrirs, h + 40)
            br = load(hrirs, h + 48)
            bi = load(hrirs, h + 56)
            store(right, p, fma(-ri, bi, fma(rr, br, fma(-li, ai, lr * ar))))
            store(right, p + 8, fma(ri, br, fma(rr, bi, fma(li, ar, lr * ai))))
            h += 64
        _inverse_tile(left, tile, w)
        _inverse_tile(right, tile, w)


@inlined
def _truncatable(v, gain):
    """A value times a gain, within 16 bits, so that truncating it gives what exact arithmetic would."""
    v = fma(v, gain, with_sign_of(splat(SNAP), v))
    return larger(splat(-32768.0), smaller(splat(32767.0), v))


@compiled
def put_pcm(left, right, at, gain, out, out_at, frames, rest):
    """Write frames of both ears times a gain: clipped to 16 bits and truncated toward zero.

    Parameters
    ----------
    left, right : ndarray
        (2 * N,): element ``at``, a multiple of 8, is the first frame's, 16 further are the next eight frames'.
    gain : float
        Not negative; the product is in units of one LSB.
    out : ndarray
        (any,) int16, or floats, then divided by 32768; from element ``out_at`` on.
    frames : int
        How many.
    rest : ndarray
        (16,) as `out`: overwritten.
    """
    g = splat(gain)
    whole = 2 * (frames - frames % 8)
    for i in range(0, whole, 16):
        store_pcm_frames(
            out, out_at + i, _truncatable(load(left, at + i), g), _truncatable(load(right, at + i), g)
        )
    if whole < 2 * frames:
        at += whole
        store_pcm_frames(rest, 0, _truncatable(load(left, at), g), _truncatable(load(right, at), g))
        for i in range(2 * frames - whole):
            out[out_at + whole + i] = rest[i]


@compiled
def put_floats(left, right, at, gain, out, out_at, frames, rest):
    """As :func:`put_pcm`, but the products as they are."""
    g = splat(gain)
    whole = 2 * (frames - frames % 8)
    for i in range(0, whole, 16):
        store_frames(out, out_at + i, load(left, at + i) * g, load(right, at + i) * g)
    if whole < 2 * frames:
        at += whole
        store_frames(rest, 0, load(left, at) * g, load(right, at) * g)
        for i in range(2 * frames - whole):
            out[out_at + whole + i] = rest[i]


@compiled
def forward(z, passes, twiddles):
    """The passes of the forward transform between the first and the last two, in place."""
    for i in range(1, len(passes) - 1):
        if passes[i, 0] == 8:
            forward_eight(z, passes[i, 1], twiddles, passes[i, 2])
        else:
            forward_four(z, passes[i, 1], twiddles, passes[i, 2])


@compiled
def inverse(z, passes, twiddles):
    """The passes of the inverse transform after :func:`multiply`, in place."""
    for i in range(len(passes) - 2, -1, -1):
        if passes[i, 0] == 8:
            inverse_eight(z, passes[i, 1], twiddles, passes[i, 2])
        else:
            inverse_four(z, passes[i, 1], twiddles, passes[i, 2])


@inlined
def _is_silent(source, start, stop):
    n = start
    while n < stop and source[n] == 0:
        n += 1
    return n >= stop


@compiled
def cut_window(source, start, first, last, window):
    """Copy elements ``first .. last`` of ``source`` to a window that begins at ``start``, zeros elsewhere."""
    window[: first - start] = 0
    window[first - start : last - start] = source[first:last]
    window[last - start :] = 0


@inlined
def _render(put, addresses, like, lengths, firsts, gains, length, hop, passes, twiddles, hrirs, out, rest):
    memory = np.empty(4 * length + 24)
    # On cache lines, and the right one not where the left one is in a page of 4096 bytes.
    skip = (-memory.ctypes.data % 64) // 8
    left = memory[skip : skip + 2 * length]
    right = memory[skip + 2 * length + 16 : skip + 4 * length + 16]
    windows = np.empty((2, 2 * length), like.dtype)
    width = out.shape[1]
    useless = 2 * (length - hop)
    waiting = False
    a = windows[0]
    a_at = a_stem = a_to = 0
    for stem in range(len(addresses)):
        source = numba.carray(pointer_to(addresses[stem], like), 2 * lengths[stem])
        for to in range(0, width, 2 * hop):
            end = min(to + 2 * hop, width)
            start = 2 * firsts[stem] + to - useless
            first = max(start, 0)
            last = min(start + useless + end - to, len(source))
            if gains[stem] == 0.0 or _is_silent(source, first, last):
                out[stem, to:end] = 0
                continue
            b = source
            b_at = start
            if first > start or last < start + 2 * length:
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
            convolve_windows(a, a_at, b, b_at, left, right, passes, twiddles, hrirs)
            frames = min(hop, (width - a_to) // 2)
            put(left, right, useless, gains[a_stem], out[a_stem], a_to, frames, rest)
            put(left, right, useless + 8, gains[stem], out[stem], to, (end - to) // 2, rest)
    if waiting:
        windows[1] = 0
        convolve_windows(a, a_at, windows[1], 0, left, right, passes, twiddles, hrirs)
        put(left, right, useless, gains[a_stem], out[a_stem], a_to, min(hop, (width - a_to) // 2), rest)


@compiled
def render_pcm(addresses, like, lengths, firsts, gains, length, hop, passes, twiddles, hrirs, out, rest):
    """Convolve parts of some stems with one head's HRIRs; :func:`put_pcm` says in what form.

    Parameters
    ----------
    addresses : ndarray
        (stems,) int64: of each part, interleaved stereo of `like`'s type.
    lengths : ndarray
        (stems,) int64: frames of each part; before and behind them there is nothing but zeros.
    firsts : ndarray
        (stems,) int64: the frame of each part that an HRIR's first tap brings to the first one wanted.
    gains : ndarray
        (stems,): linear factors, those of the transforms included.
    length, hop : int
        Frames of a window, and how many of them, the last ones, are of use; the others are a multiple of 8.
    passes, twiddles : ndarray
        See :func:`cadrender.dsp.parts.transform`.
    hrirs : ndarray
        See :func:`multiply`.
    out : ndarray
        (stems, 2 * frames wanted): written.
    rest : ndarray
        (16,) as `out`: overwritten.
    """
    _render(put_pcm, addresses, like, lengths, firsts, gains, length, hop, passes, twiddles, hrirs, out, rest)


@compiled
def render_floats(addresses, like, lengths, firsts, gains, length, hop, passes, twiddles, hrirs, out, rest):
    """As :func:`render_pcm`, in the form of :func:`put_floats`."""
    _render(
        put_floats, addresses, like, lengths, firsts, gains, length, hop, passes, twiddles, hrirs, out, rest
    )


@compiled
def convolve_windows(a, a_at, b, b_at, left, right, passes, twiddles, hrirs):
    """Two windows, from their samples to what the ears receive: block ``a`` real, block ``b`` imaginary."""
    # One channel after the other: each stays in the L1 cache.
    first_left(a, a_at, b, b_at, left, twiddles)
    forward(left, passes, twiddles)
    first_right(a, a_at, b, b_at, right, twiddles)
    forward(right, passes, twiddles)
    multiply(left, right, twiddles, hrirs)
    inverse(left, passes, twiddles)
    inverse(right, passes, twiddles)
