"""From a score to stems: every note on its instrument, every stem in a small room, the mixture their sum."""

from functools import cache

import numpy as np
from scipy.signal import oaconvolve

from cadrender.demo.instruments import PATCHES, RATE, band, decayed, fade, play_note
from cadrender.demo.seeds import generator
from cadrender.demo.voice import sing
from cadrender.stems import MIXTURE, STEMS

CEILING = 0.89  # highest peak of a mixture, about -1 dBFS

_SINGERS = {"vocals": (1.0, 0.0), "harmony": (0.5, 0.4)}  # gain and pan


def play(song):
    """Return a song's stems, ``mixture`` (the exact sum of the others) first: int16, shape (frames, 2)."""
    frames = int((song.seconds(song.chords()[-1][0]) + 1.5) * RATE)
    # left, right and what is sent to the room
    desk = {stem: np.zeros((3, frames)) for stem in song.levels}
    players = cache(generator)
    phrases = {part: [] for part in _SINGERS}
    for note in song.notes():
        rng = players(song.name, note.part)
        # as precise as good players are
        start, stop = song.seconds(note.start) + rng.normal(0, 0.003), song.seconds(note.stop)
        strength = note.strength * min(1.0, 1 + rng.normal(0, 0.05))
        if note.part in phrases:
            sung = phrases[note.part]
            if not sung or start - sung[-1][-1][1] > 0.2:
                sung.append([])
            sung[-1].append((start, stop, note.pitch, strength, int(2 * note.start)))
            continue
        patch = PATCHES[note.part]
        sound = play_note(patch, note.pitch, stop - start, strength, rng)
        width = 0.7 if len(sound) > 1 else 0.0
        for row, offset in zip(sound, np.linspace(-width, width, len(sound)), strict=True):
            _add(desk[patch.stem], start, row, patch.gain, patch.pan + offset, patch.room)
    for part, (gain, pan) in _SINGERS.items():
        rng = generator(song.name, part, "voice")
        for phrase in phrases[part]:
            _add(desk["vocals"], phrase[0][0], sing(phrase, song.voice, rng), gain, pan, 0.12)
    return _master({stem: _finish(*desk.pop(stem), level) for stem, level in song.levels.items()}, frames)


def _add(tracks, seconds, signal, gain, pan, share) -> None:
    """Add a mono signal to left, right and the room's send, panned with equal power; its end may be cut."""
    start, side = round(seconds * RATE), (np.clip(pan, -1, 1) + 1) * np.pi / 4
    for track, weight in zip(tracks, (np.cos(side), np.sin(side), share), strict=True):
        piece = track[start : start + len(signal)]
        piece += gain * weight * signal[: len(piece)]


def _finish(left, right, send, level):
    """Add the room to a stem, bend its peaks as tape does, and bring it to a root mean square of ``level``."""
    track = np.stack([left, right])
    if send.any():
        track += oaconvolve(send[None], _room(), axes=1)[:, : len(send)]
    scale = 0.15 / np.sqrt(np.mean(track**2))
    return level / 0.15 * np.tanh(scale * track)


@cache
def _room():
    """Impulse response of a small room, shape (2, frames): noise whose treble dies sooner."""
    time = np.arange(RATE) / RATE
    low, high = band(200, 2500), band(2500, 9000)
    sides = [low[n:][:RATE] * decayed(time, 1.1) + high[n:][:RATE] * decayed(time, 0.45) for n in (0, RATE)]
    tail = np.pad(fade(np.stack(sides), 0.004, 0.3), ((0, 0), (int(0.012 * RATE), 0)))
    return tail / np.sqrt((tail**2).sum() / 2)


def _master(stems, frames):
    """Keep the mixture under the ceiling, fade out and round."""
    gain = 32767 * min(1.0, CEILING / np.abs(sum(stems.values())).max())
    rounded = {name: np.zeros((frames, 2), dtype=np.int16) for name in STEMS}
    for name, track in stems.items():
        rounded[name][:] = np.rint(fade(gain * track, 0.01, 2.5)).T
        rounded[MIXTURE] += rounded[name]
    return rounded
