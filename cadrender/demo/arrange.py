"""From a score to stems: each note played on its instrument, each stem in a small room, the mixture their sum."""

from collections.abc import Iterable, Mapping
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.signal import oaconvolve

from cadrender.demo.instruments import PATCHES, RATE, Floats, band, decayed, fade, play_note
from cadrender.demo.seeds import generator
from cadrender.demo.songs import DemoSong
from cadrender.demo.voice import SungNote, sing
from cadrender.stems import MIXTURE, STEMS

CEILING = 0.89  # highest peak of a mixture, about -1 dBFS

_SINGERS = {"vocals": (1.0, 0.0), "harmony": (0.5, 0.4)}  # gain and pan


def play(song: DemoSong) -> dict[str, npt.NDArray[np.int16]]:
    """A song's stems, (frames, 2): first ``mixture``, the exact sum of the others."""
    frames = int((song.seconds(song.chords()[-1][0]) + 1.5) * RATE)
    # left, right and the send to the room
    desk = {stem: np.zeros((3, frames)) for stem in song.levels}
    players = cache(generator)
    phrases: dict[str, list[list[SungNote]]] = {part: [] for part in _SINGERS}
    for note in song.notes():
        rng = players(song.name, note.part)
        # as tight as good players
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
    return _master({stem: _finish(desk.pop(stem), level) for stem, level in song.levels.items()}, frames)


def _add(
    tracks: Iterable[Floats], seconds: float, signal: Floats, gain: float, pan: float, share: float
) -> None:
    """Add a mono signal to left, right and the room's send, panned with equal power; its end may be cut off."""
    start, side = round(seconds * RATE), (np.clip(pan, -1, 1) + 1) * np.pi / 4
    for track, weight in zip(tracks, (np.cos(side), np.sin(side), share), strict=True):
        piece = track[start : start + len(signal)]
        piece += gain * weight * signal[: len(piece)]


def _finish(tracks: Floats, level: float) -> Floats:
    """Add the room to a stem, saturate its peaks like tape, and bring it to an RMS level of ``level``."""
    track, send = tracks[:2], tracks[2]
    if send.any():
        track += oaconvolve(send[None], _room(), axes=1)[:, : len(send)]
    scale = 0.15 / np.sqrt(np.mean(track**2))
    finished: Floats = level / 0.15 * np.tanh(scale * track)
    return finished


@cache
def _room() -> Floats:
    """Impulse response of a small room, (2, frames): noise whose treble decays faster."""
    time = np.arange(RATE) / RATE
    low, high = band(200, 2500), band(2500, 9000)
    sides = [low[n:][:RATE] * decayed(time, 1.1) + high[n:][:RATE] * decayed(time, 0.45) for n in (0, RATE)]
    tail = np.pad(fade(np.stack(sides), 0.004, 0.3), ((0, 0), (int(0.012 * RATE), 0)))
    room: Floats = tail / np.sqrt((tail**2).sum() / 2)
    return room


def _master(stems: Mapping[str, Floats], frames: int) -> dict[str, npt.NDArray[np.int16]]:
    """Keep the mixture below the ceiling, fade out and round."""
    gain = 32767 * min(1.0, CEILING / np.abs(sum(stems.values())).max())
    rounded = {name: np.zeros((frames, 2), dtype=np.int16) for name in STEMS}
    for name, track in stems.items():
        rounded[name][:] = np.rint(fade(gain * track, 0.01, 2.5)).T
        rounded[MIXTURE] += rounded[name]
    return rounded
