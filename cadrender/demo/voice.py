"""A singer: a glottal pulse train through the formants of vowels, with consonants, breath and vibrato.

Source and filter as in Fant, "Acoustic theory of speech production" (1960); the pulse is that of Rosenberg,
"Effect of glottal pulse shape on the quality of natural vowels", J. Acoust. Soc. Am. 49 (1971), 583-590; the
formants work in cascade, as in Klatt, "Software for a cascade/parallel formant synthesizer", J. Acoust. Soc.
Am. 67 (1980), 971-995; the first three are those of Peterson and Barney, "Control methods used in a study of
the vowels", J. Acoust. Soc. Am. 24 (1952), 175-184.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy.fft import irfft, rfft
from scipy.ndimage import convolve1d

from cadrender.demo.effects import RATE, bandpass, edges
from cadrender.demo.instruments import TABLE, frequency, oscillate

HOP = 256
_FRAME = 4 * HOP
_TRANSFORM = 2 * _FRAME
_BANDWIDTHS = np.array([80.0, 100.0, 130.0, 220.0, 320.0])

_VOWELS = {
    "low": {
        "a": (730, 1090, 2440),
        "e": (530, 1840, 2480),
        "i": (300, 2290, 3010),
        "o": (570, 840, 2410),
        "u": (320, 870, 2240),
    },
    "high": {
        "a": (850, 1220, 2810),
        "e": (610, 2330, 2990),
        "i": (370, 2790, 3310),
        "o": (590, 920, 2710),
        "u": (420, 950, 2670),
    },
}
_UPPER_FORMANTS = {"low": (3300.0, 3900.0), "high": (3900.0, 4700.0)}

# Voiced consonants: formants, loudness against the vowel, seconds.
_VOICED = {
    "l": ((360, 1200, 2700), 0.65, 0.06),
    "m": ((260, 1050, 2200), 0.5, 0.065),
    "n": ((270, 1500, 2500), 0.5, 0.055),
    "r": ((380, 1150, 1650), 0.65, 0.07),
    "w": ((320, 720, 2300), 0.6, 0.08),
    "y": ((300, 2200, 3000), 0.6, 0.07),
    "v": ((300, 1100, 2300), 0.45, 0.06),
}
# Noisy consonants: band in Hz, loudness against the voice, seconds of noise, seconds of closure before it.
_NOISY = {
    "s": ((4800, 9500), 0.10, 0.10, 0.0),
    "h": ((700, 3500), 0.08, 0.09, 0.0),
    "f": ((1500, 8000), 0.05, 0.08, 0.0),
    "t": ((3200, 8000), 0.16, 0.035, 0.04),
    "k": ((1300, 3200), 0.16, 0.035, 0.04),
    "d": ((2200, 5500), 0.10, 0.02, 0.035),
    "b": ((400, 1800), 0.10, 0.015, 0.04),
}


@dataclass(frozen=True)
class Sung:
    """A sung note: seconds, MIDI pitch, strength, and a syllable of one consonant or none and a vowel."""

    start: float
    stop: float
    pitch: float
    velocity: float
    syllable: str


def sing(notes, rng, *, register="high", vibrato=0.35, breath=0.04):
    """Return a sung melody.

    Parameters
    ----------
    notes : list of Sung
        In order, not overlapping.
    rng : numpy.random.Generator
    register : {"high", "low"}
        Whose formants: a woman's or a man's.
    vibrato : float
        Depth in semitones, on long notes.
    breath : float
        Loudness of the breath under the voice.

    Returns
    -------
    start : float
        When the first breath is heard, in seconds.
    voice : numpy.ndarray, shape (frames,), float64
        Of a root mean square of about 0.1 while it sounds; empty where there are no notes.
    """
    if not notes:
        return 0.0, np.zeros(0)
    first = max(0.0, notes[0].start - 0.3)
    notes = [replace(note, start=note.start - first, stop=note.stop - first) for note in notes]
    frames = int((notes[-1].stop + 0.4) * RATE)
    tracks = _draw(notes, frames // HOP + 2, rng, register, vibrato)
    at = np.arange(frames) / HOP
    hops = np.arange(len(tracks.pitch))
    hertz = frequency(np.interp(at, hops, tracks.pitch))
    loudness = np.interp(at, hops, tracks.loudness)
    air = breath * rng.standard_normal(frames) * (0.4 + oscillate(_flow(), hertz, frames))
    voice = _through_formants(loudness * (oscillate(_pulse(), hertz, frames) + air), tracks)
    voice *= 0.1 / np.sqrt((voice**2).sum() / np.count_nonzero(loudness > 0.1))
    return first, voice + _noises(notes, frames, rng)


@dataclass(frozen=True)
class _Tracks:
    """What the mouth does, one value a hop: MIDI pitch, loudness, formants of shape (hops, 5)."""

    pitch: np.ndarray
    loudness: np.ndarray
    formants: np.ndarray


def _draw(notes, hops, rng, register, vibrato):
    """Draw pitch, loudness and formants as steps, then smooth them as muscles do."""
    time = np.arange(hops) * HOP / RATE
    pitch = np.full(hops, float(notes[0].pitch))
    loudness = np.zeros(hops)
    formants = np.tile(_vowel("a", register), (hops, 1))
    shake = np.zeros(hops)
    scoop = np.zeros(hops)
    last_stop = -1.0
    for note, coming in zip(notes, [*notes[1:], None], strict=True):
        here = time >= note.start
        inside = here & (time < note.stop)
        pitch[here] = note.pitch
        age = time - note.start
        swell = 1 + 0.12 * np.sin(np.pi * np.clip(age / max(note.stop - note.start, 0.1), 0, 1))
        loudness[inside] = note.velocity * swell[inside]
        consonant, vowel = note.syllable[:-1], note.syllable[-1]
        formants[here] = _vowel(vowel, register)
        if consonant in _VOICED:
            shape, weight, length = _VOICED[consonant]
            said = here & (age < length)
            formants[said, :3] = shape
            loudness[said] *= weight
        elif consonant in _NOISY:
            _, _, noise, closure = _NOISY[consonant]
            loudness[(age >= -closure) & (age < 0.6 * noise)] = 0
        else:
            loudness[here & (age < 0.02)] *= 0.6
        if coming is None or coming.start > note.stop:
            # the breath runs out a little before a rest
            loudness[inside] *= np.clip((note.stop - time[inside]) / 0.15, 0.3, 1)
        if note.start - last_stop > 0.12:
            scoop[here] = -0.7 * np.exp(-age[here] / 0.06)
        if note.stop - note.start > 0.45:
            shake[inside] = np.clip((age[inside] - 0.2) / 0.35, 0, 1)
        last_stop = note.stop
    smooth_shake = _smooth(shake, 0.1)
    rate = 5.4 + 0.3 * _wander(hops, 1.2, rng)
    wave = np.sin(2 * np.pi * np.cumsum(rate) * HOP / RATE)
    pitch = _smooth(pitch, 0.075) + _smooth(scoop, 0.03) + vibrato * smooth_shake * wave
    pitch += 0.07 * _wander(hops, 3.0, rng) + 0.03 * _wander(hops, 14.0, rng)
    loudness = _smooth(loudness, 0.05) * (1 + 0.06 * smooth_shake * wave + 0.04 * _wander(hops, 4.0, rng))
    return _Tracks(pitch, loudness.clip(0), _smooth(formants, 0.07))


def _vowel(vowel, register):
    return np.array([*_VOWELS[register][vowel], *_UPPER_FORMANTS[register]], dtype=float)


def _smooth(steps, seconds):
    """Moving average with a Hann window along the first axis."""
    window = np.hanning(max(3, round(seconds * RATE / HOP)) + 2)[1:-1]
    return convolve1d(steps, window / window.sum(), axis=0, mode="nearest")


def _wander(hops, hertz, rng):
    """Slow random movement of unit spread."""
    knots = rng.standard_normal(int(hops * HOP / RATE * 2 * hertz) + 4)
    movement = np.interp(np.linspace(0, len(knots) - 1, hops), np.arange(len(knots)), knots)
    return _smooth(movement, 0.5 / hertz)


@cache
def _flow():
    """One period of the flow through the glottis, 0 to 1: it opens slowly, closes fast and stays closed."""
    turn = np.arange(TABLE) / TABLE
    opening, closing = 0.42, 0.16
    rise = 0.5 - 0.5 * np.cos(np.pi * turn / opening)
    fall = np.cos(0.5 * np.pi * (turn - opening) / closing)
    return np.where(turn < opening, rise, np.where(turn < opening + closing, fall, 0.0))


@cache
def _pulse():
    """One period of the flow's slope, which is what the lips radiate: 60 harmonics of it."""
    spectrum = np.fft.rfft(np.diff(_flow(), append=0.0))
    spectrum[0] = 0
    spectrum[61:] = 0
    period = np.fft.irfft(spectrum)
    return period / np.abs(period).max()


def _through_formants(source, tracks):
    """Filter overlapping frames by the formants of their moment, and add them up again."""
    bins = np.fft.rfftfreq(_TRANSFORM, 1 / RATE)
    kept = int(np.searchsorted(bins, 13000))
    bins = bins[:kept]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
    padded = np.concatenate([np.zeros(_FRAME // 2), source, np.zeros(_FRAME + _TRANSFORM)])
    result = np.zeros(len(padded))
    # frame h is centred on hop h; only frames with voice in them matter
    sounding = _smooth((tracks.loudness > 1e-4).astype(float), 0.04) > 0
    chosen = np.flatnonzero(sounding[: len(source) // HOP + 1])
    for block in np.array_split(chosen, max(1, len(chosen) // 200)):
        frames = padded[block[:, None] * HOP + np.arange(_FRAME)] * window
        spectrum = rfft(frames, _TRANSFORM)[:, :kept]
        resonance = np.ones((len(block), kept), dtype=complex)
        for number, bandwidth in enumerate(_BANDWIDTHS):
            centre = tracks.formants[block, number, None]
            resonance *= 1 - (bins / centre) ** 2 + (1j * bandwidth) * (bins / centre**2)
        # what the formants above the fifth would do
        lift = (1 + (bins / 4800) ** 2) ** 2
        filtered = irfft(spectrum * (lift / resonance), _TRANSFORM)
        for row, hop in enumerate(block):
            result[hop * HOP : hop * HOP + _TRANSFORM] += filtered[row]
    return 0.25 * result[_FRAME // 2 : _FRAME // 2 + len(source)]


def _noises(notes, frames, rng):
    """The consonants that are noise."""
    sound = np.zeros(frames)
    for note in notes:
        consonant = note.syllable[:-1]
        if consonant not in _NOISY:
            continue
        band, loudness, length, _ = _NOISY[consonant]
        count = int(1.3 * length * RATE)
        start = max(0, int((note.start - 0.3 * length) * RATE))
        count = min(count, frames - start)
        if count < 64:
            continue
        noise = bandpass(rng.standard_normal(count + 256), *band, 2)[256:]
        shape = loudness * note.velocity / noise.std() * edges(count, 0.35 * length, 0.6 * length)
        sound[start : start + count] += 0.12 * shape * noise
    return sound
