"""The band: plays notes with the patches of ``instruments.yaml``."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import yaml
from scipy.signal import butter, sosfilt

from cadrender.demo.seeds import generator

Floats = npt.NDArray[np.float64]

RATE = 44100
_TABLE = 1 << 14

_Pitch = TypeVar("_Pitch", float, Floats)


@dataclass(frozen=True)
class Patch:
    """An instrument; ``instruments.yaml`` explains the fields."""

    stem: str
    gain: float = 1.0
    pan: float = 0.0
    room: float = 0.0
    tones: tuple[tuple[float, tuple[float, ...], float], ...] = ()
    noise: tuple[float, float, float, float] = (0, 0, 0, 0)
    attack: float = 0.0015
    release: float = 0.06
    detune: tuple[float, ...] = (0.0,)
    vibrato: float = 0.0
    pitch: float = 0.0
    sweep: float = 0.0


_TABLES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_bytes())
PATCHES = {name: Patch(**fields) for name, fields in _TABLES.items()}


def play_note(patch: Patch, pitch: int, seconds: float, strength: float, rng: np.random.Generator) -> Floats:
    """A note: one row per detuned copy, (copies, frames), with a peak near its strength.

    It lasts for ``seconds`` plus the release, or until it has decayed; drums (pitch 0) always ring out.
    """
    hertz = frequency(pitch or patch.pitch)
    stretch = (262 / hertz) ** 0.4 if pitch else 1.0
    low, high, level, fall = patch.noise
    ring = max([stretch * decay for _, _, decay in patch.tones] + [fall])
    frames = int(RATE * min(seconds + patch.release if pitch else np.inf, ring))
    # the oscillators' time runs faster while the pitch is raised
    bent = time = np.arange(frames) / RATE
    if patch.sweep:
        bent = time + 0.03 * patch.sweep * (1 - np.exp(-time / 0.03))
    if patch.vibrato:
        bent = time + patch.vibrato / 34 * np.clip(3 * time - 0.7, 0, 1) * np.sin(34 * time)
    sound = np.zeros((len(patch.detune), frames))
    for number, (multiple, levels, decay) in enumerate(patch.tones):
        end = int(min(frames, stretch * decay * RATE))
        # soft notes are duller
        shape = (0.5 + 0.5 * strength) ** number * decayed(time[:end], stretch * decay)
        for row, cents in zip(sound, patch.detune, strict=True):
            phase = rng.random() if len(sound) > 1 else 0.0
            turns = bent[:end] * (multiple * hertz * 2 ** (cents / 1200)) + phase
            row[:end] += shape * oscillate(tuple(levels), turns)
    if level:
        end = int(min(frames, fall * RATE))
        start = rng.integers(0, 3 * RATE)
        sound[:, :end] += level * decayed(time[:end], fall) * band(low, high)[start : start + end]
    return fade(strength * sound, patch.attack, patch.release)


def frequency(pitch: _Pitch) -> _Pitch:
    """The frequency in Hz of a MIDI pitch, A4 at 440."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


@cache
def _period(levels: tuple[float, ...]) -> Floats:
    """One period of a sum of harmonics with the given levels, from the fundamental up."""
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
    spectrum[1 : len(levels) + 1] = -0.5j * _TABLE * np.asarray(levels)
    period: Floats = np.fft.irfft(spectrum)
    return period


def oscillate(levels: tuple[float, ...], turns: Floats) -> Floats:
    """A sum of harmonics with the given levels, at the given numbers of turns."""
    return _period(levels)[(turns * _TABLE).astype(np.int64) & (_TABLE - 1)]


@cache
def band(low: float, high: float) -> Floats:
    """Six seconds of noise between two frequencies in Hz."""
    noise = generator("noise", f"{low} {high}").standard_normal(6 * RATE)
    noise = sosfilt(butter(2, (low, high), "band", fs=RATE, output="sos"), noise)
    return 0.35 * noise / noise.std()


def decayed(time: Floats, seconds: float) -> Floats:
    """An exponential that decays by 60 dB in ``seconds``."""
    return np.exp(time * (-6.9 / seconds))


def fade(sound: Floats, attack: float, release: float) -> Floats:
    """Fade both ends of a sound in place along its last axis (lengths in seconds), and return it."""
    for side, seconds in (sound, attack), (sound[..., ::-1], release):
        frames = min(int(seconds * RATE), sound.shape[-1])
        side[..., :frames] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(frames) + 0.5) / frames)
    return sound
