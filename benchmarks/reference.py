"""The data contract (``docs/contract.md``) in SciPy and pyloudnorm: slow, obvious, and the judge of everything else.

The repository's only reference: the tests compare the engine's samples with it, the benchmarks its time. It follows
the challenge's own algorithm step by step and is deliberately not optimised.
"""

import warnings

import numpy as np
import pyloudnorm
from scipy.signal import lfilter


def convolve(signal, left_hrir, right_hrir):
    """What the two ears receive of a stereo signal from two loudspeakers, cut to the signal's length.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) float64.
    left_hrir, right_hrir : ndarray
        (taps, 2) float64: each loudspeaker's response at the left and right ears.

    Returns
    -------
    ndarray
        (frames, 2) float64.
    """
    left, right = signal[:, 0], signal[:, 1]
    return np.stack(
        [
            lfilter(left_hrir[:, 0], [1.0], left) + lfilter(right_hrir[:, 0], [1.0], right),
            lfilter(left_hrir[:, 1], [1.0], left) + lfilter(right_hrir[:, 1], [1.0], right),
        ],
        axis=1,
    )


def loudness(signal, samplerate):
    """Integrated loudness in LUFS; minus infinity for silence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no blocks, the logarithm of zero
        return pyloudnorm.Meter(samplerate).integrated_loudness(signal)


def to_pcm16(signal):
    """Clip and truncate toward zero; also count the clipped samples."""
    scaled = signal * 32768
    clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
    return np.clip(scaled, -32768, 32767).astype(np.int16), clipped


def render(pcm, left_hrir, right_hrir, samplerate):
    """One stem's at-mic file.

    Parameters
    ----------
    pcm : ndarray
        (frames, 2) int16: the stem.
    left_hrir, right_hrir : ndarray
        (taps, 2) float64.
    samplerate : int
        In hertz.

    Returns
    -------
    ndarray
        (frames, 2) int16; zeros if the loudness of the stem or of its rendered version is not finite.
    """
    signal = pcm / 32768
    rendered = convolve(signal, left_hrir, right_hrir)
    before, after = loudness(signal, samplerate), loudness(rendered, samplerate)
    if not (np.isfinite(before) and np.isfinite(after)):
        return np.zeros_like(pcm)
    return to_pcm16(rendered * 10 ** ((before - after) / 20))[0]


def remix(stems, gains_db, mixture, samplerate):
    """One scene's rebalanced target.

    Parameters
    ----------
    stems : dict of str to ndarray
        The at-mic files of vocals, drums, bass and other, (frames, 2) int16.
    gains_db : dict of str to number
        Gain of each in dB.
    mixture : ndarray
        (frames, 2) int16: the at-mic mixture.
    samplerate : int
        In hertz.

    Returns
    -------
    ndarray
        (frames, 2) int16.
    """
    total = np.zeros(mixture.shape)
    for stem in ("vocals", "drums", "bass", "other"):
        total += stems[stem] / 32768 * 10 ** (gains_db[stem] / 20)
    before, after = (
        -80.0 if np.isneginf(lufs) else lufs
        for lufs in (loudness(total, samplerate), loudness(mixture / 32768, samplerate))
    )
    return to_pcm16(total * 10 ** ((after - before) / 20))[0]
