"""Integrated loudness (ITU-R BS.1770-4, as ``pyloudnorm.Meter(rate)`` computes it).

See section 3 of ``docs/contract.md``.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cadrender.dsp import kernels
from cadrender.dsp.arrays import Floats, Samples, checked_samplerate, checked_signal

BLOCK_SECONDS = 0.4
OVERLAP = 0.75
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU

# Frames K-weighted at once: their float64 values stay in the L2 cache.
_STRIDE = 16 * 1024

# Most frames per lane of the K-weighting.
_QUARTER = 4096

# Filter states below this count as zero: otherwise seconds of digital silence decay into denormals, which are a
# hundred times slower. It is 2000 dB below full scale.
_NOTHING = 1e-100


@functools.cache
def k_weighting(samplerate: int) -> Floats:
    """The two biquads of the K-weighting at a sample rate.

    The RBJ cookbook's high shelf (+4 dB, Q = 1/sqrt(2), 1500 Hz) and high pass (Q = 0.5, 38 Hz), as in pyloudnorm;
    they differ slightly from the tabulated filter of the recommendation.

    Parameters
    ----------
    samplerate : int
        In hertz.

    Returns
    -------
    ndarray
        (2, 5): b0, b1, b2, a1, a2 of the shelf and of the high pass, a0 = 1.

    References
    ----------
    R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".
    """
    gain = 10 ** (4.0 / 40.0)
    w = 2.0 * np.pi * 1500.0 / samplerate
    alpha = np.sin(w) / (2.0 * (1 / np.sqrt(2)))
    c, root = np.cos(w), 2 * np.sqrt(gain) * alpha
    shelf = np.array(
        [
            gain * ((gain + 1) + (gain - 1) * c + root),
            -2 * gain * ((gain - 1) + (gain + 1) * c),
            gain * ((gain + 1) + (gain - 1) * c - root),
            2 * ((gain - 1) - (gain + 1) * c),
            (gain + 1) - (gain - 1) * c - root,
        ]
    ) / ((gain + 1) - (gain - 1) * c + root)
    w = 2.0 * np.pi * 38.0 / samplerate
    alpha = np.sin(w) / (2.0 * 0.5)
    c = np.cos(w)
    high_pass = np.array([(1 + c) / 2, -(1 + c), (1 + c) / 2, -2 * c, 1 - alpha]) / (1 + alpha)
    return np.array([shelf, high_pass])


@functools.cache
def k_weighting_responses(samplerate: int) -> Floats:
    """The K-weighting's output without further input.

    Returns
    -------
    ndarray
        (4, 2, _QUARTER): see :func:`cadrender.dsp.kernels.k_weight`.
    """
    shelf, high_pass = k_weighting(samplerate).tolist()
    responses = np.empty((4, 2, _QUARTER))
    for response, (u1, u2, v1, v2) in zip(responses, np.eye(4).tolist(), strict=True):
        for n in range(_QUARTER):
            u = -shelf[3] * u1 - shelf[4] * u2
            zeros = high_pass[0] * u + high_pass[1] * u1 + high_pass[2] * u2
            v = zeros - high_pass[3] * v1 - high_pass[4] * v2
            response[:, n] = u, v
            u1, u2, v1, v2 = u, u1, v, v1
    return responses


class KWeighting:
    """A K-weighting filter, fed piece by piece.

    Parameters
    ----------
    samplerate : int
        In hertz.
    """

    def __init__(self, samplerate: int) -> None:
        self._biquads = k_weighting(samplerate)
        self._responses = k_weighting_responses(samplerate)
        self._state = np.zeros((2, 6))

    def __call__(self, signal: Floats, start: int, frames: int, out: Floats, out_start: int) -> None:
        """Filter ``frames`` of ``signal`` (2, any) into ``out`` (2, any); the state persists between calls."""
        if np.abs(self._state).max() < _NOTHING:
            self._state[:] = 0.0
        kernels.k_weight(signal, start, frames, self._biquads, self._responses, self._state, out, out_start)


@dataclass(frozen=True)
class Gating:
    """The 400 ms blocks of a signal, as runs of the segments between block edges.

    Attributes
    ----------
    edges : ndarray
        (segments + 1,) int64: frames at which a block begins or ends, ascending, within the signal.
    first, last : ndarray
        (blocks,) int64: block j is the segments ``first[j] .. last[j] - 1``.
    samplerate : int
        In hertz.
    """

    edges: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    samplerate: int

    @property
    def longest_segment(self) -> int:
        """Frames of the longest segment."""
        return int(np.diff(self.edges).max())


def gating(frames: int, samplerate: int) -> Gating:
    """Cut a signal into BS.1770 blocks, with pyloudnorm's rounding.

    Parameters
    ----------
    frames : int
        Length of the signal.
    samplerate : int
        In hertz.

    Raises
    ------
    ValueError
        If the signal is shorter than one block (400 ms).
    """
    if frames < BLOCK_SECONDS * samplerate:
        raise ValueError(
            f"{frames} frames at {samplerate} Hz: loudness is defined from 400 ms on, which are "
            f"{math.ceil(BLOCK_SECONDS * samplerate)}"
        )
    step = 1.0 - OVERLAP
    blocks = int(np.round((frames / samplerate - BLOCK_SECONDS) / (BLOCK_SECONDS * step)) + 1)
    j = np.arange(blocks)
    # The order of these operations affects the last bit, and with it an edge at rates other than 44 100 Hz.
    starts = np.minimum((BLOCK_SECONDS * (j * step) * samplerate).astype(np.int64), frames)
    stops = np.minimum((BLOCK_SECONDS * (j * step + 1) * samplerate).astype(np.int64), frames)
    edges = np.union1d(starts, stops)
    return Gating(edges, np.searchsorted(edges, starts), np.searchsorted(edges, stops), samplerate)


def gated_loudness(blocks: Gating, energies: Floats) -> float:
    """Integrated loudness from the K-weighted energy of each segment.

    Parameters
    ----------
    blocks : Gating
        The signal's blocks.
    energies : ndarray
        (segments,): sum of squares of both channels, full scale 1.

    Returns
    -------
    float
        LUFS; minus infinity when no block is above the absolute gate.
    """
    sums = np.zeros(len(blocks.first))
    for offset in range(int((blocks.last - blocks.first).max(initial=0))):
        inside = blocks.first + offset < blocks.last
        sums[inside] += energies[blocks.first[inside] + offset]
    mean_squares = np.maximum(sums, 0.0) / (BLOCK_SECONDS * blocks.samplerate)
    with np.errstate(divide="ignore"):
        loudness = -0.691 + 10.0 * np.log10(mean_squares)
    above = loudness >= ABSOLUTE_GATE
    if not above.any():
        return -math.inf
    relative = -0.691 + 10.0 * math.log10(mean_squares[above].mean()) + RELATIVE_GATE
    counted = (loudness > relative) & (loudness > ABSOLUTE_GATE)
    if not counted.any():
        return -math.inf
    return -0.691 + 10.0 * math.log10(mean_squares[counted].mean())


def load_planar(signal: Samples, start: int, frames: int, scale: float, out: Floats, out_start: int) -> None:
    """Copy frames of an interleaved signal (frames, 2) to the two rows of ``out``, times ``scale``."""
    kernels.deinterleave(signal.reshape(-1), start, frames, scale, out[0], out_start, out[1], out_start)


def full_scale(dtype: np.dtype[Any]) -> float:
    """The value of ``dtype`` that represents 1.0: 2**15, 2**31, or 1 for floating point."""
    return 2.0 ** (8 * dtype.itemsize - 1) if dtype.kind == "i" else 1.0


def integrated_loudness(signal: npt.ArrayLike, samplerate: int) -> float:
    """Integrated loudness of a stereo signal.

    Parameters
    ----------
    signal : array_like
        (frames, 2), float64, float32, int32 or int16; integers are fractions of their full scale.
    samplerate : int
        In hertz.

    Returns
    -------
    float
        LUFS; minus infinity when nothing is above the absolute gate of -70 LUFS.

    Raises
    ------
    TypeError
        If the signal has another type; the byte order and memory layout do not matter.
    ValueError
        If it is shorter than 400 ms or not stereo, or holds values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> tone = np.sin(2 * np.pi * 997 * np.arange(48000) / 48000)
    >>> round(integrated_loudness(np.stack([tone, 0 * tone], axis=1), 48000), 2)
    -3.05
    """
    stereo = checked_signal("signal", signal)
    samplerate = checked_samplerate(samplerate)
    blocks = gating(len(stereo), samplerate)
    weighting = KWeighting(samplerate)
    plain = np.empty((2, _STRIDE))
    weighted = np.empty((2, _STRIDE))
    energies = np.zeros(len(blocks.edges) - 1)
    segment = 0
    for start in range(0, int(blocks.edges[-1]), _STRIDE):
        frames = min(_STRIDE, int(blocks.edges[-1]) - start)
        load_planar(stereo, start, frames, 1.0 / full_scale(stereo.dtype), plain, 0)
        weighting(plain, 0, frames, weighted, 0)
        segment = kernels.segment_energies(weighted, start, frames, blocks.edges, segment, energies)
    return gated_loudness(blocks, energies)
