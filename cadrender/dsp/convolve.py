"""The two passes over a stem: its loudness at each head, then its at-mic signal with the resulting gain.

**Loudness without convolving.** K-weighting and convolution commute, so the stem is K-weighted once for all heads.
The energy that a head's ears receive within a segment ``[a, b)`` follows from the correlations of the weighted
stem and of the HRIRs: with ``v`` the weighted stem up to frame ``p`` and nothing after it, the energy of ``v``
convolved is ``sum_t rho(t) r(t)`` (all correlations of HRIRs and signal), and what spills past ``p`` is the *tail*,
which depends only on the last ``taps - 1`` frames before ``p``. The difference between ``p = b`` and ``p = a`` is the
segment's energy::

    E[a, b) = sum_t w(t) sum_{a <= n < b} v[n] v[n - t]  -  tail(b)  +  tail(a)

A 100 ms segment costs a few shared transforms and one short transform per head, instead of ten for the
convolution itself, two biquads per ear, and a buffer for the song. Cancellation is harmless: a segment is
compared with gates in a sum of four, and rounding errors are 150 dB below the loudest neighbour.

**Convolution** is overlap-add in blocks. The gain is known by then and folded into the HRIRs' spectra, so each
block goes from the inverse transform straight to int16.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cadrender.dsp import fft, kernels
from cadrender.dsp.arrays import Floats, Samples
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import KWeighting, full_scale, gated_loudness, gating, load_planar

# Rows per batch of inverse transforms: enough to make calls cheap, few enough to stay in the L2 cache.
_ROWS = 8

# Floats per batch of forward transforms in the first pass, for the same reason.
_BATCH_FLOATS = 64 * 1024

# Frames of a head's signal yielded at once: enough to make writes cheap.
_PIECE = 64 * 1024

_SIGN = np.tile([1.0, -1.0], 4)


def loudness_before_and_after(signal: Samples, samplerate: int, heads: Heads) -> tuple[float, Floats]:
    """Integrated loudness of a stem and of what each head receives.

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
    # One extra, empty segment: the tail past the last edge is subtracted from the segment before it.
    edges = np.append(blocks.edges, blocks.edges[-1])
    count = len(heads)
    length = heads.loudness_length(blocks.longest_segment)
    chunk = length // 2
    chunks = -(-blocks.longest_segment // chunk)
    batch = max(1, min(_ROWS // count, _BATCH_FLOATS // (2 * length * (1 + chunks)), len(edges) - 1))
    forward = fft.real_forward(length, batch * (1 + chunks) * 2)
    rows = forward.input.reshape(batch, 1 + chunks, 2, length)
    spectra = forward.output.view(np.float64).reshape(batch, 1 + chunks, 2, -1)
    flat_spectra = spectra.reshape(batch * (1 + chunks), 2, -1)
    inverse = fft.complex_inverse(length, count * batch, "tail")
    products = inverse.input.view(np.float64)
    responses = inverse.output.view(np.float64)
    filters = heads.delayed_spectra(length) / length
    weights = heads.weights(length)

    weighting = KWeighting(samplerate)
    scale = 1.0 / full_scale(signal.dtype)
    plain = np.empty((2, batch * blocks.longest_segment))
    weighted = np.zeros((2, chunk + batch * blocks.longest_segment))  # history, then a batch of segments
    own = np.zeros(len(edges) - 1)
    correlated = np.zeros((len(edges) - 1, count))
    tails = np.zeros((len(edges) - 1, count))
    tails_of_batch = np.zeros(count * batch)
    for first in range(0, len(edges) - 1, batch):
        local = edges[first : first + batch + 1] - edges[first] + chunk
        frames = int(local[-1]) - chunk
        segments = len(local) - 1
        load_planar(signal, int(edges[first]), frames, scale, plain, 0)
        weighting(plain, 0, frames, weighted, chunk)
        if not kernels.is_silent(weighted, 0, chunk + frames):
            kernels.segment_energies(weighted, 0, chunk + frames, local, 0, own[first : first + segments])
            kernels.cut_chunks(weighted, local, chunk, rows)
            forward.execute()
            kernels.correlate(spectra, _SIGN, weights, local, chunk, correlated[first : first + segments])
            kernels.apply_hrirs(flat_spectra, 1 + chunks, batch, filters, 0, count, products)
            inverse.execute()
            kernels.row_energies(responses, 2 * chunk, 2 * length, tails_of_batch)
            tails[first : first + segments] = tails_of_batch.reshape(count, batch).T[:segments]
        kernels.keep_history(weighted, chunk, frames)
    received = correlated[:-1] - tails[1:] + tails[:-1]
    after = [gated_loudness(blocks, received[:, head]) for head in range(count)]
    return gated_loudness(blocks, own[:-1]), np.array(after)


def convolve(
    signal: Samples, heads: Heads, gains: npt.ArrayLike, pcm16: bool = True, keep: bool = False
) -> Iterator[tuple[int, Samples, int]]:
    """Apply each head's HRIRs and gain to a stem, piece by piece.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    heads : Heads
        The HRIRs.
    gains : array_like
        (heads,): linear factors.
    pcm16 : bool
        Whether pieces are int16 (clipped, truncated toward zero) or float64.
    keep : bool
        Whether all pieces stay valid.

    Yields
    ------
    head : int
        Head the piece belongs to; each head's pieces come in order. All but the last have a multiple of 4
        frames.
    piece : ndarray
        (n, 2) int16 or float64; valid until the next piece, unless `keep` is set.
    clipped : int
        Clipped PCM values of an int16 piece.
    """
    frames = len(signal)
    blocks = _Blocks(signal, heads, gains, pcm16)
    # Frames per piece, in whole batches.
    capacity = blocks.batch * max(1, min(_PIECE // blocks.batch, -(-frames // blocks.batch)))
    kept = -(-frames // capacity) if keep else 1
    memory = np.empty((kept, len(heads), capacity, 2), np.int16 if pcm16 else np.float64)
    for head, delay in enumerate(heads.delays):
        if delay:
            yield head, np.zeros((min(delay, frames), 2), memory.dtype), 0
    for number, piece in enumerate(range(0, frames, capacity)):
        pieces = memory[number % kept]
        flat_pieces = pieces.reshape(len(heads), -1)
        for start in range(piece, min(piece + capacity, frames), blocks.batch):
            blocks.convolve(start, flat_pieces, 2 * (start - piece))
        for head, delay in enumerate(heads.delays):
            frames_of_piece = min(capacity, frames - delay - piece)
            if frames_of_piece > 0:
                yield head, pieces[head, :frames_of_piece], int(blocks.clipped[head])
        blocks.clipped[:] = 0


def batch_frames(heads: Heads) -> int:
    """Frames in a whole number of convolution batches, whatever the number of heads.

    A signal's last batch costs as much as a full one.
    """
    return _ROWS * heads.block().block


class _Blocks:
    """A stem on its way through all heads, a batch of blocks at a time.

    Heads go through the inverse transforms in groups, so that a group's rows stay in the cache.

    Attributes
    ----------
    batch : int
        Frames of a batch.
    clipped : ndarray
        (heads,): number of clipped samples; zeroed by the caller.
    """

    def __init__(self, signal: Samples, heads: Heads, gains: npt.ArrayLike, pcm16: bool) -> None:
        count = len(heads)
        groups = -(-count // 4)
        group = -(-count // groups)
        self._samples, self._frames = signal.reshape(-1), len(signal)
        self._grid = grid = heads.block()
        self._blocks = max(1, min(_ROWS // group, grid.blocks(self._frames)))
        self._forward = fft.real_forward(grid.length, 2 * self._blocks, "block")
        self._inverse = fft.complex_inverse(grid.length, group * self._blocks, "block")
        self._spectra = self._forward.output.view(np.float64).reshape(self._blocks, 2, -1)
        self._products = self._inverse.input.view(np.float64)
        self._rows = self._inverse.output.view(np.float64)
        self._scale = 1.0 / full_scale(signal.dtype)
        unit = (32768.0 if pcm16 else 1.0) / grid.length
        self._filters = heads.spectra(grid.length) * (np.asarray(gains) * unit)[:, None, None]
        carry = np.zeros((count, -(-(heads.trimmed_taps - 1) // 4) * 8))
        self._groups = [(first, carry[first : first + group]) for first in range(0, count, group)]
        self._delays = np.array(heads.delays)
        self._pcm16 = pcm16
        self._before_silent = True
        self.batch = self._blocks * grid.block
        self._inside = self._frames - max(heads.delays) - self.batch  # up to here a batch is all signal
        self._all = np.full(count, 2 * self.batch)
        self.clipped = np.zeros(count, np.int64)

    def convolve(self, start: int, out: Samples, at: int) -> None:
        """Write the batch starting at frame ``start`` to ``out`` (heads, any), starting at column ``at``."""
        forward, block, blocks, rows = self._forward, self._grid.block, self._blocks, self._rows
        if forward.filled > block:  # by another call with longer blocks, perhaps since the last batch
            forward.input[:, block:] = 0.0
        forward.filled = block
        silent = kernels.cut_blocks(self._samples, start, self._frames, block, self._scale, forward.input)
        if silent and self._before_silent:
            out[:, at : at + 2 * self.batch] = 0
            return
        self._before_silent = silent
        forward.execute()
        wanted = self._all
        if start > self._inside:  # some samples lie outside the signal
            wanted = 2 * np.clip(self._frames - self._delays - start, 0, self.batch)
        for first, carry in self._groups:
            kernels.apply_hrirs(self._spectra, 1, blocks, self._filters, first, len(carry), self._products)
            self._inverse.execute()
            if self._pcm16:
                kernels.overlap_add_int16(
                    rows, blocks, 2 * block, carry, first, out, at, wanted, self.clipped
                )
            else:
                kernels.overlap_add_float64(rows, blocks, 2 * block, carry, first, out, at)
