"""What the tests compare the engine with: the repository's only reference, and a slow twin of every kernel.

A twin has its kernel's name and arguments, and does the same with plain loops and NumPy functions.
"""

import numpy as np

from benchmarks.reference import convolve, loudness, render, to_pcm16

__all__ = ["convolve", "loudness", "render", "render_float", "to_pcm16"]

# See cadrender.dsp.kernels.
SNAP = 2.0**-30


def render_float(signal, left_hrir, right_hrir, samplerate):
    """`render` for a (frames, 2) float64 stem, step by step.

    Returns the at-mic signal as float64 and as int16, the number of clipped samples, and the loudness before and
    after the HRIRs.
    """
    rendered = convolve(signal, left_hrir, right_hrir)
    before, after = loudness(signal, samplerate), loudness(rendered, samplerate)
    if not (np.isfinite(before) and np.isfinite(after)):
        zeros = np.zeros_like(rendered)
        return zeros, zeros.astype(np.int16), 0, before, after
    scaled = rendered * 10 ** ((before - after) / 20)
    return scaled, *to_pcm16(scaled), before, after


def deinterleave(source, start, frames, scale, left, left_at, right, right_at):
    for n in range(frames):
        left[left_at + n] = float(source[2 * (start + n)]) * scale
        right[right_at + n] = float(source[2 * (start + n) + 1]) * scale


def cut_blocks(source, start, frames, block, scale, rows):
    silent = True
    for b in range(len(rows) // 2):
        for n in range(block):
            at = start + b * block + n
            for channel in range(2):
                value = float(source[2 * at + channel]) if at < frames else 0.0
                rows[2 * b + channel, n] = value * scale
                silent = silent and value == 0
    return silent


def k_weight(signal, start, frames, biquads, responses, state, out, out_start):
    for channel in range(2):
        x1, x2, u1, u2, v1, v2 = state[channel]
        for n in range(frames):
            x = signal[channel, start + n]
            b0, b1, b2, a1, a2 = biquads[0]
            u = b0 * x + b1 * x1 + b2 * x2 - a1 * u1 - a2 * u2
            b0, b1, b2, a1, a2 = biquads[1]
            v = b0 * u + b1 * u1 + b2 * u2 - a1 * v1 - a2 * v2
            out[channel, out_start + n] = v
            x1, x2, u1, u2, v1, v2 = x, x1, u, u1, v, v1
        state[channel] = x1, x2, u1, u2, v1, v2


def energy(signal, start, stop):
    return float(sum(x * x for channel in signal for x in channel[start:stop]))


def segment_energies(signal, start, frames, edges, segment, energies):
    for i in range(len(energies)):
        for n in range(max(edges[i], start), min(edges[i + 1], start + frames)):
            energies[i] += signal[0, n - start] ** 2 + signal[1, n - start] ** 2
    return int(np.searchsorted(edges[1:], start + frames, side="right"))


def cut_chunks(signal, edges, chunk, rows):
    for segment in range(len(edges) - 1):
        start, stop = edges[segment], edges[segment + 1]
        for channel in range(2):
            rows[segment, 0, channel, :chunk] = signal[channel, start - chunk : start]
            for n in range(start, stop):
                part, column = divmod(n - start, chunk)
                rows[segment, 1 + part, channel, column] = signal[channel, n]
                rows[segment, 1 + part, channel, column + 1 : chunk] = 0.0


def keep_history(signal, chunk, frames):
    signal[:, :chunk] = signal[:, frames : frames + chunk].copy()


def is_silent(signal, start, stop):
    return not any(x != 0.0 for channel in signal for x in channel[start:stop])


def correlate(spectra, sign, weights, edges, chunk, out):
    """The sum over channel pairs described in the kernel's docstring, complex and bin by bin."""
    bins = weights.shape[2] - 7
    spectra = spectra.view(np.complex128)[..., :bins]
    k = np.arange(bins)
    for segment in range(len(edges) - 1):
        chunks = -(-(edges[segment + 1] - edges[segment]) // chunk)
        for head in range(len(weights)):
            result = 0.0
            for pair, (i, j) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
                w = weights[head, 2 * pair, :bins] + 1j * weights[head, 2 * pair + 1, :bins]
                for c in range(1, 1 + chunks):
                    a = spectra[segment, c, i]
                    b = spectra[segment, c, j] + (-1.0) ** k * spectra[segment, c - 1, j]
                    product = a * np.conj(b)
                    result += np.sum(product.real * w.real + product.imag * w.imag)
            out[segment, head] = result


def apply_hrirs(spectra, step, blocks, heads, first_head, head_count, product):
    bins = heads.shape[2] - 7
    size = 2 * (bins - 1)
    spectra = spectra.view(np.complex128)[..., :bins]
    product = product.view(np.complex128)
    for s in range(head_count):
        h = heads[first_head + s, :, :bins]
        left_left, right_left, left_right, right_right = h[0::2] + 1j * h[1::2]
        for b in range(blocks):
            left, right = spectra[b * step]
            ears = np.stack([left * left_left + right * right_left, left * left_right + right * right_right])
            signal = np.fft.irfft(ears, size)
            product[s * blocks + b, :size] = np.fft.fft(signal[0] + 1j * signal[1])


def row_energies(rows, start, stop, out):
    for r, row in enumerate(rows):
        out[r] = sum(x * x for x in row[start:stop])


def _overlap_added(rows, blocks, block, carry):
    """Each head's blocks summed, carry included; `carry` becomes what extends further."""
    overlap = carry.shape[1]
    for s in range(len(carry)):
        total = np.zeros(blocks * block + overlap)
        total[:overlap] += carry[s]
        for b in range(blocks):
            total[b * block : (b + 1) * block + overlap] += rows[s * blocks + b, : block + overlap]
        carry[s] = total[blocks * block :]
        yield s, total[: blocks * block]


def overlap_add_int16(rows, blocks, block, carry, first, out, out_start, wanted, clipped):
    for s, total in _overlap_added(rows, blocks, block, carry):
        for i, value in enumerate(total):
            outside = value > 32767.0 + SNAP or value < -32768.0 - SNAP
            clipped[first + s] += outside and i < wanted[first + s]
            whole = np.copysign(np.floor(abs(value) + SNAP), value)
            out[first + s, out_start + i] = min(max(whole, -32768.0), 32767.0)


def overlap_add_float64(rows, blocks, block, carry, first, out, out_start):
    for s, total in _overlap_added(rows, blocks, block, carry):
        out[first + s, out_start : out_start + len(total)] = total


# The parts' own transforms: complex numbers in rows of eight real and eight imaginary parts.


def unpacked(z):
    rows = np.asarray(z).reshape(-1, 2, 8)
    return (rows[:, 0] + 1j * rows[:, 1]).reshape(-1)


def packed(values):
    rows = np.asarray(values).reshape(-1, 8)
    return np.stack([rows.real, rows.imag], axis=1).reshape(-1)


def _decimated(x, radix):
    """One step of decimation in frequency over a row: each remainder of the bin number by the radix in turn."""
    step = len(x) // radix
    out = np.zeros(len(x), complex)
    for q in range(radix):
        for n in range(step):
            total = sum(x[n + j * step] * np.exp(-2j * np.pi * q * j / radix) for j in range(radix))
            out[q * step + n] = total * np.exp(-2j * np.pi * q * n / len(x))
    return out


def _undecimated(x, radix):
    """Undo `_decimated`, up to a factor of the radix."""
    step = len(x) // radix
    out = np.zeros(len(x), complex)
    for j in range(radix):
        for n in range(step):
            out[n + j * step] = sum(
                x[q * step + n] * np.exp(2j * np.pi * (q * n / len(x) + q * j / radix)) for q in range(radix)
            )
    return out


def _channels(z):
    """The registers of each channel, eight numbers each: one channel in float64, two in float32."""
    rows = z.reshape(-1, 8 if z.dtype == np.float64 else 16)
    return [rows[:, i : i + 8] for i in range(0, rows.shape[1], 8)]


def _each(z, registers, span, step, radix):
    """Replace each ``span`` registers of ``z``."""
    for rows in _channels(z):
        for first in range(0, registers, span):
            part = rows[first : first + span]
            part[:] = packed(step(unpacked(part), radix)).reshape(-1, 8)


def forward_eight(z, registers, span, twiddles, t0):
    _each(z, registers, span, _decimated, 8)


def forward_four(z, registers, span, twiddles, t0):
    _each(z, registers, span, _decimated, 4)


def inverse_eight(z, registers, span, twiddles, t0):
    _each(z, registers, span, _undecimated, 8)


def inverse_four(z, registers, span, twiddles, t0):
    _each(z, registers, span, _undecimated, 4)


def first_left(a, a_at, b, b_at, registers, z, twiddles, channels=(0,)):
    for rows, channel in zip(_channels(z), channels, strict=True):
        for n in range(4 * registers):
            rows[n // 8 * 2, n % 8] = a[a_at + 2 * n + channel]
            rows[n // 8 * 2 + 1, n % 8] = b[b_at + 2 * n + channel]
    forward_eight(z, registers, registers, twiddles, 0)


def first_right(a, a_at, b, b_at, registers, z, twiddles):
    first_left(a, a_at, b, b_at, registers, z, twiddles, (1,))


def first_both(a, a_at, b, b_at, registers, z, twiddles):
    first_left(a, a_at, b, b_at, registers, z, twiddles, (0, 1))


def _transposed(values):
    return values.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1)


def forward_tiles(z, registers, twiddles, t):
    forward_four(z, registers, 8, twiddles, t)
    for rows in _channels(z):
        values = np.concatenate([np.fft.fft(row) for row in unpacked(rows).reshape(-1, 8)])
        rows[:] = packed(_transposed(values)).reshape(-1, 8)


def _inverse_tiles(z, registers, twiddles, t):
    for rows in _channels(z):
        values = _transposed(unpacked(rows))
        values = np.concatenate([8 * np.fft.ifft(row) for row in values.reshape(-1, 8)])
        rows[:] = packed(values).reshape(-1, 8)
    inverse_four(z, registers, 8, twiddles, t)


def multiply(left, right, registers, twiddles, t, hrirs, *soon):
    forward_tiles(left, registers, twiddles, t)
    forward_tiles(right, registers, twiddles, t)
    a, b = unpacked(left), unpacked(right)
    h = hrirs.reshape(-1, 4, 2, 8)
    left_left, right_left, left_right, right_right = (unpacked(h[:, i]) for i in range(4))
    left[:] = packed(a * left_left + b * right_left)
    right[:] = packed(a * left_right + b * right_right)
    _inverse_tiles(left, registers, twiddles, t)
    _inverse_tiles(right, registers, twiddles, t)


def multiply_both(z, registers, twiddles, t, hrirs, *soon):
    forward_tiles(z, registers, twiddles, t)
    left, right = _channels(z)
    a, b = unpacked(left), unpacked(right)
    h = hrirs.reshape(-1, 2, 2, 2, 8)
    same, other = h[:, 0], h[:, 1]
    left[:] = packed(a * unpacked(same[:, :, 0]) + b * unpacked(other[:, :, 0])).reshape(-1, 8)
    right[:] = packed(b * unpacked(same[:, :, 1]) + a * unpacked(other[:, :, 1])).reshape(-1, 8)
    _inverse_tiles(z, registers, twiddles, t)


def _ears(left, right, p, n):
    """Both ears' values of the ``n``-th frame after place ``p``."""
    channels = [*_channels(left), *_channels(right)] if left.dtype == np.float64 else _channels(left)
    return [float(rows[p + n // 8 * 2, n % 8]) for rows in channels]


def put_pcm(left, right, p, gain, out, at, frames, rest):
    unit = 1 if out.dtype == np.int16 else 32768
    for n in range(frames):
        for ear, value in enumerate(_ears(left, right, p, n)):
            whole = np.copysign(np.floor(abs(value * gain) + SNAP), value)
            out[at + 2 * n + ear] = int(min(max(whole, -32768.0), 32767.0)) / unit


def put_floats(left, right, p, gain, out, at, frames, rest):
    for n in range(frames):
        for ear, value in enumerate(_ears(left, right, p, n)):
            out[at + 2 * n + ear] = value * gain


put_both_pcm, put_both_floats = put_pcm, put_floats


def cut_window(source, start, first, last, window):
    for i in range(len(window)):
        window[i] = source[start + i] if first <= start + i < last else 0


def bin_order(length, passes):
    """The bin at each place of a whole spectrum."""
    bins, span, factor = np.zeros(length, int), length, 1
    places = np.arange(length)
    for radix in [*(int(radix) for radix in passes[:, 0]), 8]:
        span //= radix
        bins += factor * (places // span % radix)
        factor *= radix
    return bins.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1)
