from itertools import pairwise
from typing import Any

import pytest

from cadrender.demo.instruments import PATCHES, RATE, frequency
from cadrender.demo.songs import (
    SONGS,
    DemoSong,
    parse_chord,
    parse_melody,
    parse_pattern,
    parse_pitch,
    voice_chords,
)
from cadrender.stems import VDBO

songs = pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)


def made_up(**fields):
    given: dict[str, Any] = {"name": "", "genre": "", "tempo": 120, "levels": {}, "sections": []}
    return DemoSong(**(given | fields))


def test_names_are_awkward_on_purpose():
    together = " ".join(song.name for song in SONGS)
    assert all(sign in together for sign in " '&.")
    assert not together.isascii()
    assert len({song.name for song in SONGS}) == len(SONGS) == 4


def test_keys_tempos_and_styles_differ():
    keys = {song.chords()[0][1] for song in SONGS}
    assert len(keys) == len({song.tempo for song in SONGS}) == len(SONGS)
    assert len({song.genre for song in SONGS}) == len(SONGS)


def test_one_song_has_no_voice():
    assert [set(VDBO) - set(song.levels) for song in SONGS].count({"vocals"}) == 1
    silent = next(song for song in SONGS if "vocals" not in song.levels)
    assert not {"vocals", "harmony"} & {note.part for note in silent.notes()}


@songs
def test_bars_add_up(song):
    assert 20 < song.seconds(song.chords()[-1][0]) < 38
    for section in song.sections:
        bars = len(section["chords"].split("|"))
        for text in section.get("melodies", {}).values():
            words = text.replace("|", " ").split()
            assert sum(map(float, words[1::2])) == bars * song.bar
            assert text.count("|") == bars - 1
        for text in section["patterns"].values():
            assert bars % len(text.split()) == 0
            assert all(len(bar) <= 4 * song.bar for bar in text.split())


@songs
def test_harmony_stays_below_the_melody(song):
    notes = song.notes()
    melody = {note.start: note for note in notes if note.part == "vocals"}
    for low in (note for note in notes if note.part == "harmony"):
        assert low.pitch <= melody[low.start].pitch
        assert low.stop == melody[low.start].stop


@songs
def test_every_part_is_sung_or_has_a_patch_of_its_kind(song):
    symbols = {"drums": set(".123456789"), "bass": set(".ROFA"), "other": set(".Xxabcd")}
    for section in song.sections:
        for part, text in section["patterns"].items():
            assert set(text) - {" "} <= symbols[PATCHES[part].stem], part
    parts = {note.part for note in song.notes()}
    assert {PATCHES[part].stem for part in parts - {"vocals", "harmony"}} == {"drums", "bass", "other"}


@songs
def test_notes_can_be_played(song):
    last = song.chords()[-1][0]
    for note in song.notes():
        assert 0 <= note.start < note.stop <= last
        assert 0 < note.strength <= 1
        patch = PATCHES.get(note.part)
        assert (note.pitch == 0) == (patch is not None and patch.stem == "drums")
        # nothing is mirrored at half the sampling rate
        for multiple, levels, _ in patch.tones if patch else ():
            assert multiple * len(levels) * frequency(note.pitch or (patch.pitch if patch else 0)) < RATE / 2


@pytest.mark.parametrize(("text", "pitch"), [("C4", 60), ("A4", 69), ("F#3", 54), ("Bb4", 70), ("E1", 28)])
def test_pitches(text, pitch):
    assert parse_pitch(text) == pitch


@pytest.mark.parametrize(
    ("symbol", "bass", "classes"),
    [
        ("C", 0, (0, 4, 7)),
        ("F#m7", 6, (6, 9, 1, 4)),
        ("D/F#", 6, (2, 6, 9)),
        ("Bbmaj7", 10, (10, 2, 5, 9)),
        ("Em7b5", 4, (4, 7, 10, 2)),
    ],
)
def test_chord_symbols(symbol, bass, classes):
    assert parse_chord(symbol) == (bass, classes)


def test_chords_of_a_bar_share_it():
    song = made_up(
        bar=3, sections=[{"chords": "C | Am7 D7", "patterns": {}}, {"chords": "G", "patterns": {}}]
    )
    assert [(beat, bass) for beat, bass, _ in song.chords()] == [(0, 0), (3, 9), (4.5, 2), (6, 7), (9, 7)]


def test_melodies():
    notes = parse_melody("vocals", "C4 1 - .5 | D4 .5 E4 2", 8.0)
    assert [(note.start, note.stop, note.pitch) for note in notes] == [
        (8, 9, 60),
        (9.5, 10, 62),
        (10, 12, 64),
    ]
    with pytest.raises(ValueError, match="shorter"):
        parse_melody("vocals", "C4 1 D4", 0.0)


def test_patterns_repeat_and_short_bars_end_in_rests():
    strokes = list(parse_pattern("9.......5 3", 8, 24, 4))
    assert strokes == [
        (8, "9", 10),
        (10, "5", 12),
        (12, "3", 16),
        (16, "9", 18),
        (18, "5", 20),
        (20, "3", 24),
    ]


def test_bass_follows_the_chords():
    patterns = {"electric_bass": "R...F...O...A..."}
    song = made_up(sections=[{"chords": "C | Am | Em7b5 | F", "patterns": patterns}])
    pitches = [note.pitch for note in song.notes()]
    # next roots are approached by the fifth where a semitone below is too low (E) or the same note (F after E)
    assert pitches == [36, 43, 48, 32, 33, 40, 45, 40, 28, 34, 40, 35, 29, 36, 41, 28]


def test_plucked_voices_ring_until_the_chord_changes():
    song = made_up(sections=[{"chords": "C F | G", "patterns": {"nylon_guitar": "a.b.X...x......."}}])
    notes = song.notes()[:10]
    assert [(note.start, note.stop) for note in notes] == [(0, 2), (0.5, 2), *[(1, 2)] * 4, *[(2, 4)] * 4]
    chord = [note.pitch for note in notes[2:6]]
    assert [note.pitch for note in notes[:2]] == chord[:2]
    assert {pitch % 12 for pitch in chord} == {0, 4, 7}


def test_voicings_hold_the_chord_and_move_little():
    symbols = ("Dm7", "G7", "Cmaj7", "A7", "Dm7", "Gm6", "C")
    chords = [parse_chord(symbol)[1] for symbol in symbols]
    voicings = voice_chords(chords)
    for classes, voicing in zip(chords, voicings, strict=True):
        assert {pitch % 12 for pitch in voicing} == set(classes)
        assert voicing == sorted(set(voicing))
        assert min(voicing) >= 54
        assert max(voicing) <= 74
    moves = [
        abs(after - before)
        for one, other in pairwise(voicings)
        for before, after in zip(one, other, strict=True)
    ]
    assert max(moves) <= 5
    assert sum(moves) / len(moves) < 2.5


def test_straight_and_swung_beats():
    beats = (0, 0.25, 0.5, 0.75, 1, 7)
    straight = made_up(tempo=60)
    assert [straight.seconds(beat) for beat in beats] == pytest.approx([0.12, 0.37, 0.62, 0.87, 1.12, 7.12])
    swung = made_up(tempo=60, swing=0.08)
    assert [swung.seconds(beat) for beat in beats] == pytest.approx([0.12, 0.45, 0.62, 0.95, 1.12, 7.12])
