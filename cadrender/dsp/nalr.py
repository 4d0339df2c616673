"""NAL-R: the gains of a linear hearing aid for an audiogram, as a linear-phase filter for each ear.

The prescription is Byrne and Dillon's, in the form used by the authors of the HAAQI metric and by the challenge's
baseline: gains at six frequencies, none negative, and a filter of order 220. The baseline (pyclarity 0.4.1)
scores a system's output against the rebalanced target after this filter.

References
----------
D. Byrne and H. Dillon, "The National Acoustic Laboratories' (NAL) new procedure for selecting the gain and
frequency response of a hearing aid", Ear and Hearing 7 (1986), 257-265.

D. Byrne, A. Parkinson and P. Newall, "Hearing aid gain and frequency response requirements for the severely/profoundly
hearing impaired", Ear and Hearing 11 (1990), 40-49: the steeper slope above an average of 60 dB HL.

J. M. Kates and K. H. Arehart, "The Hearing-Aid Audio Quality Index (HAAQI)", IEEE/ACM Transactions on Audio,
Speech, and Language Processing 24 (2016), 354-365: the filter.
"""

from collections.abc import Sequence

import numpy as np

from cadrender.dsp.arrays import Floats

FREQUENCIES = (250, 500, 1000, 2000, 4000, 6000)
"""Frequencies in Hz at which gains are prescribed."""

ORDER = 220
"""Order of the filter, which has one more tap and a delay of half the order."""

# k of Byrne and Dillon (1986) at FREQUENCIES, in dB.
_CONSTANTS = np.array([-17.0, -8.0, 1.0, -1.0, -2.0, -2.0])
_SLOPE = 0.31
# Of the sum of the thresholds at 500, 1000 and 2000 Hz; above 180 dB (60 dB on average) the 1990 slope applies.
_SUM_SLOPE = 0.05
_SEVERE = 180.0
_SEVERE_SUM_SLOPE = 0.116

# Points of the response from 0 Hz to half the sample rate.
_GRID = 512


def insertion_gains(frequencies: Sequence[float], levels: Sequence[float]) -> Floats:
    """Prescribe the insertion gains of one ear.

    ``0.05 (H500 + H1000 + H2000) + 0.31 H(f) + k(f)``, and 0 dB where that is negative. If the sum is above 180 dB HL,
    the first term is ``9 + 0.116 (sum - 180)``.

    Parameters
    ----------
    frequencies : sequence of number
        Of the audiogram, in Hz, ascending. Levels are interpolated over the logarithm of the frequency; outside, the
        outermost level is used.
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
    gains: Floats = np.maximum(common + _SLOPE * thresholds + _CONSTANTS, 0.0)
    return gains


def _thresholds(frequencies: Sequence[float], levels: Sequence[float]) -> Floats:
    return np.interp(np.log(FREQUENCIES), np.log(frequencies), np.asarray(levels, dtype=float))


def nalr_filter(
    frequencies: Sequence[float], levels: Sequence[float], samplerate: int, order: int = ORDER
) -> Floats:
    """Design the filter that amplifies by :func:`insertion_gains`.

    Decibels are interpolated linearly over the frequency, constant below 250 and above 6000 Hz; the filter is made from
    this response by frequency sampling and a Hamming window. For an ear without any loss (no threshold above 0 dB HL)
    it is a pure delay.

    Parameters
    ----------
    frequencies, levels : sequence of number
        The audiogram, as in :func:`insertion_gains`.
    samplerate : int
        In hertz, at least 12 000.
    order : int
        Even; the delay is half of it.

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


def _frequency_sampling(positions: Floats, response: Floats) -> Floats:
    """A linear-phase filter with as many taps as the response has points.

    As MATLAB's ``fir2``: the points are moved to a grid, with ramps between them, each ending one grid point before
    the next begins; then an inverse transform with a delay of half the filter, and a Hamming window.
    """
    taps = len(positions)
    grid = np.empty(_GRID + 1)
    first = 0
    ends = (positions[1:] * (_GRID + 1)).astype(int) - 1
    for end, low, high in zip(ends, response, response[1:], strict=False):
        grid[first : end + 1] = np.linspace(low, high, end + 1 - first)
        first = end + 1
    delay = np.exp(-0.5j * np.pi * (taps - 1) * np.arange(_GRID + 1) / _GRID)
    filter: Floats = np.fft.irfft(grid * delay)[:taps] * np.hamming(taps)
    return filter
