import numpy as np
import pytest

from cadrender.corpora import folder
from cadrender.errors import UsageError
from cadrender.stems import STEMS
from tests.corpora.trees import tone, write


def make(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def files(track):
    return {stem: sorted(path.name for path in paths) for stem, paths in track.sources.items()}


def test_all_formats_and_only_the_stems_there_are(tmp_path):
    make(
        tmp_path, "Song/mixture.wav", "Song/vocals.flac", "Song/Drums.MP3", "Song/bass.ogg", "Song/notes.txt"
    )
    corpus = folder.scan(tmp_path)
    assert files(corpus.tracks[0]) == {
        "mixture": ["mixture.wav"],
        "vocals": ["vocals.flac"],
        "drums": ["Drums.MP3"],
        "bass": ["bass.ogg"],
    }
    assert corpus.tracks[0].notes == (
        "has no other: no target is made of it (without its mixture they would be silence)",
    )
    assert (corpus.name, corpus.left_out, corpus.notes) == ("folder", (), ())


def test_map_names_stems_and_several_of_them_are_one(tmp_path):
    make(tmp_path, "Song/mix.wav", "Song/singing.wav", "Song/Choir.wav", "Song/vocals.wav", "Song/drums.wav")
    stems = {"singing": "vocals", "choir.wav": "vocals", "mix": "mixture"}
    track = folder.scan(tmp_path, stems=stems).tracks[0]
    assert files(track) == {
        "mixture": ["mix.wav"],
        "vocals": ["Choir.wav", "singing.wav", "vocals.wav"],
        "drums": ["drums.wav"],
    }


def test_map_can_take_a_stem_s_own_name(tmp_path):
    make(tmp_path, "Song/other.wav", "Song/mixture.wav")
    assert files(folder.scan(tmp_path, stems={"other": "drums"}).tracks[0]) == {
        "mixture": ["mixture.wav"],
        "drums": ["other.wav"],
    }


def test_a_missing_mixture_is_the_sum_of_the_stems(tmp_path):
    make(tmp_path, "Song/vocals.wav", "Song/singing.wav", "Song/bass.wav")
    track = folder.scan(tmp_path, stems={"singing": "vocals"}).tracks[0]
    assert files(track) == {
        "mixture": ["bass.wav", "singing.wav", "vocals.wav"],
        "vocals": ["singing.wav", "vocals.wav"],
        "drums": [],
        "bass": ["bass.wav"],
        "other": [],
    }
    assert list(track.sources) == list(STEMS)
    assert track.notes == ("has no mixture: it is the sum of the stems, and drums, other digital silence",)


def test_a_mixture_alone_needs_no_remark(tmp_path):
    make(tmp_path, "Song/mixture.wav")
    assert folder.scan(tmp_path).tracks[0].notes == ()


def test_unknown_files_are_reported(tmp_path):
    make(
        tmp_path, "Song/vocals.wav", "Song/mixture.wav", "Song/guitar.flac", "Takes/one.wav", "Takes/two.wav"
    )
    corpus = folder.scan(tmp_path, stems={"organ": "other"})
    assert corpus.tracks[0].notes[0] == (
        "guitar.flac is not named after a stem: left out (--map NAME=STEM names its stem)"
    )
    assert [song.name for song in corpus.left_out] == ["Takes"]
    assert "(one.wav, two.wav)" in corpus.left_out[0].reason
    assert corpus.notes == ("no file is named 'organ'",)


def test_one_stem_in_two_formats_is_a_failure(tmp_path):
    make(tmp_path, "A/vocals.wav", "A/vocals.mp3", "B/vocals.wav")
    corpus = folder.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["B"]
    assert [(song.reason, song.expected) for song in corpus.left_out] == [
        ("has both vocals.mp3 and vocals.wav; expected one of them", False)
    ]


def left_out(corpus):
    return {song.name: (song.reason, song.expected) for song in corpus.left_out}


def test_a_flat_folder_of_songs_without_stems(tmp_path):
    make(tmp_path, "One.mp3", "Two (live).wav", "Three.flac", "cover.jpg", "Four.m4a", "Song/vocals.wav")
    corpus = folder.scan(tmp_path)
    assert {track.name: files(track) for track in corpus.tracks if track.name != "Song"} == {
        name: {"mixture": [file]}
        for name, file in {"One": "One.mp3", "Two (live)": "Two (live).wav", "Three": "Three.flac"}.items()
    }
    assert corpus.notes == (f"3 files in {tmp_path} not named after a stem: taken as songs without stems",)
    assert left_out(corpus) == {
        "Four": ("Four.m4a cannot be decoded; expected WAV, FLAC, MP3 or Ogg (ffmpeg converts)", False)
    }


def test_two_songs_of_one_name_in_a_flat_folder(tmp_path):
    make(tmp_path, "One.mp3", "one.wav")
    corpus = folder.scan(tmp_path)
    assert [track.name for track in corpus.tracks] == ["One"]
    assert [(song.name, song.expected) for song in corpus.left_out] == [("one", False)]


def test_a_song_s_own_folder_is_no_flat_one(tmp_path):
    make(tmp_path / "Song", "drums.wav", "guitar.wav", "vocals.wav")
    corpus = folder.scan(tmp_path / "Song")
    assert [track.name for track in corpus.tracks] == ["Song"]
    make(tmp_path / "Other", "guitar.wav", "singing.wav")
    assert [track.name for track in folder.scan(tmp_path / "Other", stems={"singing": "vocals"}).tracks] == [
        "Other"
    ]


def test_mixtures_are_songs_in_all_folders(tmp_path):
    make(
        tmp_path,
        "Artist/Album/01 One.mp3",
        "Artist/Album/02 Two.mp3",
        "Artist/vocals.ogg",
        "x.wav",
        "Artist/b.wma",
    )
    corpus = folder.scan(tmp_path, mixtures=True)
    assert {track.name: files(track) for track in corpus.tracks} == {
        "x": {"mixture": ["x.wav"]},
        "Artist - vocals": {"mixture": ["vocals.ogg"]},
        "Artist - Album - 01 One": {"mixture": ["01 One.mp3"]},
        "Artist - Album - 02 Two": {"mixture": ["02 Two.mp3"]},
    }
    assert list(left_out(corpus)) == ["Artist - b"]
    with pytest.raises(UsageError, match="use one of them"):
        folder.scan(tmp_path, mixtures=True, stems={"x": "vocals"})


def test_files_that_cannot_be_decoded_are_named(tmp_path):
    make(
        tmp_path,
        "A/mixture.wav",
        "A/vocals.m4a",
        "B/mixture.wav",
        "B/guitar.wma",
        "C/take.m4a",
        "D/mixture.wav",
    )
    make(tmp_path, *(f"E/{n}.mp4" for n in range(7)))
    corpus = folder.scan(tmp_path)
    assert {track.name: track.notes for track in corpus.tracks} == {
        "B": ("guitar.wma cannot be decoded; expected WAV, FLAC, MP3 or Ogg (ffmpeg converts): left out",),
        "D": (),
    }
    assert {
        name: (reason.split(" cannot")[0], expected) for name, (reason, expected) in left_out(corpus).items()
    } == {
        "A": ("vocals.m4a", False),
        "C": ("take.m4a", False),
        "E": ("0.mp4, 1.mp4, 2.mp4, 3.mp4, 4.mp4 and 2 more", False),
    }


def test_a_folder_of_nothing_but_files_that_cannot_be_decoded(tmp_path):
    make(tmp_path, "One.m4a", "Two.m4a")
    with pytest.raises(
        UsageError, match=r"no song found: One: One\.m4a cannot be decoded.*, and 1 more like it"
    ):
        folder.scan(tmp_path)


def test_unrelated_songs_are_not_summed(tmp_path):
    make(tmp_path, "Takes/one.wav", "Takes/two.wav", "Song/mix.wav", "Song/mixture.wav", "Good/mix.wav")
    corpus = folder.scan(tmp_path, stems={"one": "mixture", "two": "mixture", "mix": "mixture"})
    assert [track.name for track in corpus.tracks] == ["Good"]
    assert left_out(corpus) == {
        "Takes": ("has 2 mixtures: one.wav, two.wav; expected one", False),
        "Song": ("has 2 mixtures: mix.wav, mixture.wav; expected one", False),
    }


def test_names_are_paths_below_the_tree(tmp_path):
    make(tmp_path, "train/Song/mixture.wav", "test/Song/mixture.wav", "Song/mixture.wav")
    assert [track.name for track in folder.scan(tmp_path).tracks] == ["Song", "test - Song", "train - Song"]
    assert [track.name for track in folder.scan(tmp_path / "Song").tracks] == ["Song"]


def test_fields(tmp_path):
    make(tmp_path, "Song/mixture.wav")
    corpus = folder.scan(tmp_path, name="mine", license="CC0", genre="Jazz")
    track = corpus.tracks[0]
    assert (corpus.name, track.source, track.license, track.genre) == ("mine", "mine", "CC0", "Jazz")
    assert folder.scan(tmp_path).tracks[0].license == "unknown"


def test_what_is_skipped(tmp_path):
    make(tmp_path, "Song/mixture.wav", "root/audio/music/folder/Song/mixture.wav")
    assert len(folder.scan(tmp_path, skip=(tmp_path / "root",)).tracks) == 1


def test_wrong_stem(tmp_path):
    with pytest.raises(
        UsageError, match="unknown stem 'voice'; expected mixture, vocals, drums, bass, other"
    ):
        folder.scan(tmp_path, stems={"singing": "voice"})


def test_a_folder_without_songs(tmp_path):
    write(tmp_path / "Song" / "piano.wav", np.zeros((10, 2)))
    with pytest.raises(UsageError, match="no song found; expected <song>/<stem>"):
        folder.scan(tmp_path)
    write(tmp_path / "Song" / "other.wav", tone(440))
    assert folder.scan(tmp_path).tracks
