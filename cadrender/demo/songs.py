"""The demo's songs: reads the scores in ``songs.yaml`` and turns each into a list of notes."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

LOWEST_BASS, LOWEST_CHORD = 28, 54  # MIDI pitches: E1, the lowest string of a bass, and F#3
_BOOK = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_bytes())
_SCALE = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

Chord = tuple[float, int, tuple[int, ...]]
"""Beat, bass pitch class, all pitch classes."""


@dataclass(frozen=True)
class Note:
    """A note of an instrument, of ``vocals`` or of ``harmony``: beats, MIDI pitch (0: drums), strength (0 to 1)."""

    part: str
    start: float
    stop: float
    pitch: int
    strength: float


@dataclass(frozen=True)
class DemoSong:
    """A score; ``songs.yaml`` explains the fields."""

    name: str
    genre: str
    tempo: float
    levels: dict[str, float]
    sections: list[dict[str, Any]]
    bar: int = 4
    swing: float = 0.0
    voice: str = "high"

    def seconds(self, beat: float) -> float:
        """The time of a beat: the first is at 0.12 s, every second sixteenth swings."""
        return 0.12 + (beat + self.swing * (beat % 0.5 >= 0.25)) * 60 / self.tempo

    def chords(self) -> list[Chord]:
        """All chords; the last one is repeated at the end."""
        bars = [bar.split() for section in self.sections for bar in section["chords"].split("|")]
        chords = [
            (self.bar * (number + place / len(bar)), *parse_chord(symbol))
            for number, bar in enumerate(bars)
            for place, symbol in enumerate(bar)
        ]
        return [*chords, (self.bar * len(bars), *chords[-1][1:])]

    def notes(self) -> list[Note]:
        """All notes, section by section and part by part."""
        notes: list[Note] = []
        start, chords = 0, self.chords()
        voicings = voice_chords([classes for _, _, classes in chords])
        for section in self.sections:
            stop = start + self.bar * len(section["chords"].split("|"))
            for part, text in section.get("melodies", {}).items():
                notes += parse_melody(part, text, start)
            for part, text in section["patterns"].items():
                for beat, symbol, after in parse_pattern(text, start, stop, self.bar):
                    here = max(k for k, chord in enumerate(chords) if chord[0] <= beat)
                    change = chords[here + 1][0]
                    # single voices ring until the next chord
                    end = change if symbol in "abcd" else min(after, change)
                    pitches, strength = _struck(symbol, voicings[here], chords[here], chords[here + 1])
                    notes += [Note(part, beat, end, pitch, strength) for pitch in pitches]
            start = stop
        return notes


def parse_pitch(text: str) -> int:
    """The MIDI number of a pitch such as ``F#4`` (``C4`` is 60)."""
    return 12 * (int(text[-1]) + 1) + _SCALE[text[0]] + text.count("#") - text.count("b")


def parse_chord(symbol: str) -> tuple[int, tuple[int, ...]]:
    """The bass pitch class and all pitch classes of a chord such as ``F#m7`` or ``D/F#``."""
    if not (match := re.fullmatch(r"([A-G][#b]?)([^/]*)/?([A-G][#b]?)?", symbol)):
        raise ValueError(f"{symbol!r} is not a chord such as F#m7 or D/F#")
    root, quality, bass = match.groups()
    classes = tuple((parse_pitch(f"{root}4") + step) % 12 for step in _BOOK["qualities"][quality])
    return parse_pitch(f"{bass or root}4") % 12, classes


def parse_melody(part: str, text: str, start: float) -> list[Note]:
    """The notes of a melody written as ``pitch beats pitch beats ...``."""
    words = text.replace("|", " ").split()
    notes: list[Note] = []
    for pitch, beats in zip(words[::2], map(float, words[1::2]), strict=True):
        if pitch != "-":
            # notes on the beat and long notes are stronger
            strength = 0.72 + 0.1 * (start % 1 == 0) + 0.08 * min(beats, 2)
            notes.append(Note(part, start, start + beats, parse_pitch(pitch), strength))
        start += beats
    return notes


def parse_pattern(text: str, start: int, stop: int, bar: int) -> Iterator[tuple[float, str, float]]:
    """Yield ``(beat, symbol, beat of the next symbol or stop)`` from a pattern that repeats until ``stop``."""
    steps = "".join(steps.ljust(4 * bar, ".") for steps in text.split())
    count = 4 * (stop - start)
    places = [place for place in range(count) if steps[place % len(steps)] != "."]
    for place, following in pairwise([*places, count]):
        yield start + place / 4, steps[place % len(steps)], start + following / 4


def voice_chords(chords: Iterable[Sequence[int]]) -> list[list[int]]:
    """Four ascending MIDI pitches per chord: close positions with small steps from one to the next."""
    voicings = [[LOWEST_CHORD + 4 * place for place in range(1, 5)]]
    for classes in chords:
        inversions = []
        for turn in range(len(classes)):
            pitches = [LOWEST_CHORD]
            for place in range(turn, turn + 4):
                pitches.append(pitches[-1] + (classes[place % len(classes)] - pitches[-1]) % 12)
            inversions.append(pitches[1:])
        voicings.append(min(inversions, key=lambda pitches: abs(sum(pitches) - sum(voicings[-1]))))
    return voicings[1:]


def _struck(symbol: str, voicing: list[int], chord: Chord, following: Chord) -> tuple[list[int], float]:
    """The pitches and strength of a pattern symbol."""
    if symbol.isdigit():
        return [0], int(symbol) / 9
    if symbol in "Xx":
        return voicing, 0.8 if symbol == "X" else 0.58
    if symbol in "abcd":
        return [voicing["abcd".index(symbol)]], 0.7
    root, target = (LOWEST_BASS + (bass - LOWEST_BASS) % 12 for _, bass, _ in (chord, following))
    # a semitone below the next root, or the fifth if that is this root or below the lowest string
    approach = target - 1 if target - 1 not in (root, LOWEST_BASS - 1) else root + 7
    # the chord's fifth, which may be flattened, above the bass
    fifth = root + (chord[2][2] - chord[1]) % 12
    return [{"R": root, "O": root + 12, "F": fifth, "A": approach}[symbol]], 0.85


SONGS = tuple(DemoSong(**song) for song in _BOOK["songs"])
