import json

import pytest

from cadrender.errors import MetadataError
from cadrender.metadata.music import Track, read_track_lists, read_tracks, tracks_json
from cadrender.metadata.writing import write_json

ENTRY = {
    "Track Name": "A Classic Education - NightOwl",
    "Genre": "Singer/Songwriter",
    "Source": "MedleyDB",
    "License": "CC BY-NC-SA",
    "Split": "train",
    "Path": "train/A Classic Education - NightOwl",
}


@pytest.fixture
def music_list(tmp_path):
    def write(*entries, name="musdb18.train.json"):
        file = tmp_path / name
        file.write_text(json.dumps(entries), encoding="utf-8")
        return file

    return write


def test_a_track_is_read(music_list):
    (track,) = read_tracks(music_list(ENTRY))
    assert track == Track(
        name="A Classic Education - NightOwl",
        genre="Singer/Songwriter",
        source="MedleyDB",
        license="CC BY-NC-SA",
        split="train",
        path="train/A Classic Education - NightOwl",
    )


def test_a_missing_path_is_made_of_split_and_name(music_list):
    entry = {key: value for key, value in ENTRY.items() if key != "Path"}
    (track,) = read_tracks(music_list({**entry, "Split": "test"}))
    assert track.path == "test/A Classic Education - NightOwl"


def test_what_is_not_needed_may_be_missing_or_more(music_list):
    (track,) = read_tracks(music_list({"Track Name": "x", "Split": "train", "BPM": 120}))
    assert (track.genre, track.source, track.license) == ("", "", "")


def test_names_are_kept_letter_for_letter(music_list):
    composed, decomposed = "Café", "Cafe\u0301"
    entries = [{"Track Name": name, "Split": "train"} for name in (composed, decomposed, "B's & C. D...")]
    assert [track.name for track in read_tracks(music_list(*entries))] == [
        composed,
        decomposed,
        "B's & C. D...",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Track Name": "../x"}, "Track Name '../x'"),
        ({"Track Name": 3}, "Track Name is the number 3"),
        ({"Split": ".."}, "Split '..'"),
        ({"Split": "a/b"}, "Split 'a/b'"),
        ({"Split": None}, "Split is null"),
        ({"Path": "/etc"}, "Path '/etc' is absolute"),
        ({"Path": "train/../../x"}, "Path 'train/../../x'"),
        ({"Path": None}, "Path is null"),
        ({"Genre": 3}, "Genre"),
        ({"License": ["a"]}, "License is a list"),
    ],
)
def test_bad_entries_are_named(change, named, music_list):
    file = music_list({**ENTRY, "Track Name": "first"}, {**ENTRY, **change})
    with pytest.raises(MetadataError) as caught:
        read_tracks(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert named in str(caught.value)


def test_a_misspelt_key_names_its_neighbour(music_list):
    with pytest.raises(MetadataError, match=r"item 1 has no 'Track Name'; near ones: 'TrackName'"):
        read_tracks(music_list({"TrackName": "x", "Split": "train"}))


def test_a_track_may_stand_in_the_lists_once(music_list):
    with pytest.raises(MetadataError, match="item 2: duplicate track 'A Classic Education - NightOwl'"):
        read_tracks(music_list(ENTRY, ENTRY))
    first = music_list(ENTRY, name="a.json")
    second = music_list({**ENTRY, "Track Name": "other"}, ENTRY, name="b.json")
    with pytest.raises(MetadataError, match=r"b\.json: the track .* is also in .*a\.json"):
        read_track_lists([first, second])


def test_several_lists_come_in_order(music_list):
    a = music_list(
        {"Track Name": "z", "Split": "train"}, {"Track Name": "y", "Split": "train"}, name="a.json"
    )
    b = music_list({"Track Name": "b", "Split": "bach10"}, name="b.json")
    assert [track.name for track in read_track_lists([a, b])] == ["z", "y", "b"]
    assert [track.name for track in read_track_lists([b, a])] == ["b", "z", "y"]


def test_a_written_list_reads_back(music_list, tmp_path):
    tracks = read_tracks(music_list(ENTRY, {"Track Name": "é", "Split": "test"}))
    text = tracks_json(tracks)
    assert json.loads(text)[0] == ENTRY
    assert list(json.loads(text)[0]) == list(ENTRY)
    write_json(tmp_path / "again.json", text)
    assert read_tracks(tmp_path / "again.json") == tracks
