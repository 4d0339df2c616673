"""What is written on paper: melodies, chords and their voicings, step patterns, and how people time them."""

import re
from dataclasses import dataclass
from itertools import chain, product

import numpy as np

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "b": -1}
_QUALITIES = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "maj7": (0, 4, 7, 11),
    "m7b5": (0, 3, 6, 10),
    "add9": (0, 2, 4, 7),
    "m9": (2, 3, 7, 10),
    "maj9": (2, 4, 7, 11),
    "9": (2, 4, 7, 10),
    "sus4": (0, 5, 7),
    "7sus4": (0, 5, 7, 10),
}


@dataclass(frozen=True)
class Note:
    """A note: where it starts and how long it lasts, in beats, its MIDI pitch, its strength (0 to 1)."""

    beat: float
    beats: float
    pitch: float
    velocity: float = 0.8
    syllable: str = ""


@dataclass(frozen=True)
class Chord:
    """A chord symbol in numbers: pitch classes from the root up, and the bass note's pitch class."""

    root: int
    bass: int
    classes: tuple[int, ...]


def parse_pitch(text):
    """Return the MIDI number of a pitch such as ``F#4`` (``C4`` is 60)."""
    letter, accidental, octave = re.fullmatch(r"([A-G])([#b]?)(\d)", text).groups()
    return 12 * (int(octave) + 1) + _STEPS[letter] + _ACCIDENTALS[accidental]


def parse_chord(symbol):
    """Return the chord of a symbol such as ``F#m7`` or ``D/F#``."""
    letter, accidental, quality, _, bass = re.fullmatch(
        r"([A-G])([#b]?)([^/]*)(/([A-G][#b]?))?", symbol
    ).groups()
    root = (_STEPS[letter] + _ACCIDENTALS[accidental]) % 12
    lowest = parse_pitch(f"{bass}4") % 12 if bass else root
    return Chord(root, lowest, tuple((root + step) % 12 for step in _QUALITIES[quality]))


def parse_chords(text, beats_per_bar):
    """Return ``[(beat, Chord), ...]`` of bars parted by ``|``; the chords of a bar share it equally."""
    chords = []
    for number, bar in enumerate(text.split("|")):
        symbols = bar.split()
        share = beats_per_bar / len(symbols)
        chords += [
            (number * beats_per_bar + place * share, parse_chord(symbol))
            for place, symbol in enumerate(symbols)
        ]
    return chords


def parse_melody(text, lyrics="", start=0.0):
    """Return the notes of a melody written as ``pitch beats pitch beats ...``.

    ``-`` is a rest, ``|`` a bar line. The syllables of ``lyrics`` go to the notes in order, and begin again
    when they run out.
    """
    words = text.replace("|", " ").split()
    syllables = lyrics.split() or ["la"]
    notes = []
    beat = start
    for pitch, beats in zip(words[::2], words[1::2], strict=True):
        if pitch != "-":
            # first beats and long notes weigh more than passing ones
            velocity = 0.72 + 0.1 * (beat % 1 == 0) + 0.08 * min(float(beats), 2)
            syllable = syllables[len(notes) % len(syllables)]
            notes.append(Note(beat, float(beats), parse_pitch(pitch), velocity, syllable))
        beat += float(beats)
    return notes


def melody_beats(text):
    """Return how many beats a melody lasts, rests included."""
    return sum(float(beats) for beats in text.replace("|", " ").split()[1::2])


def voice_chords(chords, lowest, voices=4):
    """Return a voicing, ascending MIDI pitches, for each chord: one moves as little as possible to the next.

    Every voicing has all the chord's pitch classes within an octave and a half above ``lowest``; triads
    double a note.
    """
    voicings = []
    for chord in chords:
        candidates = _candidates(chord, lowest, voices)
        last = voicings[-1] if voicings else tuple(lowest + 4 + 4 * place for place in range(voices))
        voicings.append(
            min(candidates, key=lambda candidate: (_movement(last, candidate, lowest), candidate))
        )
    return voicings


def _candidates(chord, lowest, voices):
    ranges = [
        [pitch for pitch in range(lowest, lowest + 19) if pitch % 12 == pitch_class]
        for pitch_class in chord.classes
    ]
    extra = [list(chain(*ranges))] * (voices - len(chord.classes))
    found = set()
    for pitches in product(*ranges, *extra):
        voicing = tuple(sorted(pitches))
        gaps = np.diff(voicing)
        # no doubled pitches, no clusters at the bottom, nothing left alone
        if gaps.min() >= 1 and gaps[0] >= 3 and gaps.max() <= 9:
            found.add(voicing)
    return found


def _movement(last, voicing, lowest):
    centre = lowest + 10
    drift = abs(sum(voicing) / len(voicing) - centre)
    return sum(abs(a - b) for a, b in zip(last, voicing, strict=True)) + 0.7 * drift


@dataclass(frozen=True)
class Clock:
    """Turns beats into seconds: a tempo, a swing, and the lead-in before the first beat.

    Attributes
    ----------
    tempo : float
        Beats a minute.
    swing : float
        Where the second of two swung notes falls between the first and the next pair: 0.5 is straight, 2/3 a
        triplet feel.
    unit : float
        Length of a swung note, in beats.
    lead : float
        Seconds before beat 0.
    """

    tempo: float
    swing: float = 0.5
    unit: float = 0.5
    lead: float = 0.12

    def seconds(self, beat):
        """Return the time of a beat."""
        pair = 2 * self.unit
        whole, place = divmod(beat, pair)
        place /= pair
        if place < 0.5:
            place *= 2 * self.swing
        else:
            place = self.swing + (2 * place - 1) * (1 - self.swing)
        return self.lead + (whole + place) * pair * 60 / self.tempo


def humanise(rng, seconds, spread=0.005):
    """Return a time moved by as much as a good player misses the beat."""
    return max(0.0, seconds + float(np.clip(rng.normal(0, spread), -2.5 * spread, 2.5 * spread)))
