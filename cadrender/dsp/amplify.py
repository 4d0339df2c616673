"""Amplify a stereo signal like a linear hearing aid, with the NAL-R filters of :mod:`cadrender.dsp.nalr`."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cadrender.dsp.arrays import Floats, Samples, checked_samplerate, checked_signal
from cadrender.dsp.convolve import batch_frames, convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import full_scale
from cadrender.dsp.nalr import nalr_filter

# Approximate frames per convolution.
_CHUNK = 64 * 1024


Audiogram = tuple[Sequence[float], Sequence[float]]
"""Frequencies in Hz, and hearing levels in dB HL."""


class Amplifier:
    """Amplifies one stereo signal for several listeners, block by block.

    Parameters
    ----------
    filters : sequence of (ndarray, ndarray)
        Left- and right-ear filter of each listener, all of the same length.
    """

    def __init__(self, filters: Iterable[tuple[Floats, Floats]]) -> None:
        filters = list(filters)
        silent = np.zeros_like(filters[0][0])
        self._heads = Heads(
            [(np.stack([left, silent], axis=1), np.stack([silent, right], axis=1)) for left, right in filters]
        )
        self._ones = np.ones(len(filters))
        self.tail = len(filters[0][0]) - 1
        batch = batch_frames(self._heads)
        # Whole batches, preceding frames included; each is longer than the tail.
        self._chunk = max(1, round(_CHUNK / batch)) * batch - self.tail
        self._held = np.zeros((self.tail + self._chunk, 2))
        self._count = 0

    def feed(self, block: Floats) -> Iterator[tuple[int, Samples]]:
        """Take the next (frames, 2) float64 frames of the signal; yield what is ready as (listener, piece)."""
        while len(block):
            room = self._chunk - self._count
            part = block[:room]
            self._held[self.tail + self._count : self.tail + self._count + len(part)] = part
            self._count += len(part)
            block = block[room:]
            if self._count == self._chunk:
                yield from self._flush()

    def finish(self) -> Iterator[tuple[int, Samples]]:
        """Yield the rest: pending frames and the ``tail`` frames after the signal's end."""
        yield from self.feed(np.zeros((self.tail, 2)))
        if self._count:
            yield from self._flush()

    def _flush(self) -> Iterator[tuple[int, Samples]]:
        """Filter the held frames together with those before them, and drop the latter's output."""
        signal = self._held[: self.tail + self._count]
        position = [0] * len(self._ones)
        for listener, piece, _ in convolve(signal, self._heads, self._ones, pcm16=False):
            old = min(max(self.tail - position[listener], 0), len(piece))
            position[listener] += len(piece)
            if len(piece) > old:
                yield listener, piece[old:]
        self._held[: self.tail] = signal[self._count :].copy()
        self._count = 0


def checked_audiogram(name: str, audiogram: Audiogram) -> Audiogram:
    """An ear's audiogram.

    Raises
    ------
    ValueError
        If it is not one: ascending frequencies, and as many levels.
    """
    needed = f"{name}: ascending frequencies in Hz and as many levels in dB HL are needed"
    try:
        frequencies, levels = (np.asarray(each, np.float64) for each in audiogram)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{needed}, not {audiogram!r}") from None
    if frequencies.ndim != 1 or not len(frequencies) or frequencies.shape != levels.shape:
        raise ValueError(f"{needed}, not of shapes {frequencies.shape} and {levels.shape}")
    if not (np.isfinite(frequencies).all() and np.isfinite(levels).all()):
        raise ValueError(f"{needed}, not all finite: {audiogram!r}")
    if frequencies[0] <= 0 or not (np.diff(frequencies) > 0).all():
        raise ValueError(f"{needed}, not {frequencies.tolist()}")
    return frequencies.tolist(), levels.tolist()


def amplify(signal: npt.ArrayLike, samplerate: int, left: Audiogram, right: Audiogram) -> Floats:
    """Amplify a stereo signal for a listener.

    Parameters
    ----------
    signal : array_like
        (frames, 2): int16, int32 (fractions of their full scale), float32 or float64 (full scale 1).
    samplerate : int
        In hertz.
    left, right : tuple of (sequence of float, sequence of float)
        Each ear's audiogram: frequencies in Hz, levels in dB HL.

    Returns
    -------
    ndarray
        (frames + 220, 2) float64: the whole convolution, 110 frames late. It may exceed full scale.

    Raises
    ------
    TypeError
        If the signal has another type; the byte order and memory layout do not matter.
    ValueError
        If it is not stereo, or holds values that are not finite, or if an audiogram is not one.
    """
    stereo = checked_signal("signal", signal)
    samplerate = checked_samplerate(samplerate)
    left, right = checked_audiogram("left", left), checked_audiogram("right", right)
    stereo = stereo / full_scale(stereo.dtype)
    amplifier = Amplifier([(nalr_filter(*left, samplerate), nalr_filter(*right, samplerate))])
    pieces = [piece.copy() for source in (amplifier.feed(stereo), amplifier.finish()) for _, piece in source]
    return np.concatenate(pieces)
