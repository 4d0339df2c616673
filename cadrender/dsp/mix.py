"""The gain mixer: weighted sums of stems, how loud they are, and their samples, block by block.

Two passes over the stems: the first measures the mixture and every weighted sum (:class:`MixMeter`), the second
scales each sum while it is made and goes straight to int16 (:func:`mix_int16`). A block stays in the L2 cache
for all that is done with it; nothing as long as a song is ever held.
"""

import numpy as np

from cadrender.dsp import kernels, mix_kernels
from cadrender.dsp.loudness import KWeighting, full_scale, gated_loudness, gating

BLOCK = 8192
"""Frames of a block: five int16 files and two float64 channels of it stay in the L2 cache."""


class MixMeter:
    """Integrated loudness of a mixture and of weighted sums of its stems.

    Feed it all blocks in order, then ask for the :meth:`loudness`.

    Parameters
    ----------
    frames : int
        Length of the stems.
    samplerate : int
        In hertz.
    weights : ndarray
        (sums, stems): the linear factors of each sum.

    Raises
    ------
    ValueError
        If `frames` are less than 400 ms.
    """

    def __init__(self, frames: int, samplerate: int, weights: np.ndarray):
        self._gating = gating(frames, samplerate)
        self._weights = np.ascontiguousarray(weights, dtype=np.float64)
        signals = 1 + len(weights)
        self._filters = [KWeighting(samplerate) for _ in range(signals)]
        self._energies = np.zeros((signals, len(self._gating.edges) - 1))
        self._plain = np.empty((2, BLOCK))
        self._weighted = np.empty((2, BLOCK))
        self._start = self._segment = 0

    def feed(self, block: np.ndarray, frames: int) -> None:
        """Measure the next frames.

        Parameters
        ----------
        block : ndarray
            (stems + 1, at least 2 * frames), interleaved stereo, any of int16, int32, float32 and float64: the
            stems, then the mixture.
        frames : int
            At most :data:`BLOCK`.
        """
        start, segment = self._start, self._segment
        self._start += frames
        frames = min(frames, int(self._gating.edges[-1]) - start)
        if frames <= 0:
            return
        scale = 1.0 / full_scale(block.dtype)
        self._measure(0, block[-1:], np.array([scale]), start, frames, segment)
        for number, weights in enumerate(self._weights * scale, 1):
            self._measure(number, block[:-1], weights, start, frames, segment)

    def _measure(self, number, stems, weights, start, frames, segment):
        mix_kernels.mix_planar(stems, frames, weights, self._plain)
        self._filters[number](self._plain, 0, frames, self._weighted, 0)
        self._segment = kernels.segment_energies(
            self._weighted, start, frames, self._gating.edges, segment, self._energies[number]
        )

    def loudness(self) -> tuple[float, list[float]]:
        """LUFS of the mixture and of each sum; minus infinity for silence."""
        mixture, *sums = (gated_loudness(self._gating, energies) for energies in self._energies)
        return mixture, sums


def mix_int16(stems: np.ndarray, frames: int, weights: np.ndarray, out: np.ndarray) -> int:
    """Make a weighted sum, clip it and truncate it toward zero.

    Parameters
    ----------
    stems : ndarray
        (stems, at least 2 * frames), interleaved stereo, any of int16, int32, float32 and float64.
    frames : int
        How many to make.
    weights : ndarray
        (stems,): linear factors.
    out : ndarray
        (at least frames, 2) int16.

    Returns
    -------
    int
        Samples that had to be clipped.
    """
    unit = 32768.0 / full_scale(stems.dtype)
    return mix_kernels.mix_int16(stems, frames, np.asarray(weights) * unit, out.reshape(-1))


def mix_float64(stems: np.ndarray, frames: int, weights: np.ndarray, out: np.ndarray) -> None:
    """Make a weighted sum, full scale being 1; as :func:`mix_int16`, but `out` is float64."""
    scaled = np.asarray(weights) / full_scale(stems.dtype)
    mix_kernels.mix_float64(stems, frames, scaled, out.reshape(-1))


def to_int16(signal: np.ndarray) -> tuple[np.ndarray, int]:
    """Clip a signal of full scale 1 and truncate it toward zero.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) float64.

    Returns
    -------
    pcm : ndarray
        (frames, 2) int16.
    clipped : int
        Samples that had to be clipped.
    """
    pcm = np.empty(signal.shape, np.int16)
    return pcm, mix_kernels.truncate(np.ascontiguousarray(signal).reshape(-1), 32768.0, pcm.reshape(-1))
