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
    interleave_high,
    interleave_low,
    lane,
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
    """
    for b in range(rows.shape[0] // 2):
        left = rows[2 * b]
        right = rows[2 * b + 1]
        at = start + b * block
        count = max(0, min(block, frames - at))
        deinterleave(source, at, count, scale, left, 0, right, 0)
        left[count:block] = 0.0
        right[count:block] = 0.0


@inlined
def _biquad_registers(biquads, table, which):
    """What eight frames of one biquad need, in registers: b0, b1, b2 and the ten columns of its table."""
    at = 80 * which
    return (
        splat(biquads[which, 0]),
        splat(biquads[which, 1]),
        splat(biquads[which, 2]),
        load(table, at),
        load(table, at + 8),
        load(table, at + 16),
        load(table, at + 24),
        load(table, at + 32),
        load(table, at + 40),
        load(table, at + 48),
        load(table, at + 56),
        load(table, at + 64),
        load(table, at + 72),
    )


@inlined
def _biquad8(x, x_before, y_before, registers):
    """Eight outputs of one biquad from eight inputs, the eight inputs and the eight outputs before them.

    First the zeros, as they stand (so that their cancellation at 0 Hz is exact), then the poles: each of the
    eight numbers, and each of the last two outputs, adds a column to the eight outputs. Only the last two steps
    wait for the outputs before.
    """
    b0, b1, b2, c0, c1, c2, c3, c4, c5, c6, c7, past1, past2 = registers
    f = fma(b2, delayed2(x_before, x), fma(b1, delayed1(x_before, x), b0 * x))
    even = repeat(f, 0) * c0
    odd = repeat(f, 1) * c1
    even = fma(repeat(f, 2), c2, even)
    odd = fma(repeat(f, 3), c3, odd)
    even = fma(repeat(f, 4), c4, even)
    odd = fma(repeat(f, 5), c5, odd)
    even = fma(repeat(f, 6), c6, even)
    odd = fma(repeat(f, 7), c7, odd)
    return fma(repeat(y_before, 7), past1, fma(repeat(y_before, 6), past2, even + odd))


@inlined
def _biquad1(biquad, x, past_x, past_y):
    """One output of one biquad, the direct form I; the past is (..., last but one, last)."""
    zeros = biquad[0] * x + biquad[1] * past_x[7] + biquad[2] * past_x[6]
    return zeros - biquad[3] * past_y[7] - biquad[4] * past_y[6]


@compiled
def k_weight(signal, start, frames, biquads, table, state, out, out_start):
    """Two biquads in series over both channels, from ``signal`` to ``out``.

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
        (2 channels, 3, 8), carried from call to call: the last eight inputs, outputs of the first and outputs of
        the second biquad.
    """
    whole = frames - frames % 8
    shelf = _biquad_registers(biquads, table, 0)
    high_pass = _biquad_registers(biquads, table, 1)
    for channel in range(2):
        x = signal[channel]
        y = out[channel]
        past_x = state[channel, 0]
        past_u = state[channel, 1]
        past_v = state[channel, 2]
        x_before = load(past_x, 0)
        u_before = load(past_u, 0)
        v_before = load(past_v, 0)
        for n in range(0, whole, 8):
            eight = load(x, start + n)
            u = _biquad8(eight, x_before, u_before, shelf)
            v = _biquad8(u, u_before, v_before, high_pass)
            store(y, out_start + n, v)
            x_before = eight
            u_before = u
            v_before = v
        store(past_x, 0, x_before)
        store(past_u, 0, u_before)
        store(past_v, 0, v_before)
        for n in range(whole, frames):
            u = _biquad1(biquads[0], x[start + n], past_x, past_u)
            v = _biquad1(biquads[1], u, past_u, past_v)
            y[out_start + n] = v
            for i in range(7):
                past_x[i] = past_x[i + 1]
                past_u[i] = past_u[i + 1]
                past_v[i] = past_v[i + 1]
            past_x[7] = x[start + n]
            past_u[7] = u
            past_v[7] = v


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
def cut_chunks(signal, frames, chunk, rows):
    """Lay the history and a segment out for transforms of twice the chunk's length.

    Parameters
    ----------
    signal : ndarray
        (2, any): ``chunk`` frames of history, then ``frames`` of the segment.
    rows : ndarray
        (1 + chunks, 2, 2 * chunk): history, then the segment's chunks in order; second halves stay zero.

    Returns
    -------
    int
        Chunks that the segment takes.
    """
    used = 0
    for channel in range(2):
        x = signal[channel]
        row = rows[0, channel]
        for n in range(chunk):
            row[n] = x[n]
        used = 0
        for start in range(0, frames, chunk):
            used += 1
            row = rows[used, channel]
            count = min(chunk, frames - start)
            for n in range(count):
                row[n] = x[chunk + start + n]
            for n in range(count, chunk):
                row[n] = 0.0
    return used


@compiled
def keep_history(signal, chunk, frames):
    """Move the last ``chunk`` frames of history plus segment to the front."""
    for channel in range(2):
        x = signal[channel]
        for n in range(chunk):
            x[n] = x[frames + n]


@compiled
def correlate(spectra, sign, weights, chunks, out):
    """Weighted auto- and cross-correlations of one segment, for all heads.

    With ``a_0 .. a_c`` the spectra of consecutive chunks (``a_0`` the history before the segment) and
    ``b_c[k] = a_c[k] + (-1)**k a_{c-1}[k]`` that of a chunk with its predecessor before it, the sums over the
    chunks of ``a_i conj(b_j)`` for the channels i, j are the correlations of the segment with itself and its
    past; ``out[h]`` is their scalar product with ``weights[h]``.

    Parameters
    ----------
    spectra : ndarray
        (1 + chunks, 2 channels, row): history, then chunks.
    sign : ndarray
        (8,): 1, -1, 1, -1, ...
    weights : ndarray
        (heads, 8, N/2 + padding): real and imaginary part for the channel pairs LL, RR, LR, RL.
    chunks : int
        How many chunks to use.
    out : ndarray
        (heads,)
    """
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
def overlap_add(rows, block, overlap, blocks, carry):
    """Add the end of each block to the beginning of the next, in place.

    Parameters
    ----------
    rows : ndarray
        (heads * blocks, any): the blocks of each head in order, floats.
    block : int
        Floats by which the next block begins later; a multiple of 8.
    overlap : int
        Floats that reach into the next block; a multiple of 8, at most ``block``.
    carry : ndarray
        (heads, overlap): the end of the batch before; replaced by this one's.
    """
    width = rows.shape[1]
    flat = rows.reshape(-1)
    ends = carry.reshape(-1)
    for s in range(rows.shape[0] // blocks):
        first = s * blocks * width
        e = s * overlap
        for i in range(0, overlap, 8):
            store(flat, first + i, load(flat, first + i) + load(ends, e + i))
        for b in range(1, blocks):
            at = first + b * width
            end = at - width + block
            for i in range(0, overlap, 8):
                store(flat, at + i, load(flat, at + i) + load(flat, end + i))
        end = first + (blocks - 1) * width + block
        for i in range(0, overlap, 8):
            store(ends, e + i, load(flat, end + i))


@compiled
def gather(rows, first, blocks, block, out):
    """Write the first ``block`` floats of rows ``first .. first + blocks`` one after the other."""
    for b in range(blocks):
        row = rows[first + b]
        for i in range(block):
            out[b * block + i] = row[i]


@compiled
def truncate_int16(rows, first, blocks, block, out, out_start, wanted):
    """Clip to int16, truncate toward zero, and count the clipped samples.

    Parameters
    ----------
    rows : ndarray
        (any, any): rows ``first .. first + blocks``, their first ``block`` floats each, in units of one LSB.
    out : ndarray
        (any,) int16, written from ``out_start`` on.
    wanted : int
        Of how many samples the clipped ones are counted; those behind are not part of the signal.

    Returns
    -------
    int
        Samples outside -32768 .. 32767.
    """
    width = rows.shape[1]
    flat = rows.reshape(-1)
    snap = splat(SNAP)
    low = splat(-32768.0)
    high = splat(32767.0)
    clipped = 0
    for b in range(blocks):
        at = (first + b) * width
        to = out_start + b * block
        peak = splat(0.0)
        for i in range(0, block, 8):
            v = load(flat, at + i)
            peak = larger(peak, magnitude(v))
            v = v + with_sign_of(snap, v)
            store_int16(out, to + i, larger(low, smaller(high, v)))
        if (
            max(
                max(max(lane(peak, 0), lane(peak, 1)), max(lane(peak, 2), lane(peak, 3))),
                max(max(lane(peak, 4), lane(peak, 5)), max(lane(peak, 6), lane(peak, 7))),
            )
            > 32767.0
        ):
            for i in range(at, at + min(block, wanted - b * block)):
                if flat[i] > 32767.0 + SNAP or flat[i] < -32768.0 - SNAP:
                    clipped += 1
    return clipped
