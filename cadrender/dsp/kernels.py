"""The compiled loops: plain arrays in, plain arrays out, no checks.

The functions that validate, allocate and explain are in :mod:`cadrender.dsp.loudness`,
:mod:`cadrender.dsp.hrir` and :mod:`cadrender.dsp.convolve`. Each kernel has a slow, obvious twin in the tests.

Shapes: a *row* is one contiguous run, float64; spectra are viewed as float64 with real and imaginary parts
interleaved, and hold the bins ``0 .. N/2`` of a real signal. ``N`` is a multiple of 16.
"""

import numpy as np

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.complexes import (
    load_interleaved,
    plus_times,
    plus_times_conjugate,
    store_interleaved,
    store_mirrored,
    times,
)
from cadrender.dsp.lanes import (
    even_pairs,
    even_twos,
    evens,
    fma,
    high_halves,
    highest,
    larger,
    load,
    low_halves,
    magnitude,
    odd_pairs,
    odd_twos,
    odds,
    smaller,
    splat,
    store,
    store_int16,
    total,
    with_sign_of,
)

# Truncating 123.99999999999 would give 123 where exact arithmetic gives 124: numbers this close below an integer
# count as that integer. The chance of wrongly changing a sample is 2**-30, far below the one in 10**7 that
# ``docs/contract.md`` accepts. Rounding errors are smaller: 1e-16 of the loudest sample nearby, 1e-11 of an LSB for
# signals within full scale. With a peak of 10**9 in every second of a FLOAT stem they decide six samples in 10**6;
# at 10**6, above which stems are refused (`store.audio.LOUDEST`), one in 10**8.
SNAP = 2.0**-30

# Bins of all spectra in use that are processed before moving on: they stay in the L1 cache.
_TILE = 64


@compiled
def deinterleave(source, start, frames, scale, left, left_at, right, right_at):
    """Copy ``frames`` of an interleaved stereo ``source`` (frames * 2,) to two places, times ``scale``."""
    whole = frames - frames % 8
    factor = splat(scale)
    for n in range(0, whole, 8):
        low = load(source, 2 * (start + n))
        high = load(source, 2 * (start + n) + 8)
        store(left, left_at + n, evens(low, high) * factor)
        store(right, right_at + n, odds(low, high) * factor)
    for n in range(whole, frames):
        left[left_at + n] = source[2 * (start + n)] * scale
        right[right_at + n] = source[2 * (start + n) + 1] * scale


@compiled
def cut_blocks(source, start, frames, block, scale, rows):
    """Lay out blocks of an interleaved stereo signal for transforms.

    Parameters
    ----------
    source : ndarray
        (2 * frames,), int16, int32, float32 or float64.
    start : int
        First frame of the first block.
    block : int
        Frames per block; past the end of the signal they are zero.
    rows : ndarray
        (2 * blocks, length): left and right channel of each block; columns from ``block`` on stay zero.

    Returns
    -------
    bool
        Whether all frames are zero.
    """
    silent = True
    for b in range(rows.shape[0] // 2):
        left = rows[2 * b]
        right = rows[2 * b + 1]
        at = start + b * block
        count = max(0, min(block, frames - at))
        deinterleave(source, at, count, scale, left, 0, right, 0)
        left[count:block] = 0.0
        right[count:block] = 0.0
        n = 2 * at
        while silent and n < 2 * (at + count):
            silent = source[n] == 0
            n += 1
    return silent


@inlined
def _transpose(a0, a1, a2, a3, a4, a5, a6, a7):
    """Transpose eight registers of eight: lane i of register j becomes lane j of register i."""
    b0, b1 = even_pairs(a0, a1), odd_pairs(a0, a1)
    b2, b3 = even_pairs(a2, a3), odd_pairs(a2, a3)
    b4, b5 = even_pairs(a4, a5), odd_pairs(a4, a5)
    b6, b7 = even_pairs(a6, a7), odd_pairs(a6, a7)
    c0, c2 = even_twos(b0, b2), odd_twos(b0, b2)
    c1, c3 = even_twos(b1, b3), odd_twos(b1, b3)
    c4, c6 = even_twos(b4, b6), odd_twos(b4, b6)
    c5, c7 = even_twos(b5, b7), odd_twos(b5, b7)
    return (
        low_halves(c0, c4),
        low_halves(c1, c5),
        low_halves(c2, c6),
        low_halves(c3, c7),
        high_halves(c0, c4),
        high_halves(c1, c5),
        high_halves(c2, c6),
        high_halves(c3, c7),
    )


@inlined
def _k_step(x, x1, x2, u1, u2, v1, v2, c):
    """One frame per lane through both biquads: their outputs. ``c``: b0, b1, b2, -a1, -a2 of each."""
    u = fma(u1, c[3], fma(u2, c[4], fma(c[2], x2, fma(c[1], x1, c[0] * x))))
    v = fma(v1, c[8], fma(v2, c[9], fma(c[7], u2, fma(c[6], u1, c[5] * u))))
    return u, v


@compiled
def _k_weight_quarters(signal, start, quarter, biquads, past, out, to):
    """Both biquads over four consecutive quarters of two channels, each in its own lane.

    ``past`` (6, 8): for each lane (left quarters, then right ones) the last two inputs, outputs of the first biquad
    and outputs of the second; replaced by those at the end.
    """
    left = signal[0]
    right = signal[1]
    left_out = out[0]
    right_out = out[1]
    c = (
        splat(biquads[0, 0]),
        splat(biquads[0, 1]),
        splat(biquads[0, 2]),
        splat(-biquads[0, 3]),
        splat(-biquads[0, 4]),
        splat(biquads[1, 0]),
        splat(biquads[1, 1]),
        splat(biquads[1, 2]),
        splat(-biquads[1, 3]),
        splat(-biquads[1, 4]),
    )
    x1 = load(past[0], 0)
    x2 = load(past[1], 0)
    u1 = load(past[2], 0)
    u2 = load(past[3], 0)
    v1 = load(past[4], 0)
    v2 = load(past[5], 0)
    for n in range(0, quarter, 8):
        at = start + n
        x3, x4, x5, x6, x7, x8, x9, x10 = _transpose(
            load(left, at),
            load(left, at + quarter),
            load(left, at + 2 * quarter),
            load(left, at + 3 * quarter),
            load(right, at),
            load(right, at + quarter),
            load(right, at + 2 * quarter),
            load(right, at + 3 * quarter),
        )
        u3, v3 = _k_step(x3, x1, x2, u1, u2, v1, v2, c)
        u4, v4 = _k_step(x4, x3, x1, u3, u1, v3, v1, c)
        u5, v5 = _k_step(x5, x4, x3, u4, u3, v4, v3, c)
        u6, v6 = _k_step(x6, x5, x4, u5, u4, v5, v4, c)
        u7, v7 = _k_step(x7, x6, x5, u6, u5, v6, v5, c)
        u8, v8 = _k_step(x8, x7, x6, u7, u6, v7, v6, c)
        u9, v9 = _k_step(x9, x8, x7, u8, u7, v8, v7, c)
        u10, v10 = _k_step(x10, x9, x8, u9, u8, v9, v8, c)
        x1, x2, u1, u2, v1, v2 = x10, x9, u10, u9, v10, v9
        y0, y1, y2, y3, y4, y5, y6, y7 = _transpose(v3, v4, v5, v6, v7, v8, v9, v10)
        at = to + n
        store(left_out, at, y0)
        store(left_out, at + quarter, y1)
        store(left_out, at + 2 * quarter, y2)
        store(left_out, at + 3 * quarter, y3)
        store(right_out, at, y4)
        store(right_out, at + quarter, y5)
        store(right_out, at + 2 * quarter, y6)
        store(right_out, at + 3 * quarter, y7)
    store(past[0], 0, x1)
    store(past[1], 0, x2)
    store(past[2], 0, u1)
    store(past[3], 0, u2)
    store(past[4], 0, v1)
    store(past[5], 0, v2)


@compiled
def _add_past(out, start, frames, responses, u1, u2, v1, v2):
    """Add the response of the filters' memory at ``start`` to the frames after it."""
    a, b, c, d = splat(u1), splat(u2), splat(v1), splat(v2)
    from_u1 = responses[0, 1]
    from_u2 = responses[1, 1]
    from_v1 = responses[2, 1]
    from_v2 = responses[3, 1]
    for n in range(0, frames, 8):
        y = fma(a, load(from_u1, n), load(out, start + n))
        y = fma(b, load(from_u2, n), y)
        y = fma(c, load(from_v1, n), y)
        store(out, start + n, fma(d, load(from_v2, n), y))


@compiled
def k_weight(signal, start, frames, biquads, responses, state, out, out_start):
    """Two biquads in series over both channels, from ``signal`` to ``out``.

    A recurrence is a chain of dependent operations; eight run side by side here, four consecutive quarters of both
    channels. All but the first start with an empty memory; the response of their true memory, the end of the quarter
    before, is added afterwards: the filters are linear.

    Parameters
    ----------
    signal, out : ndarray
        (2, any), not the same: frames ``start .. start + frames`` are read, ``out_start ..`` written.
    biquads : ndarray
        (2, 5): b0, b1, b2, a1, a2 of each.
    responses : ndarray
        (4, 2, longest): the outputs u and v of the first and second biquad without further input, when the last u,
        the last but one, the last v or the last but one was 1.
    state : ndarray
        (2 channels, 6), carried from call to call: the last two inputs x, u and v, most recent first.
    """
    longest = responses.shape[2]
    past = np.empty((6, 8))
    done = 0
    while frames - done >= 32:
        quarter = min((frames - done) // 32 * 8, longest)
        for channel in range(2):
            x = signal[channel]
            for j in range(4):
                at = 4 * channel + j
                if j == 0:
                    past[:, at] = state[channel]
                else:
                    past[0, at] = x[start + done + j * quarter - 1]
                    past[1, at] = x[start + done + j * quarter - 2]
                    past[2:, at] = 0.0
        _k_weight_quarters(signal, start + done, quarter, biquads, past, out, out_start + done)
        for channel in range(2):
            for j in range(1, 4):
                at = 4 * channel + j
                u1, u2, v1, v2 = past[2, at - 1], past[3, at - 1], past[4, at - 1], past[5, at - 1]
                _add_past(out[channel], out_start + done + j * quarter, quarter, responses, u1, u2, v1, v2)
                for i in range(2):
                    n = quarter - 1 - i
                    for output in range(2):
                        r = responses[:, output, n]
                        past[2 + 2 * output + i, at] += u1 * r[0] + u2 * r[1] + v1 * r[2] + v2 * r[3]
            state[channel] = past[:, 4 * channel + 3]
        done += 4 * quarter
    for channel in range(2):
        x1, x2, u1, u2, v1, v2 = state[channel]
        for n in range(done, frames):
            x = signal[channel, start + n]
            b = biquads[0]
            u = b[0] * x + b[1] * x1 + b[2] * x2 - b[3] * u1 - b[4] * u2
            b = biquads[1]
            v = b[0] * u + b[1] * u1 + b[2] * u2 - b[3] * v1 - b[4] * v2
            out[channel, out_start + n] = v
            x1, x2, u1, u2, v1, v2 = x, x1, u, u1, v, v1
        state[channel] = np.array((x1, x2, u1, u2, v1, v2))


@compiled
def energy(signal, start, stop):
    """The sum of squares of frames ``start .. stop`` of both channels of ``signal`` (2, any)."""
    whole = (stop - start) - (stop - start) % 8
    result = 0.0
    for channel in range(2):
        x = signal[channel]
        even = splat(0.0)
        for n in range(start, start + whole, 8):
            v = load(x, n)
            even = fma(v, v, even)
        result += total(even)
        for n in range(start + whole, stop):
            result += x[n] * x[n]
    return result


@compiled
def segment_energies(signal, start, frames, edges, segment, energies):
    """Add the squares of ``signal`` (2, any) to the segments they belong to.

    ``signal[:, 0]`` is frame ``start``; segment ``i`` is the frames ``edges[i] .. edges[i + 1]``. Returns the segment
    to continue with.
    """
    stop = start + frames
    while segment < len(energies):
        low = max(edges[segment], start)
        high = min(edges[segment + 1], stop)
        if low < high:
            energies[segment] += energy(signal, low - start, high - start)
        if edges[segment + 1] > stop:
            break
        segment += 1
    return segment


@compiled
def cut_chunks(signal, edges, chunk, rows):
    """Lay out segments for transforms of twice the chunk's length.

    Parameters
    ----------
    signal : ndarray
        (2, any): ``chunk`` frames of history, then the segments.
    edges : ndarray
        (segments + 1,): where they begin and end in ``signal``; the first begins at ``chunk``.
    rows : ndarray
        (at least segments, 1 + chunks, 2, 2 * chunk): for each segment the ``chunk`` frames before it, then its own
        in chunks, the last one zero-padded; second halves stay zero.
    """
    for segment in range(len(edges) - 1):
        start = edges[segment]
        for channel in range(2):
            x = signal[channel]
            copy(x, start - chunk, rows[segment, 0, channel], chunk)
            for at in range(start, edges[segment + 1], chunk):
                row = rows[segment, 1 + (at - start) // chunk, channel]
                count = min(chunk, edges[segment + 1] - at)
                copy(x, at, row, count)
                row[count:chunk] = 0.0


@inlined
def copy(source, start, target, count):
    """Copy ``count`` floats to the front of ``target``."""
    whole = count - count % 8
    for n in range(0, whole, 8):
        store(target, n, load(source, start + n))
    for n in range(whole, count):
        target[n] = source[start + n]


@compiled
def keep_history(signal, chunk, frames):
    """Move the last ``chunk`` frames of history plus ``frames`` to the front."""
    for channel in range(2):
        x = signal[channel]
        for n in range(chunk):
            x[n] = x[frames + n]


@compiled
def is_silent(signal, start, stop):
    """Whether frames ``start .. stop`` of both channels are exactly zero."""
    for channel in range(2):
        x = signal[channel]
        for n in range(start, stop):
            if x[n] != 0.0:
                return False
    return True


@compiled
def _correlate(spectra, sign, weights, chunks, out):
    """:func:`correlate` for one segment."""
    heads, _, width = weights.shape
    half = width - 8
    row = spectra.shape[2]
    flat = spectra.reshape(-1)
    flat_weights = weights.reshape(-1)
    alternate = load(sign, 0)
    zero = splat(0.0)
    for h in range(heads):
        out[h] = 0.0
    for k in range(0, half, 8):
        p = 2 * k
        before_lr, before_li = load_interleaved(flat, p)
        before_rr, before_ri = load_interleaved(flat, p + row)
        llr = lli = rrr = rri = lrr = lri = rlr = rli = zero
        for _ in range(chunks):
            p += 2 * row
            lr, li = load_interleaved(flat, p)
            rr, ri = load_interleaved(flat, p + row)
            blr, bli = fma(alternate, before_lr, lr), fma(alternate, before_li, li)
            brr, bri = fma(alternate, before_rr, rr), fma(alternate, before_ri, ri)
            before_lr, before_li, before_rr, before_ri = lr, li, rr, ri
            llr, lli = plus_times_conjugate(llr, lli, lr, li, blr, bli)
            rrr, rri = plus_times_conjugate(rrr, rri, rr, ri, brr, bri)
            lrr, lri = plus_times_conjugate(lrr, lri, lr, li, brr, bri)
            rlr, rli = plus_times_conjugate(rlr, rli, rr, ri, blr, bli)
        for h in range(heads):
            w = h * 8 * width + k
            s = llr * load(flat_weights, w)
            s = fma(lli, load(flat_weights, w + width), s)
            s = fma(rrr, load(flat_weights, w + 2 * width), s)
            s = fma(rri, load(flat_weights, w + 3 * width), s)
            s = fma(lrr, load(flat_weights, w + 4 * width), s)
            s = fma(lri, load(flat_weights, w + 5 * width), s)
            s = fma(rlr, load(flat_weights, w + 6 * width), s)
            s = fma(rli, load(flat_weights, w + 7 * width), s)
            out[h] += total(s)
    # The last bin, N/2: all spectra are real there, and N/2 is even.
    p = 2 * half
    before_l = flat[p]
    before_r = flat[p + row]
    ll = 0.0
    rr_ = 0.0
    lr_ = 0.0
    rl = 0.0
    for _ in range(chunks):
        p += 2 * row
        left = flat[p]
        right = flat[p + row]
        ll += left * (left + before_l)
        rr_ += right * (right + before_r)
        lr_ += left * (right + before_r)
        rl += right * (left + before_l)
        before_l = left
        before_r = right
    for h in range(heads):
        w = weights[h]
        out[h] += ll * w[0, half] + rr_ * w[2, half] + lr_ * w[4, half] + rl * w[6, half]


@compiled
def correlate(spectra, sign, weights, edges, chunk, out):
    """Weighted auto- and cross-correlations of segments, for all heads.

    With ``a_0 .. a_c`` the spectra of consecutive chunks (``a_0`` the history before the segment) and
    ``b_c[k] = a_c[k] + (-1)**k a_{c-1}[k]`` that of a chunk with its predecessor before it, the sums over the
    chunks of ``a_i conj(b_j)`` for the channels i, j are the correlations of the segment with itself and its
    past; ``out[segment, h]`` is their scalar product with ``weights[h]``.

    Parameters
    ----------
    spectra : ndarray
        (at least segments, 1 + chunks, 2 channels, row): history, then chunks, of each segment.
    sign : ndarray
        (8,): 1, -1, 1, -1, ...
    weights : ndarray
        (heads, 8, N/2 + padding): real and imaginary part for the channel pairs LL, RR, LR, RL.
    edges, chunk
        As in :func:`cut_chunks`.
    out : ndarray
        (segments, heads)
    """
    for segment in range(len(edges) - 1):
        chunks = -(-(edges[segment + 1] - edges[segment]) // chunk)
        _correlate(spectra[segment], sign, weights, chunks, out[segment])


@inlined
def _ear(heads, h, width, lr, li, rr, ri):
    """Eight bins of what an ear receives from the left and right channels."""
    re, im = times(lr, li, load(heads, h), load(heads, h + width))
    return plus_times(re, im, rr, ri, load(heads, h + 2 * width), load(heads, h + 3 * width))


@compiled
def apply_hrirs(spectra, step, blocks, heads, first_head, head_count, product):
    """The spectra of both ears, packed as ``left + i right``, for some blocks and heads.

    Parameters
    ----------
    spectra : ndarray
        (any, 2 channels, row): block ``b`` is at ``[b * step]``.
    step, blocks : int
        Spacing and number of blocks.
    heads : ndarray
        (all heads, 8, N/2 + padding): real and imaginary part of left channel to left ear, right channel to left
        ear, left channel to right ear, right channel to right ear.
    first_head, head_count : int
        Which heads to apply.
    product : ndarray
        (head_count * blocks, 2 * (N + padding)): written, head by head.
    """
    width = heads.shape[2]
    half = width - 8
    row = spectra.shape[2]
    out_row = product.shape[1]
    flat = spectra.reshape(-1)
    flat_heads = heads.reshape(-1)
    flat_product = product.reshape(-1)
    for tile in range(0, half, _TILE):
        for b in range(blocks):
            for k in range(tile, min(tile + _TILE, half), 8):
                p = b * step * 2 * row + 2 * k
                lr, li = load_interleaved(flat, p)
                rr, ri = load_interleaved(flat, p + row)
                for s in range(head_count):
                    h = (first_head + s) * 8 * width + k
                    left_re, left_im = _ear(flat_heads, h, width, lr, li, rr, ri)
                    right_re, right_im = _ear(flat_heads, h + 4 * width, width, lr, li, rr, ri)
                    to = (s * blocks + b) * out_row
                    store_interleaved(flat_product, to + 2 * k, left_re - right_im, left_im + right_re)
                    # Bins N-k: the conjugates of both ears. That of k = 0, bin N, falls into the padding.
                    to += 2 * (2 * half - k - 7)
                    store_mirrored(flat_product, to, left_re + right_im, right_re - left_im)
    for b in range(blocks):
        left = flat[b * step * 2 * row + 2 * half]
        right = flat[b * step * 2 * row + row + 2 * half]
        for s in range(head_count):
            h = heads[first_head + s]
            to = (s * blocks + b) * out_row + 2 * half
            flat_product[to] = left * h[0, half] + right * h[2, half]
            flat_product[to + 1] = left * h[4, half] + right * h[6, half]


@compiled
def row_energies(rows, start, stop, out):
    """The sum of squares of elements ``start .. stop`` of each row of ``rows``; both multiples of 8."""
    width = rows.shape[1]
    flat = rows.reshape(-1)
    for r in range(rows.shape[0]):
        s = splat(0.0)
        for i in range(r * width + start, r * width + stop, 8):
            v = load(flat, i)
            s = fma(v, v, s)
        out[r] = total(s)


@compiled
def begin_with(rows, blocks, carry):
    """Add the end of the previous batch to the first block of each head, in place; see :func:`overlap_add_int16`."""
    width = rows.shape[1]
    overlap = carry.shape[1]
    flat = rows.reshape(-1)
    ends = carry.reshape(-1)
    for s in range(carry.shape[0]):
        at = s * blocks * width
        for i in range(0, overlap, 8):
            store(flat, at + i, load(flat, at + i) + load(ends, s * overlap + i))


@compiled
def keep_end(rows, blocks, block, carry):
    """Keep what the last block of each head adds to the next batch; see :func:`overlap_add_int16`."""
    width = rows.shape[1]
    overlap = carry.shape[1]
    flat = rows.reshape(-1)
    ends = carry.reshape(-1)
    for s in range(carry.shape[0]):
        at = ((s + 1) * blocks - 1) * width + block
        for i in range(0, overlap, 8):
            store(ends, s * overlap + i, load(flat, at + i))


@compiled
def overlap_add_int16(rows, blocks, block, carry, first, out, out_start, wanted, clipped):
    """Add up overlapping blocks, clip to int16 and truncate toward zero.

    Parameters
    ----------
    rows : ndarray
        (heads * blocks, any): the blocks of each head in order, floats in units of one LSB; changed.
    block : int
        Floats between the starts of consecutive blocks; a multiple of 8.
    carry : ndarray
        (heads, overlap): what the previous batch adds to the first block; replaced by what this one adds to the
        next. ``overlap`` is a multiple of 8 and at most ``block``.
    first : int
        Head of the first rows.
    out : ndarray
        (all heads, any) int16: written from column ``out_start`` on.
    wanted : ndarray
        (all heads,): number of samples within the signal; clipping is counted in these only.
    clipped : ndarray
        (all heads,): incremented by the number of samples outside -32768 .. 32767.
    """
    width = rows.shape[1]
    overlap = carry.shape[1]
    flat = rows.reshape(-1)
    snap = splat(SNAP)
    low = splat(-32768.0)
    high = splat(32767.0)
    begin_with(rows, blocks, carry)
    for s in range(carry.shape[0]):
        pcm = out[first + s]
        for b in range(blocks):
            at = (s * blocks + b) * width
            end = at - width + block
            reach = overlap if b > 0 else 0
            to = out_start + b * block
            peak = splat(0.0)
            for i in range(0, reach, 8):
                v = load(flat, at + i) + load(flat, end + i)
                store(flat, at + i, v)
                peak = larger(peak, magnitude(v))
                store_int16(pcm, to + i, larger(low, smaller(high, v + with_sign_of(snap, v))))
            for i in range(reach, block, 8):
                v = load(flat, at + i)
                peak = larger(peak, magnitude(v))
                store_int16(pcm, to + i, larger(low, smaller(high, v + with_sign_of(snap, v))))
            if highest(peak) > 32767.0:
                for i in range(at, at + min(block, wanted[first + s] - b * block)):
                    if flat[i] > 32767.0 + SNAP or flat[i] < -32768.0 - SNAP:
                        clipped[first + s] += 1
    keep_end(rows, blocks, block, carry)


@compiled
def overlap_add_float64(rows, blocks, block, carry, first, out, out_start):
    """Add up overlapping blocks; see :func:`overlap_add_int16`."""
    width = rows.shape[1]
    overlap = carry.shape[1]
    flat = rows.reshape(-1)
    begin_with(rows, blocks, carry)
    for s in range(carry.shape[0]):
        floats = out[first + s]
        for b in range(blocks):
            at = (s * blocks + b) * width
            end = at - width + block
            to = out_start + b * block
            reach = overlap if b > 0 else 0
            for i in range(0, reach, 8):
                store(floats, to + i, load(flat, at + i) + load(flat, end + i))
            for i in range(reach, block, 8):
                store(floats, to + i, load(flat, at + i))
    keep_end(rows, blocks, block, carry)
