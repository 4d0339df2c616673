import numpy as np
import pytest
from cadrender.demo.score import (
    Chord,
    Clock,
    melody_beats,
    parse_chord,
    parse_chords,
    parse_melody,
    parse_pitch,
    voice_chords,
)


@pytest.mark.parametrize(("text", "pitch"), [("C4", 60), ("A4", 69), ("F#3", 54), ("Bb4", 70), ("E1", 28)])
def test_pitches(text, pitch):
    assert parse_pitch(text) == pitch


@pytest.mark.parametrize(
    ("symbol", "chord"),
    [
        ("C", Chord(0, 0, (0, 4, 7))),
        ("F#m7", Chord(6, 6, (6, 9, 1, 4))),
        ("D/F#", Chord(2, 6, (2, 6, 9))),
        ("Bbmaj7", Chord(10, 10, (10, 2, 5, 9))),
        ("Em7b5", Chord(4, 4, (4, 7, 10, 2))),
    ],
)
def test_chord_symbols(symbol, chord):
    assert parse_chord(symbol) == chord


def test_chords_of_a_bar_share_it():
    assert [beat for beat, _ in parse_chords("C | Am7 D7 | G", 3)] == [0, 3, 4.5, 6]


def test_melodies():
    notes = parse_melody("C4 1 - .5 | D4 .5 E4 2", "la mo", start=8.0)
    assert [(note.beat, note.beats, note.pitch, note.syllable) for note in notes] == [
        (8.0, 1.0, 60, "la"),
        (9.5, 0.5, 62, "mo"),
        (10.0, 2.0, 64, "la"),
    ]
    assert melody_beats("C4 1 - .5 | D4 .5 E4 2") == 4


def test_voicings_hold_the_chord_and_move_little():
    chords = [parse_chord(symbol) for symbol in ("Dm7", "G7", "Cmaj7", "A7", "Dm7", "Gm6", "C")]
    voicings = voice_chords(chords, 53)
    for chord, voicing in zip(chords, voicings, strict=True):
        assert {pitch % 12 for pitch in voicing} == set(chord.classes)
        assert list(voicing) == sorted(voicing)
        assert min(voicing) >= 53
        assert max(voicing) <= 71
    moves = np.abs(np.diff(voicings, axis=0))
    assert moves.max() <= 5
    assert moves.mean() < 2


def test_straight_clock():
    clock = Clock(120, lead=0.1)
    assert [clock.seconds(beat) for beat in (0, 1, 1.25, 7)] == pytest.approx([0.1, 0.6, 0.725, 3.6])


def test_swung_clock_delays_every_second_note():
    clock = Clock(60, swing=2 / 3, unit=0.5, lead=0.0)
    times = [clock.seconds(beat) for beat in (0, 0.25, 0.5, 0.75, 1, 1.5, 2)]
    assert times == pytest.approx([0, 1 / 3, 2 / 3, 5 / 6, 1, 5 / 3, 2])
