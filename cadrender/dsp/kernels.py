"""The compiled loops: plain arrays in, plain arrays out, no checks.

The functions that validate, allocate and explain are in :mod:`cadrender.dsp.loudness`,
:mod:`cadrender.dsp.hrir` and :mod:`cadrender.dsp.convolve`. Each kernel has a slow, obvious twin in the tests.

Shapes: a *row* is one contiguous run, float64; spectra are viewed as float64 with real and imaginary parts
interleaved, and hold the bins ``0 .. N/2`` of a real signal. ``N`` is a multiple of 16.
"""

from cadrender.dsp.compiled import compiled, inlined
from cadrender.dsp.lanes import (
    delayed1,
    delayed2,
    evens,
    fma,
    highest,
    interleave_high,
    interleave_low,
    larger,
    load,
    magnitude,
    mirror_high,
    mirror_low,
    odds,
    repeat,
    smaller,
    splat,
    store,
    store_int16,
    total,
    with_sign_of,
)

# Truncating 123.99999999999 would give 123 where exact arithmetic gives 124: numbers this close under an
# integer count as that integer. Rounding errors are about 1e-11 of an LSB; a sample changes that should not
# with a probability of 2**-31, far under the one in 10**7 that the data contract accepts.
SNAP = 2.0**-30

# How many bins of all spectra in use are handled before going on to the next: they stay in the L1 cache.
_TILE = 64

# Frames that go through all steps of the K-weighting before the next ones: they stay in the L1 cache too.
_K_TILE = 512


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
    """Lay blocks of an interleaved stereo signal out for transforms.

    Parameters
    ----------
    source : ndarray
        (2 * frames,), int16, int32, float32 or float64.
    start : int
        First frame of the first block.
    block : int
        Frames of a block; what lies past the end of the signal is zero.
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
def _zeros(biquad, x, start, frames, past, out, to):
    """The numerator of a biquad; ``out`` may be ``x``. ``past``: the eight inputs before; replaced by the last."""
    b0 = splat(biquad[0])
    b1 = splat(biquad[1])
    b2 = splat(biquad[2])
    before = load(past, 0)
    for n in range(0, frames, 8):
        v = load(x, start + n)
        store(out, to + n, fma(b2, delayed2(before, v), fma(b1, delayed1(before, v), b0 * v)))
        before = v
    store(past, 0, before)


@inlined
def _poles(table, at, x, start, frames, past):
    """The denominator of a biquad, in place, eight frames at a time; ``past``: as in :func:`_zeros`, of outputs.

    Each of eight inputs, and each of the last two outputs, adds a column of the table to the eight outputs. Only
    the last two additions wait for the outputs before. The inputs are repeated in all lanes as they are loaded,
    which costs nothing.
    """
    c0 = load(table, at)
    c1 = load(table, at + 8)
    c2 = load(table, at + 16)
    c3 = load(table, at + 24)
    c4 = load(table, at + 32)
    c5 = load(table, at + 40)
    c6 = load(table, at + 48)
    c7 = load(table, at + 56)
    last = load(table, at + 64)
    last_but_one = load(table, at + 72)
    y = load(past, 0)
    for n in range(start, start + frames, 8):
        even = splat(x[n]) * c0
        odd = splat(x[n + 1]) * c1
        even = fma(splat(x[n + 2]), c2, even)
        odd = fma(splat(x[n + 3]), c3, odd)
        even = fma(splat(x[n + 4]), c4, even)
        odd = fma(splat(x[n + 5]), c5, odd)
        even = fma(splat(x[n + 6]), c6, even)
        odd = fma(splat(x[n + 7]), c7, odd)
        y = fma(repeat(y, 7), last, fma(repeat(y, 6), last_but_one, even + odd))
        store(x, n, y)
    store(past, 0, y)


@inlined
def _biquad1(biquad, x, past_x, past_y):
    """One output of one biquad, the direct form I; the past is moved on."""
    y = (
        biquad[0] * x
        + biquad[1] * past_x[7]
        + biquad[2] * past_x[6]
        - biquad[3] * past_y[7]
        - biquad[4] * past_y[6]
    )
    for i in range(7):
        past_x[i] = past_x[i + 1]
    past_x[7] = x
    return y


@compiled
def k_weight(signal, start, frames, biquads, table, state, out, out_start):
    """Two biquads in series over both channels, from ``signal`` to ``out``.

    The zeros of a biquad are applied as they stand, so that their cancellation at 0 Hz is exact; see
    :func:`_poles` for the rest.

    Parameters
    ----------
    signal, out : ndarray
        (2, any): frames ``start .. start + frames`` are read, ``out_start ..`` written.
    biquads : ndarray
        (2, 5): b0, b1, b2, a1, a2 of each.
    table : ndarray
        (2 * 80,): for each biquad ten columns of eight: the impulse response of its poles, delayed by 0 to 7
        frames, then what the last output and the one before it add.
    state : ndarray
        (2 channels, 4, 8), carried from call to call: the last eight inputs, outputs of the first and outputs of
        the second biquad, and inputs of the second, which are the outputs of the first.
    """
    whole = frames - frames % 8
    for channel in range(2):
        x = signal[channel]
        y = out[channel]
        past_x = state[channel, 0]
        past_u = state[channel, 1]
        past_v = state[channel, 2]
        for tile in range(0, whole, _K_TILE):
            count = min(_K_TILE, whole - tile)
            at = out_start + tile
            _zeros(biquads[0], x, start + tile, count, past_x, y, at)
            _poles(table, 0, y, at, count, past_u)
            _zeros(biquads[1], y, at, count, state[channel, 3], y, at)
            _poles(table, 80, y, at, count, past_v)
        for n in range(whole, frames):
            u = _biquad1(biquads[0], x[start + n], past_x, past_u)
            v = _biquad1(biquads[1], u, past_u, past_v)
            for i in range(7):
                past_v[i] = past_v[i + 1]
            past_v[7] = v
            y[out_start + n] = v
        state[channel, 3] = past_u


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
    to go on with.
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
    """Lay segments out for transforms of twice the chunk's length.

    Parameters
    ----------
    signal : ndarray
        (2, any): ``chunk`` frames of history, then the segments.
    edges : ndarray
        (segments + 1,): where they begin and end in ``signal``; the first begins at ``chunk``.
    rows : ndarray
        (at least segments, 1 + chunks, 2, 2 * chunk): for each segment the ``chunk`` frames before it, then its own
        in chunks, the last one filled up with zeros; second halves stay zero.
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
        low = load(flat, p)
        high = load(flat, p + 8)
        before_lr = evens(low, high)
        before_li = odds(low, high)
        low = load(flat, p + row)
        high = load(flat, p + row + 8)
        before_rr = evens(low, high)
        before_ri = odds(low, high)
        llr = zero
        lli = zero
        rrr = zero
        rri = zero
        lrr = zero
        lri = zero
        rlr = zero
        rli = zero
        for _ in range(chunks):
            p += 2 * row
            low = load(flat, p)
            high = load(flat, p + 8)
            lr = evens(low, high)
            li = odds(low, high)
            low = load(flat, p + row)
            high = load(flat, p + row + 8)
            rr = evens(low, high)
            ri = odds(low, high)
            blr = fma(alternate, before_lr, lr)
            bli = fma(alternate, before_li, li)
            brr = fma(alternate, before_rr, rr)
            bri = fma(alternate, before_ri, ri)
            before_lr = lr
            before_li = li
            before_rr = rr
            before_ri = ri
            # a conj(b) = (ar br + ai bi) + i (ai br - ar bi)
            llr = fma(li, bli, fma(lr, blr, llr))
            lli = fma(zero - lr, bli, fma(li, blr, lli))
            rrr = fma(ri, bri, fma(rr, brr, rrr))
            rri = fma(zero - rr, bri, fma(ri, brr, rri))
            lrr = fma(li, bri, fma(lr, brr, lrr))
            lri = fma(zero - lr, bri, fma(li, brr, lri))
            rlr = fma(ri, bli, fma(rr, blr, rlr))
            rli = fma(zero - rr, bli, fma(ri, blr, rli))
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


@compiled
def apply_hrirs(spectra, step, blocks, heads, first_head, head_count, product):
    """The spectra of both ears, packed as ``left + i right``, for some blocks and heads.

    Parameters
    ----------
    spectra : ndarray
        (any, 2 channels, row): block ``b`` is at ``[b * step]``.
    step, blocks : int
        Where the blocks are and how many.
    heads : ndarray
        (all heads, 8, N/2 + padding): real and imaginary part of left channel to left ear, right channel to left
        ear, left channel to right ear, right channel to right ear.
    first_head, head_count : int
        Which heads to apply.
    product : ndarray
        (head_count * blocks, 2 * (N + padding)): written, head after head.
    """
    width = heads.shape[2]
    half = width - 8
    row = spectra.shape[2]
    out_row = product.shape[1]
    flat = spectra.reshape(-1)
    flat_heads = heads.reshape(-1)
    flat_product = product.reshape(-1)
    zero = splat(0.0)
    for tile in range(0, half, _TILE):
        for b in range(blocks):
            for k in range(tile, min(tile + _TILE, half), 8):
                p = b * step * 2 * row + 2 * k
                low = load(flat, p)
                high = load(flat, p + 8)
                lr = evens(low, high)
                li = odds(low, high)
                low = load(flat, p + row)
                high = load(flat, p + row + 8)
                rr = evens(low, high)
                ri = odds(low, high)
                minus_li = zero - li
                minus_ri = zero - ri
                for s in range(head_count):
                    h = (first_head + s) * 8 * width + k
                    ar = load(flat_heads, h)
                    ai = load(flat_heads, h + width)
                    br = load(flat_heads, h + 2 * width)
                    bi = load(flat_heads, h + 3 * width)
                    left_re = fma(minus_ri, bi, fma(rr, br, fma(minus_li, ai, lr * ar)))
                    left_im = fma(ri, br, fma(rr, bi, fma(li, ar, lr * ai)))
                    ar = load(flat_heads, h + 4 * width)
                    ai = load(flat_heads, h + 5 * width)
                    br = load(flat_heads, h + 6 * width)
                    bi = load(flat_heads, h + 7 * width)
                    right_re = fma(minus_ri, bi, fma(rr, br, fma(minus_li, ai, lr * ar)))
                    right_im = fma(ri, br, fma(rr, bi, fma(li, ar, lr * ai)))
                    to = (s * blocks + b) * out_row
                    re = left_re - right_im
                    im = left_im + right_re
                    store(flat_product, to + 2 * k, interleave_low(re, im))
                    store(flat_product, to + 2 * k + 8, interleave_high(re, im))
                    # Bins N-k: the conjugates of both ears. The one of k = 0, bin N, falls into the padding.
                    re = left_re + right_im
                    im = right_re - left_im
                    to += 2 * (2 * half - k - 7)
                    store(flat_product, to, mirror_low(re, im))
                    store(flat_product, to + 8, mirror_high(re, im))
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
    """Add the end of the batch before to the first block of each head, in place; see :func:`overlap_add_int16`."""
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
        Floats by which the next block begins later; a multiple of 8.
    carry : ndarray
        (heads, overlap): what the batch before adds to the first block; replaced by what this one adds to the
        next. ``overlap`` is a multiple of 8 and at most ``block``.
    first : int
        The head that the first rows belong to.
    out : ndarray
        (all heads, any) int16: written from column ``out_start`` on.
    wanted : ndarray
        (all heads,): of how many samples the clipped ones are counted; those behind are past the signal's end.
    clipped : ndarray
        (all heads,): samples outside -32768 .. 32767 are added to it.
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
