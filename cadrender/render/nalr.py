"""NAL-R: what a linear hearing aid should amplify for an audiogram, as a linear-phase filter for each ear.

The prescription is that of Byrne and Dillon, in the form in which the HAAQI metric's authors and after them the
challenge's baseline use it: gains at six frequencies, none of them negative, and a filter of order 220. The
baseline (pyclarity 0.4.1) scores a system's output against the rebalanced target after this filter.

References
----------
D. Byrne and H. Dillon, "The National Acoustic Laboratories' (NAL) new procedure for selecting the gain and
frequency response of a hearing aid", Ear and Hearing 7 (1986), 257-265.

D. Byrne, A. Parkinson and P. Newall, "Hearing aid gain and frequency response requirements for the severely/profoundly
hearing impaired", Ear and Hearing 11 (1990), 40-49: the steeper slope above an average of 60 dB HL.

J. M. Kates and K. H. Arehart, "The Hearing-Aid Audio Quality Index (HAAQI)", IEEE/ACM Transactions on Audio,
Speech, and Language Processing 24 (2016), 354-365: the filter.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads

FREQUENCIES = (250, 500, 1000, 2000, 4000, 6000)
"""Hz at which gains are prescribed."""

ORDER = 220
"""Of the filter, which has one tap more and delays by half of it."""

# k of Byrne and Dillon (1986) at the FREQUENCIES, in dB.
_CONSTANTS = np.array([-17.0, -8.0, 1.0, -1.0, -2.0, -2.0])
_SLOPE = 0.31
# Of the sum of the thresholds at 500, 1000 and 2000 Hz; above 180 dB (60 dB on average) the slope of 1990.
_SUM_SLOPE = 0.05
_SEVERE = 180.0
_SEVERE_SUM_SLOPE = 0.116

# Points of the response between 0 Hz and half the sample rate.
_GRID = 512

_CHUNK = 64 * 1024


def insertion_gains(frequencies: Sequence[float], levels: Sequence[float]) -> np.ndarray:
    """Prescribe the insertion gains of one ear.

    ``0.05 (H500 + H1000 + H2000) + 0.31 H(f) + k(f)``, and 0 dB where that is negative. Where the sum is above
    180 dB HL its part is ``9 + 0.116 (sum - 180)``.

    Parameters
    ----------
    frequencies : sequence of number
        Of the audiogram, in Hz, rising. Between them levels are interpolated over the logarithm of the
        frequency; outside, the outermost one holds.
    levels : sequence of number
        Hearing thresholds in dB HL.

    Returns
    -------
    ndarray
        (6,): dB at :data:`FREQUENCIES`.

    Examples
    --------
    >>> insertion_gains((250, 8000), (40, 40)).round(2).tolist()
    [1.4, 10.4, 19.4, 17.4, 16.4, 16.4]
    """
    thresholds = _thresholds(frequencies, levels)
    total = thresholds[1:4].sum()
    common = _SUM_SLOPE * min(total, _SEVERE) + _SEVERE_SUM_SLOPE * max(total - _SEVERE, 0.0)
    return np.maximum(common + _SLOPE * thresholds + _CONSTANTS, 0.0)


def _thresholds(frequencies, levels):
    return np.interp(np.log(FREQUENCIES), np.log(frequencies), np.asarray(levels, dtype=float))


def nalr_filter(
    frequencies: Sequence[float], levels: Sequence[float], samplerate: int, order: int = ORDER
) -> np.ndarray:
    """Design the filter that amplifies by :func:`insertion_gains`.

    Decibels are interpolated linearly over the frequency, constant below 250 and above 6000 Hz; the filter comes from
    that response by frequency sampling and a Hamming window. An ear without any loss (no threshold above 0 dB HL)
    gets the mere delay.

    Parameters
    ----------
    frequencies, levels : sequence of number
        The audiogram, as in :func:`insertion_gains`.
    samplerate : int
        In hertz, at least 12 000.
    order : int
        An even number; the delay is half of it.

    Returns
    -------
    ndarray
        (order + 1,) float64, symmetric.
    """
    if _thresholds(frequencies, levels).max() <= 0.0:
        return np.eye(1, order + 1, order // 2)[0]
    gains = insertion_gains(frequencies, levels)
    knots = np.array([0.0, *FREQUENCIES, samplerate / 2])
    positions = np.linspace(0.0, 1.0, order + 1)
    decibels = np.interp(positions * samplerate / 2, knots, np.concatenate([gains[:1], gains, gains[-1:]]))
    return _frequency_sampling(positions, 10.0 ** (decibels / 20.0))


def _frequency_sampling(positions, response):
    """A linear-phase filter of as many taps as there are points of its response.

    The design of MATLAB's ``fir2``: every point is moved to the grid, ramps between them fill it, each ending one
    grid point before the next begins; an inverse transform with the delay of half the filter, and a Hamming
    window.
    """
    taps = len(positions)
    grid = np.empty(_GRID + 1)
    first = 0
    ends = (positions[1:] * (_GRID + 1)).astype(int) - 1
    for end, low, high in zip(ends, response, response[1:], strict=False):
        grid[first : end + 1] = np.linspace(low, high, end + 1 - first)
        first = end + 1
    delay = np.exp(-0.5j * np.pi * (taps - 1) * np.arange(_GRID + 1) / _GRID)
    return np.fft.irfft(grid * delay)[:taps] * np.hamming(taps)


class Amplifier:
    """Amplifies one stereo signal for several listeners, block by block.

    Parameters
    ----------
    filters : sequence of (ndarray, ndarray)
        For each listener the filter of the left and of the right ear, all of one length.
    """

    def __init__(self, filters: Iterable[tuple[np.ndarray, np.ndarray]]):
        filters = list(filters)
        silent = np.zeros_like(filters[0][0])
        self._heads = Heads(
            [(np.stack([left, silent], axis=1), np.stack([silent, right], axis=1)) for left, right in filters]
        )
        self._ones = np.ones(len(filters))
        self.tail = len(filters[0][0]) - 1
        self._held = np.zeros((self.tail + _CHUNK, 2))
        self._count = 0

    def feed(self, block: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Take the next (frames, 2) float64 of the signal; yield what is ready, as (listener, piece)."""
        while len(block):
            room = _CHUNK - self._count
            part = block[:room]
            self._held[self.tail + self._count : self.tail + self._count + len(part)] = part
            self._count += len(part)
            block = block[room:]
            if self._count == _CHUNK:
                yield from self._flush()

    def finish(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the rest: what was held back, and the ``tail`` frames that ring on after the signal's end."""
        yield from self.feed(np.zeros((self.tail, 2)))
        if self._count:
            yield from self._flush()

    def _flush(self):
        """Filter what is held after the frames before it, and drop what came out for those."""
        signal = self._held[: self.tail + self._count]
        position = [0] * len(self._ones)
        for listener, piece, _ in convolve(signal, self._heads, self._ones, pcm16=False):
            old = min(max(self.tail - position[listener], 0), len(piece))
            position[listener] += len(piece)
            if len(piece) > old:
                yield listener, piece[old:]
        self._held[: self.tail] = signal[self._count :].copy()
        self._count = 0


def amplify(signal: np.ndarray, samplerate: int, left: Sequence, right: Sequence) -> np.ndarray:
    """Amplify a stereo signal for a listener.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) float64.
    samplerate : int
        In hertz.
    left, right : (frequencies, levels)
        Each ear's audiogram: Hz and dB HL.

    Returns
    -------
    ndarray
        (frames + 220, 2) float64: the whole of the convolution, 110 frames late. It may exceed full scale.
    """
    amplifier = Amplifier([tuple(nalr_filter(*ear, samplerate) for ear in (left, right))])
    pieces = [piece.copy() for source in (amplifier.feed(signal), amplifier.finish()) for _, piece in source]
    return np.concatenate(pieces)
