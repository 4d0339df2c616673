"""The gain mixer: weighted sums of four stems, and their loudness, block by block.

Two passes: the first measures the mixture and every weighted sum (:class:`MixMeter`), the second scales each sum
straight to int16 (:func:`mix_int16`). A single sum is kept from the first pass; several are computed again from
their stems. A block stays in the L2 cache until it is finished.
"""

import numpy as np
import numpy.typing as npt

from cadrender.dsp import mix_kernels
from cadrender.dsp.arrays import Floats, Samples
from cadrender.dsp.loudness import full_scale, gated_loudness, gating, k_weighting

BLOCK = 32768
"""Frames per block, a multiple of 4: blocks of five int16 files stay in the L2 cache."""

# Filter states below this count as zero: otherwise long silence decays into denormals, which are slow.
_NOTHING = 1e-100

_NOWHERE = np.empty(0)

ALONE = np.eye(1, 4)[0]
"""The weights of a single stem."""


class MixMeter:
    """Integrated loudness of a mixture and of weighted sums of its four stems.

    Feed it all blocks in order, then call :meth:`loudness`.

    Parameters
    ----------
    frames : int
        Length of the stems.
    samplerate : int
        In hertz.
    weights : ndarray
        (sums, 4): the linear factors of each sum.

    Raises
    ------
    ValueError
        If `frames` is less than 400 ms.
    """

    def __init__(self, frames: int, samplerate: int, weights: Floats) -> None:
        self._gating = gating(frames, samplerate)
        self._weights = np.array(weights, dtype=np.float64)
        self._gain, self._coefficients = _coefficients(samplerate)
        pairs = (2 + len(weights)) // 2  # the mixture and a sum, then two sums each
        self._states = np.zeros((pairs, 48))
        self._energies = np.zeros((2 * pairs, len(self._gating.edges) - 1))
        self._at = -4

    def feed(self, stems: Samples, mixture: Samples, frames: int, kept: Floats | None = None) -> None:
        """Measure the next frames.

        Parameters
        ----------
        stems : ndarray
            (4, at least 2 * frames), interleaved stereo, int16, int32, float32 or float64; one row for a single stem.
        mixture : ndarray
            (1, at least 2 * frames), likewise.
        frames : int
            A multiple of 4 in all calls but the last, in which up to three more frames are zeroed.
        kept : ndarray, optional
            (at least 2 * frames, up to a multiple of 8,) float64: filled with the sum, interleaved, full scale 1. Only
            for a meter of a single sum.
        """
        padded = -(-frames // 4) * 4
        for array in (stems, mixture):
            array[:, 2 * frames : 2 * padded] = 0
        own = np.zeros(4)
        own[0] = 1.0 / full_scale(mixture.dtype)
        sums = self._weights / full_scale(stems.dtype)
        nothing = np.zeros(4)
        for pair, state in enumerate(self._states):
            if np.abs(state).max() < _NOTHING:
                state[:] = 0.0
            first, second = 2 * pair - 1, 2 * pair
            mix_kernels.measure_pair(
                mixture if pair == 0 else stems,
                own if pair == 0 else sums[first],
                stems,
                sums[second] if second < len(sums) else nothing,
                padded,
                self._coefficients,
                state,
                self._at,
                self._gating.edges,
                2 * pair,
                self._energies,
                _NOWHERE if kept is None else kept,
            )
        self._at += padded

    def loudness(self) -> tuple[float, list[float]]:
        """LUFS of the mixture and of each sum, after the last frame; minus infinity for silence."""
        self.feed(np.zeros((1, 8)), np.zeros((1, 8)), 4)
        rows = self._energies[: 1 + len(self._weights)] * self._gain**2
        mixture, *sums = (gated_loudness(self._gating, energies) for energies in rows)
        return mixture, sums


def _coefficients(samplerate: int) -> tuple[float, Floats]:
    """The K-weighting for :func:`cadrender.dsp.mix_kernels.measure_pair`: its gain, and the rest."""
    b0, b1, b2, a1, a2 = k_weighting(samplerate).T
    return b0.prod(), np.repeat(np.stack([b1 / b0, b2 / b0, -a2, -a1]), 4)


def mix_int16(stems: Samples, frames: int, weights: Floats, gain: float, out: npt.NDArray[np.int16]) -> int:
    """Compute a weighted sum, scale it, clip it and truncate it toward zero.

    Parameters
    ----------
    stems : ndarray
        (4, at least 2 * frames), interleaved stereo, int16, int32, float32 or float64; one row for a single stem.
    frames : int
        Frames to compute.
    weights : ndarray
        (4,): linear factors.
    gain : float
        Linear factor applied to the sum.
    out : ndarray
        (at least frames, 2) int16.

    Returns
    -------
    int
        Clipped PCM values.
    """
    scaled = np.asarray(weights) / full_scale(stems.dtype)
    clipped: int = mix_kernels.mix_int16(stems, frames, scaled, 32768.0 * gain, out.reshape(-1))
    return clipped


def mix_float64(stems: Samples, frames: int, weights: Floats, gain: float, out: Floats) -> None:
    """Compute a weighted sum and scale it; as :func:`mix_int16`, but `out` is float64 with full scale 1."""
    scaled = np.asarray(weights) / full_scale(stems.dtype)
    mix_kernels.mix_float64(stems, frames, scaled, float(gain), out.reshape(-1))


def to_int16(signal: Floats, gain: float = 1.0) -> tuple[npt.NDArray[np.int16], int]:
    """Scale a signal of full scale 1, clip it and truncate it toward zero.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) float64.
    gain : float
        A linear factor.

    Returns
    -------
    pcm : ndarray
        (frames, 2) int16.
    clipped : int
        Clipped PCM values.
    """
    pcm = np.empty(signal.shape, np.int16)
    row = np.ascontiguousarray(signal).reshape(1, -1)
    return pcm, mix_int16(row, len(signal), ALONE, gain, pcm)
