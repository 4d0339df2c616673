"""A singer: pulses through vowel formants, with breath and vibrato.

Source and filter as in Fant, "Acoustic theory of speech production" (1960); the first three formants are those
of Peterson and Barney, "Control methods used in a study of the vowels", J. Acoust. Soc. Am. 24 (1952), 175-184.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import convolve1d
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from cadrender.demo.instruments import RATE, Floats, fade, frequency, oscillate

SungNote = tuple[float, float, int, float, int]
"""Start and stop in seconds, MIDI pitch, strength (0 to 1), and vowel number."""

HOP = 512

# Hz, for the vowels of father, saw, bed, boot and beet, of men and of women; two higher formants; bandwidths
_VOWELS = {
    "low": [(730, 1090, 2440), (570, 840, 2410), (530, 1840, 2480), (320, 870, 2240), (300, 2290, 3010)],
    "high": [(850, 1220, 2810), (590, 920, 2710), (610, 2330, 2990), (420, 950, 2670), (370, 2790, 3310)],
}
_UPPER_FORMANTS = {"low": (3300, 3900), "high": (3900, 4700)}
_BANDWIDTHS = (80, 100, 130, 220, 320)
_HUM = (300, 1200, 2500)
_PULSE = tuple(1 / number for number in range(1, 61))


def sing(notes: Sequence[SungNote], voice: str, rng: np.random.Generator) -> Floats:
    """A sung phrase, (frames,), from its first note to shortly after its last.

    Notes are in order and do not overlap. The voice is ``high``, a woman's, or ``low``, a man's.
    """
    hops = int((notes[-1][1] - notes[0][0] + 0.2) * RATE / HOP)
    time = notes[0][0] + np.arange(hops) * HOP / RATE
    pitch, loudness, trembling = np.full(hops, float(notes[0][2])), np.zeros(hops), np.zeros(hops)
    formants = np.tile((*_HUM, *map(float, _UPPER_FORMANTS[voice])), (hops, 1))
    # each control is drawn in steps, then smoothed
    for start, stop, note, strength, vowel in notes:
        begun, sounds = time >= start, (time >= start) & (time < stop)
        hummed = begun & (time < start + 0.06)
        pitch[begun] = note
        loudness[sounds] = strength
        loudness[hummed] *= 0.5
        formants[begun, :3] = _VOWELS[voice][vowel % 5]
        formants[hummed, :3] = _HUM
        # long notes get a delayed vibrato
        trembling[sounds] = np.clip((time[sounds] - start - 0.2) / 0.35, 0, 1) * (stop - start > 0.4)
    wave = np.sin(2 * np.pi * 5.4 * time) * _smooth(trembling, 0.1)
    pitch = _smooth(pitch, 0.08) + 0.35 * wave + 0.15 * _smooth(rng.standard_normal(hops), 0.15)
    loudness = _smooth(loudness, 0.05) * (1 + 0.06 * wave)
    pitch, loudness = (np.interp(np.arange(hops * HOP) / HOP, np.arange(hops), x) for x in (pitch, loudness))
    pulses = oscillate(_PULSE, np.cumsum(frequency(pitch)) / RATE)
    source = loudness * (pulses + 0.05 * rng.standard_normal(len(pulses)))
    return fade(_speak(source, _smooth(formants, 0.07)), 0.05, 0.05)


def _smooth(steps: Floats, seconds: float) -> Floats:
    """Moving average with a Hann window along the first axis."""
    window = hann(round(seconds * RATE / HOP) + 2)
    smoothed: Floats = convolve1d(steps, window / window.sum(), axis=0, mode="nearest")
    return smoothed


def _speak(source: Floats, formants: Floats) -> Floats:
    """Filter by resonances, one row of five frequencies per hop, using short-time spectra."""
    transform = ShortTimeFFT(hann(4 * HOP, sym=False), HOP, RATE)
    spectra = transform.stft(source)
    hops = np.clip(np.arange(transform.p_min, transform.p_min + spectra.shape[1]), 0, len(formants) - 1)
    squares = transform.f[:, None] ** 2
    # presence, and the formants above the fifth
    loss = (1 + squares / 4000**2) ** -5
    for centre, bandwidth in zip(formants[hops].T, _BANDWIDTHS, strict=True):
        ratio = squares / centre**2
        loss = loss * ((1 - ratio) ** 2 + (bandwidth / centre) ** 2 * ratio)
    spoken: Floats = np.real(transform.istft(spectra / np.sqrt(loss), k1=len(source)))
    return spoken
