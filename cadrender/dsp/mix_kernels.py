"""The gain mixer's compiled loops; see :mod:`cadrender.dsp.mix` for the functions around them.

Four stems come as one array (4, at least 2 * frames), interleaved stereo, all of one type.
"""

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.kernels import SNAP
from cadrender.dsp.lanes import (
    even_twos,
    fma,
    high_and_low,
    larger,
    load,
    low_halves,
    magnitude,
    odd_twos,
    smaller,
    splat,
    store,
    store_int16,
    total,
    with_sign_of,
)


@inlined
def _registers(weights):
    return splat(weights[0]), splat(weights[1]), splat(weights[2]), splat(weights[3])


@inlined
def _sum8(flat, width, single, i, w):
    """Eight numbers of the weighted sum, or of the ``single`` stem, starting at element ``i`` of each row."""
    s = load(flat, i) * w[0]
    if single:
        return s
    s = fma(load(flat, i + width), w[1], s)
    s = fma(load(flat, i + 2 * width), w[2], s)
    return fma(load(flat, i + 3 * width), w[3], s)


@inlined
def _sum1(stems, i, weights):
    """One number of the weighted sum, with the rounding of :func:`_sum8`."""
    s = float(stems[0, i]) * weights[0]
    if stems.shape[0] == 1:
        return s
    s = fma(float(stems[1, i]), weights[1], s)
    s = fma(float(stems[2, i]), weights[2], s)
    return fma(float(stems[3, i]), weights[3], s)


@inlined
def _truncate1(v, out, i):
    """Write one sample in units of one LSB as int16; return whether it had to be clipped."""
    clipped = v > 32767.0 + SNAP or v < -32768.0 - SNAP
    v += SNAP if v >= 0.0 else -SNAP
    out[i] = int(max(-32768.0, min(32767.0, v)))
    return clipped


@inlined
def _step(x, x1, x2, y1, y2, c):
    """One step of eight biquads with b0 = 1: zeros first, then poles; ``y1`` comes last."""
    zeros = fma(c[1], x2, fma(c[0], x1, x))
    return fma(c[3], y1, fma(c[2], y2, zeros))


@inlined
def _add(accumulated, buffer, energies, row, segment):
    """Add the energy accumulated in lanes 4 and 5, 6 and 7 to the segments of the two signals."""
    store(buffer, 0, accumulated)
    energies[row, segment] += buffer[4] + buffer[5]
    energies[row + 1, segment] += buffer[6] + buffer[7]


@inlined
def _four_frames(va, vb, x2, x3, y0, y1, y2, y3, c):
    """Four frames of both sums through all biquads: the last two inputs and the four outputs."""
    even = even_twos(va, vb)
    odd = odd_twos(va, vb)
    x0 = low_halves(even, y0)
    x1 = low_halves(odd, y1)
    y0 = _step(x0, x3, x2, y3, y2, c)
    y1 = _step(x1, x0, x3, y0, y3, c)
    x2 = high_and_low(even, y2)
    x3 = high_and_low(odd, y3)
    y2 = _step(x2, x1, x0, y1, y0, c)
    y3 = _step(x3, x2, x1, y2, y1, c)
    return x2, x3, y0, y1, y2, y3


@inlined
def _next_edge(edges, segment, never):
    """A segment, -1 past the last one, and the frame where the next one begins."""
    if segment < len(edges) - 1:
        return segment, edges[segment + 1]
    return -1, never


@compiled
def measure_pair(
    first, first_weights, second, second_weights, frames, coefficients, state, at, edges, row, energies, kept
):
    """K-weight two weighted sums and add their energies to the segments they belong to.

    Both biquads of all four channels share one register: lanes 0 to 3 are the first biquad of the left and right
    channels of the first and second sums, lanes 4 to 7 the second biquad of the same. The second is fed the first's
    output of four frames earlier, so that no frame waits for both.

    Parameters
    ----------
    first, second : ndarray
        (4, any): the stems of each sum; (1, any) for a single stem.
    first_weights, second_weights : ndarray
        (4,): their linear factors, full scale included.
    frames : int
        A multiple of 4.
    coefficients : ndarray
        (32,): b1 / b0, b2 / b0, -a2, -a1, each for eight lanes.
    state : ndarray
        (48,), carried from call to call: the last two inputs and the last four outputs.
    at : int
        The first frame whose energy comes out: four before the first frame that goes in.
    edges : ndarray
        (segments + 1,): segment ``i`` is the frames ``edges[i] .. edges[i + 1]``; others are not counted.
    row : int
        Rows of `energies` for the sums: this one and the next.
    energies : ndarray
        (any, segments): of filters with b0 = 1.
    kept : ndarray
        (at least 2 * frames,): receives the second sum, interleaved; (0,) if it is not wanted.
    """
    a = first.reshape(-1)
    b = second.reshape(-1)
    a_width = first.shape[1]
    b_width = second.shape[1]
    a_single = first.shape[0] == 1
    b_single = second.shape[0] == 1
    keeping = len(kept) > 0
    wa = _registers(first_weights)
    wb = _registers(second_weights)
    c = (
        load(coefficients, 0),
        load(coefficients, 8),
        load(coefficients, 16),
        load(coefficients, 24),
    )
    x2 = load(state, 0)
    x3 = load(state, 8)
    y0 = load(state, 16)
    y1 = load(state, 24)
    y2 = load(state, 32)
    y3 = load(state, 40)
    zero = splat(0.0)
    evens = zero
    odds = zero
    never = at + frames + 8
    segment = -1
    while segment < len(edges) - 1 and edges[segment + 1] <= at:
        segment += 1
    segment, edge = _next_edge(edges, segment, never)
    for n in range(0, frames, 4):
        va = _sum8(a, a_width, a_single, 2 * n, wa)
        vb = _sum8(b, b_width, b_single, 2 * n, wb)
        if keeping:
            store(kept, 2 * n, vb)
        x2, x3, y0, y1, y2, y3 = _four_frames(va, vb, x2, x3, y0, y1, y2, y3, c)
        if at + n + 4 <= edge:
            if segment >= 0:
                evens = fma(y2, y2, fma(y0, y0, evens))
                odds = fma(y3, y3, fma(y1, y1, odds))
            continue
        for k in range(4):
            if at + n + k == edge:
                if segment >= 0:
                    _add(evens + odds, state, energies, row, segment)
                evens = zero
                odds = zero
                segment, edge = _next_edge(edges, segment + 1, never)
            if segment >= 0:
                y = y0 if k == 0 else y1 if k == 1 else y2 if k == 2 else y3
                evens = fma(y, y, evens)
    if segment >= 0:
        _add(evens + odds, state, energies, row, segment)
    store(state, 0, x2)
    store(state, 8, x3)
    store(state, 16, y0)
    store(state, 24, y1)
    store(state, 32, y2)
    store(state, 40, y3)


@compiled
def mix_float64(stems, frames, weights, gain, out):
    """The weighted sum times the gain, interleaved, to ``out`` (2 * frames,)."""
    flat = stems.reshape(-1)
    width = stems.shape[1]
    w = _registers(weights)
    single = stems.shape[0] == 1
    gains = splat(gain)
    whole = 2 * frames - 2 * frames % 8
    for i in range(0, whole, 8):
        store(out, i, _sum8(flat, width, single, i, w) * gains)
    for i in range(whole, 2 * frames):
        out[i] = _sum1(stems, i, weights) * gain


@compiled
def mix_int16(stems, frames, weights, gain, out):
    """The weighted sum times the gain, in units of one LSB, clipped and truncated toward zero.

    To ``out`` (2 * frames,) int16. The gain is applied to the sum, not to the weights, so that a kept sum
    (:func:`measure_pair`) gives the same bits as a recomputed one.

    Returns
    -------
    int
        Samples outside -32768 .. 32767.
    """
    flat = stems.reshape(-1)
    width = stems.shape[1]
    w = _registers(weights)
    single = stems.shape[0] == 1
    gains = splat(gain)
    snap = splat(SNAP)
    lowest = splat(-32768.0)
    highest = splat(32767.0)
    whole = 2 * frames - 2 * frames % 8
    peak = splat(0.0)
    for i in range(0, whole, 8):
        v = _sum8(flat, width, single, i, w) * gains
        peak = larger(peak, magnitude(v))
        v = v + with_sign_of(snap, v)
        store_int16(out, i, larger(lowest, smaller(highest, v)))
    clipped = 0
    if total(larger(splat(0.0), peak - highest)) > 0.0:
        for i in range(whole):
            v = _sum1(stems, i, weights) * gain
            if v > 32767.0 + SNAP or v < -32768.0 - SNAP:
                clipped += 1
    for i in range(whole, 2 * frames):
        clipped += _truncate1(_sum1(stems, i, weights) * gain, out, i)
    return clipped
