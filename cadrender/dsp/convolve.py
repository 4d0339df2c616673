"""The two passes over a stem: how loud it will be at each head, then its at-mic signal at that loudness.

**Loudness without convolving.** K-weighting and convolution commute, so the stem is K-weighted once for all heads.
The energy that a head's ears receive within a segment ``[a, b)`` follows from the correlations of the weighted
stem and of the HRIRs: with ``v`` the weighted stem up to frame ``p`` and nothing after it, the energy of ``v``
convolved is ``sum_t rho(t) r(t)`` (all correlations of HRIRs and signal), and what falls behind ``p`` is the *tail*,
which depends on the last ``taps - 1`` frames before ``p`` only. The difference between ``p = b`` and ``p = a`` is the
segment's energy::

    E[a, b) = sum_t w(t) sum_{a <= n < b} v[n] v[n - t]  -  tail(b)  +  tail(a)

A segment of 100 ms costs a few shared transforms and one short transform a head, instead of ten for the
convolution itself, two biquads for each ear, and a buffer for the song. Cancellation is harmless: a segment is
compared with gates in a sum of four, rounding errors are 150 dB under the loudest neighbour.

**Convolution** is overlap-add in blocks. The gain is known by then and part of the HRIRs' spectra, so that each
block goes from the inverse transform straight to int16.
"""

import numpy as np

from cadrender.dsp import fft, kernels
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import KWeighting, full_scale, gated_loudness, gating, load_planar

# Rows of a batch of inverse transforms: enough to make calls cheap, few enough to stay in the L2 cache.
_ROWS = 16

_SIGN = np.tile([1.0, -1.0], 4)


def loudness_before_and_after(signal: np.ndarray, samplerate: int, heads: Heads) -> tuple[float, np.ndarray]:
    """Integrated loudness of a stem and of what each head receives of it.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    samplerate : int
        In hertz.
    heads : Heads
        The HRIRs.

    Returns
    -------
    before : float
        LUFS of the stem; minus infinity for silence.
    after : ndarray
        (heads,): LUFS of the stem convolved with each head's HRIRs and cut to its own length.

    Raises
    ------
    ValueError
        If the signal is shorter than 400 ms.
    """
    blocks = gating(len(signal), samplerate)
    edges = blocks.edges.tolist()
    length = heads.loudness_length(blocks.longest_segment)
    chunk = length // 2
    chunks = -(-blocks.longest_segment // chunk)
    forward = fft.real_forward(length, 2 * (1 + chunks))
    spectra = forward.output.view(np.float64).reshape(1 + chunks, 2, -1)
    rows = forward.input.reshape(1 + chunks, 2, length)
    inverse = fft.complex_inverse(length, len(heads), "tail")
    products = inverse.input.view(np.float64)
    tails_of = inverse.output.view(np.float64)
    heads_spectra = heads.delayed_spectra(length)
    weights = heads.weights(length)

    weighting = KWeighting(samplerate)
    # `chunk` frames of history, then the segment.
    plain = np.zeros((2, chunk + blocks.longest_segment))
    weighted = np.zeros((2, chunk + blocks.longest_segment))
    scale = 1.0 / full_scale(signal.dtype)
    own = np.zeros(len(edges) - 1)
    received = np.zeros((len(edges) - 1, len(heads)))
    tails = np.zeros((2, len(heads)))
    correlated = np.zeros(len(heads))
    for i, (start, stop) in enumerate(zip(edges, [*edges[1:], edges[-1]], strict=True)):
        frames = stop - start
        load_planar(signal, start, frames, scale, plain, chunk)
        weighting(plain, chunk, frames, weighted, chunk)
        used = kernels.cut_chunks(weighted, frames, chunk, rows)
        forward.execute()
        kernels.apply_hrirs(spectra, 1, 1, heads_spectra, 0, len(heads), products)
        inverse.execute()
        kernels.row_energies(tails_of, 2 * chunk, 2 * length, tails[i % 2])
        tails[i % 2] /= length * length
        if i > 0:
            received[i - 1] += tails[(i - 1) % 2] - tails[i % 2]
        if frames:
            own[i] = kernels.energy(weighted, chunk, chunk + frames)
            kernels.correlate(spectra, _SIGN, weights, used, correlated)
            received[i] = correlated
            kernels.keep_history(weighted, chunk, frames)
    after = [gated_loudness(blocks, received[:, h]) for h in range(len(heads))]
    return gated_loudness(blocks, own), np.array(after)


def convolve(signal: np.ndarray, heads: Heads, gains: np.ndarray, pcm16: bool = True):
    """Apply each head's HRIRs and gain to a stem, piece by piece.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    heads : Heads
        The HRIRs.
    gains : ndarray
        (heads,): linear factors.
    pcm16 : bool
        Whether to give int16 (clipped, truncated toward zero) or float64.

    Yields
    ------
    head : int
        Which head the piece belongs to; each head's pieces come in order.
    piece : ndarray
        (n, 2) int16 or float64; valid until the next piece is asked for.
    clipped : int
        Samples of an int16 piece that had to be clipped.
    """
    frames = len(signal)
    length, block = heads.block()
    count = len(heads)
    groups = -(-count // 4)
    group = -(-count // groups)
    blocks = max(1, min(_ROWS // group, -(-frames // block)))
    overlap = -(-(heads.trimmed_taps - 1) // 4) * 8
    forward = fft.real_forward(length, 2 * blocks, "block")
    forward.input[:] = 0.0  # an earlier call may have had longer blocks
    spectra = forward.output.view(np.float64).reshape(blocks, 2, -1)
    inverse = fft.complex_inverse(length, group * blocks, "block")
    products = inverse.input.view(np.float64)
    rows = inverse.output.view(np.float64)
    unit = 32768.0 if pcm16 else 1.0
    filters = heads.spectra(length) * (np.asarray(gains) * (unit / length))[:, None, None]
    carry = np.zeros((count, overlap))
    scale = 1.0 / full_scale(signal.dtype)
    batch = blocks * block
    piece = np.empty((batch, 2), np.int16 if pcm16 else np.float64)

    for head, delay in enumerate(heads.delays):
        if delay:
            yield head, np.zeros((min(delay, frames), 2), piece.dtype), 0
    for start in range(0, frames, batch):
        kernels.cut_blocks(signal.reshape(-1), start, frames, block, scale, forward.input)
        forward.execute()
        for first in range(0, count, group):
            members = min(group, count - first)
            kernels.apply_hrirs(spectra, 1, blocks, filters, first, members, products)
            inverse.execute()
            kernels.overlap_add(rows, 2 * block, overlap, blocks, carry[first : first + members])
            for member in range(members):
                head = first + member
                wanted = min(batch, frames - heads.delays[head] - start)
                if wanted <= 0:
                    continue
                clipped = 0
                if pcm16:
                    clipped = kernels.truncate_int16(
                        rows, member * blocks, blocks, 2 * block, piece.reshape(-1), 0, 2 * wanted
                    )
                else:
                    kernels.gather(rows, member * blocks, blocks, 2 * block, piece.reshape(-1))
                yield head, piece[:wanted], clipped
