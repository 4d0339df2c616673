import inspect

import pytest
from cadrender.demo.score import melody_beats, parse_chords, parse_melody

from cadrender.demo import instruments
from cadrender.demo.arrange import song_beats
from cadrender.demo.songs import SONGS
from cadrender.stems import VDBO

songs = pytest.mark.parametrize("song", SONGS, ids=lambda song: song.name)


def test_names_are_awkward_on_purpose():
    together = " ".join(song.name for song in SONGS)
    assert all(sign in together for sign in " '&.")
    assert not together.isascii()
    assert len({song.name for song in SONGS}) == len(SONGS)


def test_keys_tempos_and_styles_differ():
    assert len({song.key for song in SONGS}) == len({song.tempo for song in SONGS}) == len(SONGS)
    assert len({song.genre for song in SONGS}) == len(SONGS)


def test_one_song_has_no_voice():
    assert [set(VDBO) - set(song.levels) for song in SONGS].count({"vocals"}) == 1
    silent = next(song for song in SONGS if "vocals" not in song.levels)
    assert not any(section.melody for section in silent.sections)


@songs
def test_bars_add_up(song):
    assert 20 < song_beats(song) * 60 / song.tempo < 38
    for section in song.sections:
        beats = len(section.chords.split("|")) * song.beats_per_bar
        assert parse_chords(section.chords, song.beats_per_bar)[-1][0] < beats
        for tune in (section.melody, section.harmony, section.tune):
            assert not tune or melody_beats(tune) == beats
        patterns = [section.drums, section.fill, section.entry, section.comping]
        steps = {len(pattern) for group in patterns for pattern in group.values()} | {len(section.bass)}
        assert steps <= {0, 4 * song.beats_per_bar}


@songs
def test_harmony_sings_the_same_syllables(song):
    for section in song.sections:
        if section.harmony:
            melody, harmony = parse_melody(section.melody), parse_melody(section.harmony)
            assert [note.beat for note in melody] == [note.beat for note in harmony]
            assert all(low.pitch <= high.pitch for low, high in zip(harmony, melody, strict=True))


@songs
def test_every_part_has_an_instrument_and_a_channel(song):
    for section in song.sections:
        played = {*section.drums, *section.fill, *section.entry, *section.comping}
        assert played <= set(song.channels)
        if section.tune:
            assert "solo" in song.channels
        for name in played | {song.bass} | ({song.soloist} if section.tune else set()):
            assert inspect.isfunction(getattr(instruments, name))
