import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.corpora.layout import (
    LONGEST_NAME,
    SourceTrack,
    distinct,
    name_key,
    read_instruments,
    read_names,
    safe_name,
    shipped,
    walk,
)
from cadrender.errors import UsageError
from cadrender.metadata.contract import check_name


@pytest.mark.parametrize(
    "spelling",
    [
        "A Classic Education - NightOwl",
        "AClassicEducation_NightOwl",
        "a classic education-nightowl",
        "A Clássic Éducation – Night Owl!",
        "A_Classic_Education__Night_Owl",
    ],
)
def test_spellings_of_one_song_share_a_key(spelling):
    assert name_key(spelling) == "aclassiceducationnightowl"


def test_different_songs_have_different_keys():
    assert name_key("Music Delta - Country1") != name_key("Music Delta - Country2")


@given(st.text(st.characters(blacklist_categories=()), max_size=400))
def test_every_name_becomes_safe_and_stays_as_it_is(text):
    name = safe_name(text)
    assert check_name(name, "test", "name") == name
    assert safe_name(name) == name
    assert len(name.encode()) <= LONGEST_NAME
    assert not name.startswith(".")


@pytest.mark.parametrize("name", ["Ünïcode – song's (live) & more.", "AClassicEducation_NightOwl", "01-Ach"])
def test_good_names_are_kept(name):
    assert safe_name(name) == name


def test_letters_are_composed():
    assert safe_name(unicodedata.normalize("NFD", "Café")) == unicodedata.normalize("NFC", "Café")


def test_long_names_with_one_beginning_stay_apart():
    assert safe_name("é" * 200 + "1") != safe_name("é" * 200 + "2")


def test_bytes_that_are_no_unicode_are_replaced():
    assert safe_name(os.fsdecode(b"caf\xe9")) == "caf\ufffd"


def test_second_song_of_a_name_is_a_failure(tmp_path):
    songs = [
        SourceTrack(name, {"mixture": (tmp_path / name,)}, "", "", "") for name in ("Song", "song", "Else")
    ]
    kept, left_out = distinct(songs)
    assert [song.name for song in kept] == ["Song", "Else"]
    assert [song.name for song in left_out] == ["song"]
    assert not left_out[0].expected
    assert str(tmp_path / "Song") in left_out[0].reason


def test_walk_goes_by_name_and_passes_over_noise(tmp_path):
    for name in ("b/2.wav", "b/1.wav", "a/x.wav", ".hidden/x.wav", "__MACOSX/x.wav", "b/._1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for _, files in walk(tmp_path) for path in files]
    assert found == ["a/x.wav", "b/1.wav", "b/2.wav"]


def test_walk_follows_links_but_not_in_a_circle(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").touch()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "circle").symlink_to(tmp_path / "corpus")
    assert [files for _, files in walk(tmp_path / "corpus")] == [[], [tmp_path / "corpus" / "link" / "x.wav"]]


def test_walk_stays_out_of_what_it_is_told_and_within_its_depth(tmp_path):
    for name in ("a/b/c/x.wav", "skip/x.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert [here.name for here, _ in walk(tmp_path, depth=2, skip=[tmp_path / "skip"])] == [
        tmp_path.name,
        "a",
        "b",
    ]


def test_table_of_instruments(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text("vocals: [Male  Singer]\ndrums:\nbass: [double bass]\n")
    table = read_instruments(path)
    assert table.stem("male singer") == "vocals"
    assert table.stem(" DOUBLE bass") == "bass"
    assert table.stem("kazoo") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("vocal: [male singer]", "unknown stem 'vocal'; expected vocals, drums, bass, other"),
        ("vocals: male singer", "expected a list"),
        ("vocals: [gong]\ndrums: [Gong]", "'gong' is both vocals and drums"),
        ("[1, 2]", "expected a YAML mapping"),
        ("vocals: [", "cannot be read"),
    ],
)
def test_wrong_table_of_instruments(tmp_path, content, message):
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"table\.yaml") as caught:
        read_instruments(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shipped_list_has_the_46_songs():
    assert len(read_names(shipped("medleydb_in_musdb18.yaml"))) == 46
