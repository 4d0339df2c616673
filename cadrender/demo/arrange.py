"""From a score to stems: every player reads the same chart and plays it on one of the ``instruments``."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d

from cadrender.demo import effects, instruments
from cadrender.demo.effects import RATE
from cadrender.demo.score import Clock, humanise, parse_chords, parse_melody, voice_chords
from cadrender.demo.seeds import generator
from cadrender.demo.voice import Sung, sing
from cadrender.stems import MIXTURE, STEMS

CEILING = 0.89
"""Peak of a mastered mixture, about -1 dBFS."""

LOWEST_BASS = 28
"""MIDI pitch of a bass's lowest string, E1."""

_STEP = 0.25
_LOUDNESS = 0.75


def song_beats(song):
    """Return the song's length in beats."""
    return sum(len(section.chords.split("|")) for section in song.sections) * song.beats_per_bar


def play(song):
    """Play a song.

    Returns
    -------
    dict[str, numpy.ndarray]
        The stems, ``mixture`` first, int16 of shape (frames, 2) at 44 100 Hz. The mixture is the exact sum of
        the four others.
    """
    clock = Clock(song.tempo, song.swing, song.swing_unit)
    frames = int((clock.seconds(song_beats(song)) + 1.5) * RATE)
    room = effects.Room(generator(song.name, "hall"), song.hall, frames)
    players = {"vocals": _singers, "drums": _drummer, "bass": _bassist, "other": _comping_players}
    stems = {}
    for name in song.levels:
        stems[name] = players[name](song, clock, frames, room)
        effects.level(stems[name], _LOUDNESS * song.levels[name])
    return _master(stems, frames, song.fade)


def _master(stems, frames, fade):
    """Fade, limit all stems by the mixture's limiter, and round."""
    gain = effects.limiter(sum(stems.values()), CEILING)
    gain *= 32767 * effects.edges(frames, 0.0, fade)
    rounded = {name: np.zeros((frames, 2), dtype=np.int16) for name in STEMS}
    for name, track in stems.items():
        track *= gain
        rounded[name][:] = np.rint(track, out=track).T
        rounded[MIXTURE] += rounded[name]
    return rounded


def _sections(song):
    """Yield each section with the beat at which it starts and its number of bars."""
    beat = 0.0
    for section in song.sections:
        bars = len(section.chords.split("|"))
        yield section, beat, bars
        beat += bars * song.beats_per_bar


def _steps(pattern, start, bars, beats_per_bar):
    """Yield ``(beat, symbol, beats until the next symbol)`` of a pattern repeated bar by bar."""
    places = [place for place, symbol in enumerate(pattern) if symbol != "."]
    for bar in range(bars):
        for place, following in pairwise([*places, len(pattern)]):
            yield start + bar * beats_per_bar + place * _STEP, pattern[place], (following - place) * _STEP


class _Desk:
    """A stem's mixing desk: instruments go in by name, each to its channel's place and share of the room."""

    def __init__(self, song, frames, room):
        self._channels = song.channels
        self._room = room
        self._dry = np.zeros((2, frames))
        self._send = np.zeros(frames)

    def add(self, name, seconds, sound, gain=1.0):
        """Put a sound on the channel of an instrument."""
        channel = self._channels[name]
        gain *= channel.gain
        effects.place(self._dry, seconds, sound, channel.pan, gain)
        mono = sound if sound.ndim == 1 else 0.5 * (sound[0] + sound[1])
        effects.add(self._send, round(seconds * RATE), mono, channel.room * gain)

    def mix(self):
        """Return all that was added, in its room: shape (2, frames)."""
        self._room.answer(self._dry, self._send)
        return self._dry


def _drummer(song, clock, frames, room):
    desk = _Desk(song, frames, room)
    for section, start, bars in _sections(song):
        for bar in range(bars):
            patterns = section.fill if section.fill and bar == bars - 1 else section.drums
            if bar == 0:
                patterns = patterns | section.entry
            beat = start + bar * song.beats_per_bar
            for name, pattern in patterns.items():
                for when, symbol, _ in _steps(pattern, beat, 1, song.beats_per_bar):
                    rng = generator(song.name, name, f"{when:.2f}")
                    strength = float(np.clip(int(symbol) / 9 * (1 + rng.normal(0, 0.06)), 0.05, 1))
                    time = humanise(rng, clock.seconds(when), 0.002 if name == "kick" else 0.004)
                    stroke = getattr(instruments, name)
                    if name == "tom":
                        # down the toms through the bar
                        stroke = partial(stroke, hertz=165 - 20 * (when - beat))
                    desk.add(name, time, stroke(strength, rng))
    return effects.saturate(1.1 * desk.mix(), 0.8)


def _bassist(song, clock, frames, room):
    rng = generator(song.name, "bass")
    instrument = getattr(instruments, song.bass)
    track = np.zeros(frames)
    chords = _chords(song)
    for section, start, bars in _sections(song):
        for beat, symbol, beats in _steps(section.bass, start, bars, song.beats_per_bar):
            pitch = _bass_pitch(symbol, chords, _at(chords, beat))
            ghost = symbol == "x"
            velocity = (0.35 if ghost else 0.8 + 0.12 * (beat % 1 == 0)) * (1 + rng.normal(0, 0.05))
            seconds = clock.seconds(beat + beats) - clock.seconds(beat)
            seconds = min(0.06, seconds) if ghost else 0.93 * seconds
            at = round(humanise(rng, clock.seconds(beat), 0.003) * RATE)
            effects.add(track, at, instrument(pitch, seconds, velocity, rng))
    track = effects.highpass(effects.saturate(track, 0.9), 30, 1)
    return np.stack([track, track])


def _bass_pitch(symbol, chords, here):
    chord = chords[here][1]
    bottom = _lowest(chord)
    if symbol in "Rx":
        return bottom
    if symbol == "8":
        return bottom + 12
    if symbol == "A":
        # a half-tone below the next root, or the fifth where that would be this root again
        target = _lowest(chords[min(here + 1, len(chords) - 1)][1])
        return target - 1 if target - 1 not in (bottom, LOWEST_BASS - 1) else bottom + 7
    # of the chord's own notes: flattened where the chord flattens it
    return bottom + (chord.classes[2] - chord.bass) % 12


def _lowest(chord):
    return LOWEST_BASS + (chord.bass - LOWEST_BASS) % 12


def _chords(song):
    """Return ``[(beat, Chord), ...]`` of the whole song."""
    return [
        (start + beat, chord)
        for section, start, _ in _sections(song)
        for beat, chord in parse_chords(section.chords, song.beats_per_bar)
    ]


def _at(chords, beat):
    """Return the index of the chord that holds at a beat."""
    return max(index for index, chord in enumerate(chords) if chord[0] <= beat + 1e-9)


def _comping_players(song, clock, frames, room):
    desk = _Desk(song, frames, room)
    chords = _chords(song)
    voicings = voice_chords([chord for _, chord in chords], song.lowest_voice)
    for section, start, bars in _sections(song):
        for name, pattern in section.comping.items():
            rng = generator(song.name, name, f"{start:.2f}")
            instrument = getattr(instruments, name)
            for note in _comp(pattern, start, bars, song, chords, voicings):
                # a strum runs upwards through the strings
                strum = (
                    0.0 if note.single or "guitar" not in name else 0.0013 * (note.pitch - song.lowest_voice)
                )
                time = humanise(rng, clock.seconds(note.beat), 0.003) + strum
                seconds = clock.seconds(note.beat + note.beats) - clock.seconds(note.beat)
                velocity = note.velocity * (1 + rng.normal(0, 0.06))
                desk.add(
                    name, time, instrument(note.pitch, seconds, velocity, rng), 1.0 if note.single else 0.6
                )
        rng = generator(song.name, "solo", f"{start:.2f}")
        for note in parse_melody(section.tune, start=start):
            seconds = clock.seconds(note.beat + note.beats) - clock.seconds(note.beat)
            time = humanise(rng, clock.seconds(note.beat))
            sound = getattr(instruments, song.soloist)(note.pitch, 0.95 * seconds, note.velocity, rng)
            desk.add("solo", time, sound)
    track = effects.shelf(desk.mix(), 1800, 4)
    if song.pumping:
        track *= _pump(song, clock, frames)
    return track


def _comp(pattern, start, bars, song, chords, voicings):
    """Yield the notes of a comping pattern."""
    for beat, symbol, beats in _steps(pattern, start, bars, song.beats_per_bar):
        here = _at(chords, beat)
        change = _change(chords, here)
        if symbol in "abcd":
            # single voices ring over each other, but not into the next chord
            lasts = min(max(beats, song.ring), max(beats, change - beat))
            yield _Struck(
                beat, lasts, voicings[here]["abcd".index(symbol)], 0.62 + 0.1 * (beat % 1 == 0), True
            )
            continue
        ends = beat + beats
        while beat < ends:
            # where the chord changes while the stroke still sounds, the new one is struck
            stop = min(ends, change)
            for pitch in voicings[here]:
                yield _Struck(beat, stop - beat, pitch, 0.8 if symbol == "X" else 0.58, False)
            here, beat = here + 1, stop
            change = _change(chords, here)


def _change(chords, here):
    return chords[here + 1][0] if here + 1 < len(chords) else np.inf


@dataclass(frozen=True)
class _Struck:
    """A note of the accompaniment, in beats: one plucked by itself, or one of a chord."""

    beat: float
    beats: float
    pitch: int
    velocity: float
    single: bool


def _pump(song, clock, frames):
    """Return the gain of a compressor that listens to the kick drum."""
    gain = np.ones(frames)
    shape = 1 - song.pumping * np.exp(-np.arange(int(0.4 * RATE)) / (0.1 * RATE))
    for section, start, bars in _sections(song):
        for beat, _, _ in _steps(section.drums.get("kick", ""), start, bars, song.beats_per_bar):
            # it looks a little ahead, so that its fall is no click
            at = int((clock.seconds(beat) - 0.008) * RATE)
            piece = gain[at : at + len(shape)]
            np.minimum(piece, shape[: len(piece)], out=piece)
    return uniform_filter1d(gain, int(0.015 * RATE))


def _singers(song, clock, frames, room):
    track = np.zeros((2, frames))
    lead = _sung_part(song, clock, "melody")
    start, voice = sing(lead, generator(song.name, "lead"), register=song.register)
    effects.place(track, start, _treat(voice))
    harmony = _sung_part(song, clock, "harmony")
    for side, shift in ((-0.6, 0.011), (0.6, 0.017)):
        rng = generator(song.name, "harmony", f"{side}")
        start, voice = sing(harmony, rng, register=song.register, vibrato=0.25, breath=0.03)
        effects.place(track, start + shift, _treat(voice), pan=side, gain=0.3)
    track = effects.echo(track, 60 / song.tempo * 0.75, 0.16, repeats=2)
    room.answer(track, 0.11 * (track[0] + track[1]))
    return track


def _treat(voice):
    """What an engineer does to a voice: no rumble, even loudness, presence."""
    return effects.shelf(effects.highpass(effects.compress(voice, 2.5), 110), 2600, 8)


def _sung_part(song, clock, part):
    """Return the notes of the singer's melody or of the harmony under it, in seconds."""
    rng = generator(song.name, part, "timing")
    notes = []
    for section, start, _ in _sections(song):
        for note in parse_melody(getattr(section, part), section.lyrics, start):
            begin = humanise(rng, clock.seconds(note.beat) + 0.01, 0.008)
            if notes and begin - notes[-1].stop < 0.08:
                # legato: no gap before the next note
                notes[-1] = replace(notes[-1], stop=begin)
            stop = clock.seconds(note.beat + note.beats)
            notes.append(Sung(begin, stop, note.pitch, note.velocity, note.syllable))
    return notes
