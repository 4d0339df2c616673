"""The gain mixer's compiled loops; see :mod:`cadrender.dsp.mix` for the functions around them.

Stems come as one array (stems, at least 2 * frames) of interleaved stereo, all of one type.
"""

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.kernels import SNAP
from cadrender.dsp.lanes import (
    evens,
    fma,
    larger,
    load,
    magnitude,
    odds,
    smaller,
    splat,
    store,
    store_int16,
    total,
    with_sign_of,
)


@inlined
def _sum8(flat, width, stems, i, weights):
    """Eight numbers of the weighted sum, from element ``i`` of each row on."""
    s = load(flat, i) * splat(weights[0])
    for stem in range(1, stems):
        s = fma(load(flat, stem * width + i), splat(weights[stem]), s)
    return s


@inlined
def _sum1(stems, i, weights):
    s = stems[0, i] * weights[0]
    for stem in range(1, stems.shape[0]):
        s += stems[stem, i] * weights[stem]
    return s


@inlined
def _truncate1(v, out, i):
    """Write one sample in units of one LSB as int16; whether it had to be clipped."""
    v += SNAP if v >= 0.0 else -SNAP
    out[i] = int(max(-32768.0, min(32767.0, v)))
    return v >= 32767.0 + 2 * SNAP or v <= -32768.0 - 2 * SNAP


@compiled
def mix_planar(stems, frames, weights, out):
    """The weighted sum's left and right channel, to the two rows of ``out`` (2, any)."""
    flat = stems.reshape(-1)
    count, width = stems.shape
    left = out[0]
    right = out[1]
    whole = frames - frames % 8
    for n in range(0, whole, 8):
        low = _sum8(flat, width, count, 2 * n, weights)
        high = _sum8(flat, width, count, 2 * n + 8, weights)
        store(left, n, evens(low, high))
        store(right, n, odds(low, high))
    for n in range(whole, frames):
        left[n] = _sum1(stems, 2 * n, weights)
        right[n] = _sum1(stems, 2 * n + 1, weights)


@compiled
def mix_float64(stems, frames, weights, out):
    """The weighted sum, interleaved, to ``out`` (2 * frames,)."""
    flat = stems.reshape(-1)
    count, width = stems.shape
    whole = 2 * frames - 2 * frames % 8
    for i in range(0, whole, 8):
        store(out, i, _sum8(flat, width, count, i, weights))
    for i in range(whole, 2 * frames):
        out[i] = _sum1(stems, i, weights)


@compiled
def mix_int16(stems, frames, weights, out):
    """The weighted sum in units of one LSB, clipped and truncated toward zero, to ``out`` (2 * frames,) int16.

    Returns
    -------
    int
        Samples outside -32768 .. 32767.
    """
    flat = stems.reshape(-1)
    count, width = stems.shape
    snap = splat(SNAP)
    lowest = splat(-32768.0)
    highest = splat(32767.0)
    whole = 2 * frames - 2 * frames % 8
    peak = splat(0.0)
    for i in range(0, whole, 8):
        v = _sum8(flat, width, count, i, weights)
        peak = larger(peak, magnitude(v))
        v = v + with_sign_of(snap, v)
        store_int16(out, i, larger(lowest, smaller(highest, v)))
    clipped = 0
    if total(larger(splat(0.0), peak - highest)) > 0.0:
        for i in range(whole):
            v = _sum1(stems, i, weights)
            if v > 32767.0 + SNAP or v < -32768.0 - SNAP:
                clipped += 1
    for i in range(whole, 2 * frames):
        clipped += _truncate1(_sum1(stems, i, weights), out, i)
    return clipped


@compiled
def truncate(signal, unit, out):
    """``signal`` (any,) float64 times ``unit``, clipped and truncated toward zero, to ``out`` int16; returns how many were clipped."""
    clipped = 0
    for i in range(signal.shape[0]):
        clipped += _truncate1(signal[i] * unit, out, i)
    return clipped
