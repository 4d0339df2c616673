"""The band: one function for each instrument, a note in, samples out.

Each takes the MIDI pitch, the length in seconds, the strength (0 to 1) and a random generator; a drum only
the last two. It returns mono of shape (n,) or stereo of shape (2, n) in float64 at 44 100 Hz, with a peak
somewhere about its strength. The sound may ring on past the length that was asked for.
"""

from functools import cache

import numpy as np

from cadrender.demo.effects import RATE, bandpass, edges, highpass, lowpass

TABLE = 1 << 14
"""Samples in a stored period."""


def frequency(pitch):
    """Return the frequency in Hz of a MIDI pitch, A4 at 440."""
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69) / 12)


def cycle(amplitudes):
    """Return one period of a sum of sines: ``amplitudes[0]`` is the fundamental's."""
    spectrum = np.zeros(TABLE // 2 + 1, dtype=complex)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * TABLE * np.asarray(amplitudes)
    return np.fft.irfft(spectrum)


def oscillate(table, hertz, frames, phase=0.0):
    """Play a period over and over. ``hertz`` is one number or one a frame."""
    if np.ndim(hertz) == 0:
        turns = np.arange(frames) * (hertz / RATE) + phase
    else:
        turns = np.cumsum(hertz) / RATE + phase
    return table[(turns * TABLE).astype(np.int64) & (TABLE - 1)]


def _decay(frames, seconds):
    """Exponential that has fallen by 60 dB after ``seconds``."""
    return np.exp(np.arange(frames) * (-6.9 / (seconds * RATE)))


@cache
def _saw(harmonics):
    order = np.arange(1, harmonics + 1)
    # the raised cosine keeps the last harmonics from ringing
    return cycle(np.cos(0.5 * np.pi * order / (harmonics + 1)) ** 2 / order)


@cache
def _string_bands(position):
    """Periods of a plucked string's harmonics, one table an octave: 1, 2 to 3, 4 to 7, and so on."""
    order = np.arange(1, 64)
    strength = np.sin(np.pi * order * position) / order**1.3
    return [cycle(np.where((order >= low) & (order < 2 * low), strength, 0)) for low in (1, 2, 4, 8, 16, 32)]


def _plucked(pitch, seconds, velocity, *, sustain, damping, position, brightness):
    """String whose upper octaves start weaker for a soft pluck and die sooner, as they do on real strings."""
    hertz = float(frequency(pitch))
    ring = sustain * (196 / hertz) ** 0.4
    frames = int(min(seconds + 0.12, ring) * RATE)
    sound = np.zeros(frames)
    for octave, table in enumerate(_string_bands(position)):
        if hertz * 2**octave > 9000:
            break
        weight = (brightness * (0.55 + 0.45 * velocity)) ** octave
        sound += weight * oscillate(table, hertz, frames) * _decay(frames, ring / (1 + damping * octave))
    return velocity * sound * edges(frames, 0.0015, 0.1)


def nylon_guitar(pitch, seconds, velocity, rng):
    """Nylon strings under the fingertips."""
    sound = _plucked(pitch, seconds, velocity, sustain=3.2, damping=1.0, position=0.27, brightness=0.9)
    return sound + _touch(len(sound), 0.05 * velocity, 900, 3200, rng)


def steel_guitar(pitch, seconds, velocity, rng):
    """Steel strings and a plectrum."""
    sound = _plucked(pitch, seconds, velocity, sustain=4.0, damping=0.8, position=0.17, brightness=0.98)
    return sound + _touch(len(sound), 0.05 * velocity, 2500, 7000, rng)


def electric_bass(pitch, seconds, velocity, rng):
    """Round wound strings, fingers, a closed tone control."""
    sound = _plucked(pitch, seconds, velocity, sustain=2.6, damping=0.9, position=0.19, brightness=0.97)
    return lowpass(1.3 * sound + _touch(len(sound), 0.03 * velocity, 300, 1500, rng), 3200)


def upright_bass(pitch, seconds, velocity, rng):
    """A double bass, plucked: a short bloom, more wood than string."""
    sound = _plucked(pitch, seconds, velocity, sustain=1.7, damping=1.4, position=0.3, brightness=0.85)
    bloom = 1 - 0.5 * np.exp(-np.arange(len(sound)) / (0.02 * RATE))
    return lowpass(1.3 * sound * bloom + _touch(len(sound), 0.06 * velocity, 150, 900, rng), 2400)


def synth_bass(pitch, seconds, velocity, rng):
    """A sawtooth through a filter that snaps shut, and a sine an octave below the ear's attention."""
    frames = int((seconds + 0.05) * RATE)
    hertz = float(frequency(pitch))
    open_filter = _decay(frames, 0.35 + 0.2 * velocity)
    drift = 1 + 0.0008 * rng.standard_normal()
    sound = (
        0.55 * oscillate(_saw(6), hertz, frames)
        + 0.35 * oscillate(_saw(40), hertz * drift, frames) * open_filter
    )
    sound += 0.5 * oscillate(_saw(1), hertz, frames)
    return velocity * sound * edges(frames, 0.004, 0.05)


def electric_piano(pitch, seconds, velocity, rng):
    """Tine piano by frequency modulation: a hammer's ping over a bell that turns to a plain tone as it fades.

    Two pairs of operators, as Chowning, "The synthesis of complex audio spectra by means of frequency
    modulation", J. Audio Eng. Soc. 21 (1973), 526-534.
    """
    hertz = float(frequency(pitch))
    frames = int((seconds + 0.25) * RATE)
    turns = np.arange(frames) * (2 * np.pi * hertz / RATE)
    body = _decay(frames, 4.5 * (262 / hertz) ** 0.5)
    sound = np.sin(turns + (0.5 + 1.7 * velocity**2) * _decay(frames, 1.6) * np.sin(turns))
    ping = min(len(turns), int(0.35 * RATE))
    ratio = 14.0 if hertz < 500 else 7.0
    sound[:ping] += 0.25 * velocity**2 * np.sin(ratio * turns[:ping]) * _decay(ping, 0.3)
    return 0.8 * velocity * body * sound * edges(frames, 0.003, 0.22)


def vibraphone(pitch, seconds, velocity, rng):
    """Metal bars with the motor on: partials at 1, 4 and 10 times the fundamental."""
    hertz = float(frequency(pitch))
    frames = int((seconds + 0.9) * RATE)
    turns = np.arange(frames) * (2 * np.pi * hertz / RATE)
    sound = np.sin(turns) * _decay(frames, 3.0)
    sound += 0.22 * velocity * np.sin(3.98 * turns) * _decay(frames, 0.9)
    sound += 0.05 * velocity * np.sin(9.9 * turns) * _decay(frames, 0.25)
    motor = 1 + 0.18 * np.sin(2 * np.pi * (5.2 * np.arange(frames) / RATE + rng.random()))
    return 0.8 * velocity * motor * sound * edges(frames, 0.002, 0.5)


def pad(pitch, seconds, velocity, rng, attack=0.35, release=0.7):
    """Three detuned sawtooths on each side, slow to come and slow to go, shape (2, n)."""
    frames = int((seconds + release) * RATE)
    hertz = float(frequency(pitch))
    envelope = velocity * edges(frames, attack, release)
    table = _saw(int(np.clip(7000 / hertz, 2, 24)))
    sides = np.zeros((2, frames))
    for side, cents in ((0, -9), (0, 4), (1, 8), (1, -5), (0, 0), (1, 1)):
        sides[side] += oscillate(table, hertz * 2 ** (cents / 1200), frames, rng.random())
    return 0.3 * sides * envelope


def accordion(pitch, seconds, velocity, rng):
    """Free reeds, two to a note and a little apart so that they beat, with the bellows behind them."""
    frames = int((seconds + 0.06) * RATE)
    hertz = float(frequency(pitch))
    reed = _reed()
    beating = 2 ** (7 / 1200)
    left = oscillate(reed, hertz, frames, rng.random())
    right = oscillate(reed, hertz * beating, frames, rng.random())
    bellows = (
        velocity * edges(frames, 0.06, 0.09) * (1 + 0.06 * np.sin(2 * np.pi * 3.1 * np.arange(frames) / RATE))
    )
    return 0.3 * np.stack([left + 0.45 * right, right + 0.45 * left]) * bellows


@cache
def _reed():
    order = np.arange(1, 19)
    return cycle(np.where(order % 2, 1.0, 0.55) / order**1.15)


def synth_lead(pitch, seconds, velocity, rng):
    """Two sawtooths and a vibrato that waits, shape (2, n)."""
    frames = int((seconds + 0.12) * RATE)
    time = np.arange(frames) / RATE
    bend = 0.22 * np.sin(2 * np.pi * 5.4 * time) * np.clip((time - 0.22) / 0.3, 0, 1) - 0.5 * np.exp(
        -time / 0.025
    )
    hertz = frequency(pitch + bend)
    table = _saw(22)
    left = oscillate(table, hertz, frames, rng.random())
    right = oscillate(table, hertz * 1.004, frames, rng.random())
    sides = np.stack([left + 0.5 * right, right + 0.5 * left])
    return 0.45 * velocity * sides * edges(frames, 0.012, 0.1)


def synth_pluck(pitch, seconds, velocity, rng):
    """A sawtooth whose filter closes at once: for running figures."""
    frames = int((seconds + 0.25) * RATE)
    hertz = float(frequency(pitch))
    harmonics = int(np.clip(9000 / hertz, 3, 30))
    sound = 0.5 * oscillate(_saw(3), hertz, frames) * _decay(frames, 0.8)
    sound += 0.7 * oscillate(_saw(harmonics), hertz, frames) * _decay(frames, 0.16 + 0.2 * velocity)
    return velocity * sound * edges(frames, 0.002, 0.12)


def kick(velocity, rng, *, deep=52.0, length=0.38):
    """A skin struck by a beater: a sine that falls in pitch, and a click."""
    frames = int(length * RATE)
    time = np.arange(frames) / RATE
    hertz = deep * (1 + 2.2 * np.exp(-time / 0.018) + 0.5 * np.exp(-time / 0.07))
    sound = np.sin(2 * np.pi * np.cumsum(hertz) / RATE) * np.exp(-time / (0.32 * length))
    return velocity * (
        sound * edges(frames, 0.0015, 0.05) + _touch(frames, 0.35 * velocity, 1800, 5000, rng, 0.006)
    )


def snare(velocity, rng):
    """Two modes of the skin, and the wires under it."""
    frames = int(0.3 * RATE)
    time = np.arange(frames) / RATE
    hertz = 186 * (1 + 0.18 * np.exp(-time / 0.02))
    turns = 2 * np.pi * np.cumsum(hertz) / RATE
    skin = (np.sin(turns) + 0.5 * np.sin(1.72 * turns)) * np.exp(-time / 0.055)
    wires = _noise(frames, rng, 1200, 9500) * (0.7 * np.exp(-time / 0.075) + 0.3 * np.exp(-time / 0.02))
    return velocity * (0.7 * skin + 0.9 * wires) * edges(frames, 0.001, 0.06)


def sidestick(velocity, rng):
    """The stick's butt on the rim."""
    frames = int(0.09 * RATE)
    time = np.arange(frames) / RATE
    wood = np.sin(2 * np.pi * 1720 * time) * np.exp(-time / 0.008) + 0.6 * np.sin(
        2 * np.pi * 540 * time
    ) * np.exp(-time / 0.013)
    return velocity * 0.8 * (wood + _touch(frames, 0.4, 1500, 6000, rng, 0.004)) * edges(frames, 0.0008, 0.02)


def brush(velocity, rng):
    """Wire brushes swept over a skin."""
    frames = int(0.24 * RATE)
    time = np.arange(frames) / RATE
    sweep = np.minimum(time / 0.035, 1) * np.exp(-time / 0.07)
    return velocity * 0.8 * _noise(frames, rng, 1800, 8000) * sweep * edges(frames, 0.004, 0.05)


def hat(velocity, rng, *, length=0.055):
    """A closed hi-hat: six square waves that agree on nothing, under noise."""
    frames = int(min(0.9, 6 * length) * RATE)
    start = int(rng.integers(0, RATE - frames))
    time = np.arange(frames) / RATE
    shape = np.exp(-time / (length * (0.6 + 0.5 * velocity)))
    return velocity * 0.6 * _metal()[start : start + frames] * shape * edges(frames, 0.0012, 0.02)


def open_hat(velocity, rng):
    """The same cymbals let ring."""
    return hat(velocity, rng, length=0.2)


def shaker(velocity, rng):
    """Seeds in a tube."""
    frames = int(0.11 * RATE)
    time = np.arange(frames) / RATE
    return (
        velocity
        * 0.5
        * _noise(frames, rng, 5200, 11000)
        * np.minimum(time / 0.02, 1)
        * np.exp(-time / 0.028)
        * edges(frames, 0.004, 0.02)
    )


def clap(velocity, rng):
    """Several hands, not quite together."""
    frames = int(0.28 * RATE)
    time = np.arange(frames) / RATE
    hands = sum(np.exp(-np.abs(time - delay) / 0.004) for delay in (0.006, 0.016, 0.027)) + 0.8 * np.exp(
        -time / 0.06
    )
    return velocity * 0.5 * _noise(frames, rng, 900, 5200) * hands * edges(frames, 0.003, 0.05)


def crash(velocity, rng):
    """A cymbal at the head of a section."""
    frames = int(2.2 * RATE)
    time = np.arange(frames) / RATE
    wash = _noise(frames, rng, 3200, 14000) * np.exp(-time / 0.55)
    ping = np.tile(_metal(), 3)[:frames] * np.exp(-time / 0.25)
    return velocity * 0.5 * (wash + 0.5 * ping) * edges(frames, 0.003, 0.4)


def tom(velocity, rng, *, hertz=110.0):
    """A tom-tom, tuned."""
    frames = int(0.42 * RATE)
    time = np.arange(frames) / RATE
    sweep = hertz * (1 + 0.35 * np.exp(-time / 0.05))
    sound = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * np.exp(-time / 0.13)
    return velocity * (sound * edges(frames, 0.0015, 0.08) + _touch(frames, 0.25, 700, 3500, rng, 0.01))


@cache
def _metal():
    """One second of the hi-hat's metal, the same in every demo."""
    rng = np.random.Generator(np.random.PCG64(808))
    time = np.arange(RATE) / RATE
    ratios = np.array([2.0, 3.0, 4.16, 5.43, 6.79, 8.21]) * 317
    # the sines of squares whose aliases would be heard: three odd harmonics each
    ring = sum(
        np.sin(2 * np.pi * order * hertz * time + rng.random()) / order
        for hertz in ratios
        for order in (1, 3, 5)
        if order * hertz < 18000
    )
    ring = highpass(ring, 6000, 4)
    noise = bandpass(rng.standard_normal(RATE), 7000, 16000)
    return 0.5 * ring / ring.std() + 0.5 * noise / noise.std()


@cache
def _noise_bank(low, high):
    rng = np.random.Generator(np.random.PCG64(int(low + high)))
    noise = bandpass(rng.standard_normal(6 * RATE), low, high, 1)
    return 0.35 * noise / noise.std()


def _noise(frames, rng, low, high):
    """A piece of noise between two frequencies, another one every time."""
    bank = _noise_bank(low, high)
    start = int(rng.integers(0, len(bank) - frames))
    return bank[start : start + frames]


def _touch(frames, strength, low, high, rng, seconds=0.012):
    """The knock of a finger, plectrum or beater, as long as the sound that it starts."""
    knock = np.zeros(frames)
    short = min(frames, int(6 * seconds * RATE))
    shape = np.exp(-np.arange(short) / (seconds * RATE)) * edges(short, 0.001, 2 * seconds)
    knock[:short] = strength * _noise(short, rng, low, high) / 0.35 * shape
    return knock
