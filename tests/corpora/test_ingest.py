import json

import numpy as np
import pytest
import soundfile
import soxr

from cadrender.config import load_settings
from cadrender.corpora import ingest, remove, root_samplerate
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.errors import CadrenderError, MetadataError, UsageError
from cadrender.metadata import read_track_lists, read_tracks
from tests.corpora.trees import read, tone, tree_bytes, write


def corpus(folder, *names, name="mine", left_out=(), notes=(), **options):
    """A corpus of songs with a mixture each, one after the other a little longer."""
    songs = []
    for n, song in enumerate(names):
        path = folder / f"{song}.wav"
        if not path.exists():
            write(path, tone(200 + n, 0.5 + n / 10))
        songs.append(SourceTrack(song, {"mixture": (path,)}, "Rock", "Here", "CC0", notes))
    return Corpus(name, folder, tuple(songs), left_out, **options)


def listed(root, name="mine"):
    return [track.name for track in read_tracks(root / "metadata" / f"{name}.json")]


def test_songs_and_their_list(tmp_path):
    seen = []
    source = corpus(tmp_path / "src", "b", "a")
    report = ingest(source, tmp_path / "root", jobs=2, on_outcome=seen.append)
    assert json.loads((tmp_path / "root/metadata/mine.json").read_bytes()) == [
        {
            "Track Name": name,
            "Genre": "Rock",
            "Source": "Here",
            "License": "CC0",
            "Split": "mine",
            "Path": f"mine/{name}",
        }
        for name in "ab"
    ]
    assert len(read(tmp_path / "root/audio/music/mine/a/mixture.wav")) == round(0.6 * 44100)
    assert sorted(seen, key=lambda outcome: outcome.name, reverse=True) == list(report.outcomes)
    assert [outcome.name for outcome in report.outcomes] == ["b", "a"]
    assert (report.listed, report.left_out, report.failed) == (2, (), False)


def test_bytes_do_not_depend_on_jobs_and_order(tmp_path):
    names = [f"song {n}" for n in range(7)]
    source = corpus(tmp_path / "src", *names, notes=("has bleed",))
    ingest(source, tmp_path / "one", jobs=1)
    for part in (names[4:], names[:2], names):
        ingest(corpus(tmp_path / "src", *part, notes=("has bleed",)), tmp_path / "other", jobs=2)
    assert tree_bytes(tmp_path / "one") == tree_bytes(tmp_path / "other")


def test_a_second_folder_adds_to_the_list(tmp_path):
    ingest(corpus(tmp_path / "v1", "b"), tmp_path / "root", jobs=1)
    report = ingest(corpus(tmp_path / "v2", "a"), tmp_path / "root", jobs=1)
    assert (listed(tmp_path / "root"), report.listed) == (["a", "b"], 2)


def test_list_holds_what_is_whole_on_disk(tmp_path):
    ingest(corpus(tmp_path / "src", "a", "b", "c"), tmp_path / "root", jobs=1)
    music = tmp_path / "root/audio/music/mine"
    (music / "b" / "mixture.wav").write_bytes(b"RIFF")
    (music / "stranger").mkdir()
    write(music / "stranger" / "mixture.wav", tone(440))
    ingest(corpus(tmp_path / "src", "a"), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == ["a", "c"]


def test_songs_left_out_are_not_listed_even_if_they_are_there(tmp_path):
    ingest(corpus(tmp_path / "src", "a", "b"), tmp_path / "root", jobs=1)
    left_out = (LeftOut("b", "is in MUSDB18-HQ's training split already"),)
    report = ingest(corpus(tmp_path / "src", "a", left_out=left_out), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == ["a"]
    assert (report.left_out, report.failed) == (left_out, False)


@pytest.mark.parametrize("forgiving", [True, False])
def test_damaged_songs_are_left_out(tmp_path, forgiving):
    source = corpus(tmp_path / "src", "a", "b", "c", forgiving=forgiving, notes=("flagged",))
    (tmp_path / "src/b.wav").write_bytes(b"")
    report = ingest(source, tmp_path / "root", jobs=2)
    assert listed(tmp_path / "root") == ["a", "c"]
    assert [(song.name, song.expected) for song in report.left_out] == [("b", forgiving)]
    assert report.failed is not forgiving
    assert json.loads((tmp_path / "root/metadata/mine.ingest.json").read_bytes()) == {
        "Corpus": "mine",
        "Notes": [],
        "Left Out": [
            {
                "Track Name": "b",
                "Reason": f"{tmp_path / 'src/b.wav'}: is empty; expected an audio file",
                "Expected": forgiving,
            }
        ],
        "Songs With Notes": [{"Track Name": name, "Notes": ["flagged"]} for name in "ac"],
    }


def test_a_song_that_has_become_damaged_is_listed_no_more(tmp_path):
    source = corpus(tmp_path / "src", "a", "b")
    ingest(source, tmp_path / "root", jobs=1)
    (tmp_path / "src/b.wav").write_bytes(b"")
    ingest(source, tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == ["a"]


def test_minimum_length(tmp_path):
    report = ingest(corpus(tmp_path / "src", "a", "b", minimum_seconds=0.55), tmp_path / "root", jobs=1)
    assert [song.name for song in report.left_out] == ["a"]
    assert "expected at least 0.55 s" in report.left_out[0].reason


@pytest.mark.parametrize("other", ["musdb18.train", "medleydb"])
def test_a_song_that_another_list_has_is_refused(tmp_path, other):
    root = tmp_path / "root"
    if other == "medleydb":
        ingest(corpus(tmp_path / "one", "a", "b", "c", name=other), root, jobs=1)
    else:
        (root / "metadata").mkdir(parents=True)
        tracks = [{"Track Name": name, "Split": "train"} for name in "abc"]
        (root / f"metadata/{other}.json").write_text(json.dumps(tracks))
    before = tree_bytes(root)
    with pytest.raises(UsageError) as error:
        ingest(corpus(tmp_path / "two", "b", "c", "d"), root, jobs=1)
    message = str(error.value)
    assert message.startswith(
        f"{tmp_path / 'two'}: the song 'b' and 1 more is already in {root}/metadata/{other}.json"
    )
    assert "rename it here" in message
    assert (f"`cadrender ingest --remove medleydb --root {root}`" in message) == (other == "medleydb")
    assert tree_bytes(root) == before
    ingest(corpus(tmp_path / "two", "d"), root, jobs=1)
    assert len(read_track_lists(load_settings(root=root).music_files)) == 4


def test_a_list_of_no_root_does_not_matter(tmp_path):
    """Such as one that a command was given by name: it is none of those that every command reads."""
    (tmp_path / "root/metadata").mkdir(parents=True)
    (tmp_path / "root/metadata/mine too.json").write_text(json.dumps([{"Track Name": "a", "Split": "x"}]))
    ingest(corpus(tmp_path / "src", "a"), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == ["a"]


def test_a_corpus_is_removed_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    ingest(corpus(tmp_path / "one", "a", "b", name="medleydb"), root, jobs=1)
    before = tree_bytes(root)
    ingest(corpus(tmp_path / "two", "c", "d"), root, jobs=1)
    mine = root / "audio/music/mine"
    (mine / "c" / "notes.txt").write_text("keep me")
    write(mine / "stranger" / "mixture.wav", tone(440))
    stranger = (mine / "stranger/mixture.wav").read_bytes()
    removed = remove("mine", root)
    assert (removed.songs, removed.folder) == (("c", "d"), mine)
    assert tree_bytes(root) == before | {
        "audio/music/mine/c/notes.txt": b"keep me",
        "audio/music/mine/stranger/mixture.wav": stranger,
    }
    for name in ("mine", "none", "train", "musdb18.train", "../x"):
        with pytest.raises(UsageError):
            remove(name, root)
    remove("medleydb", root)
    assert not (root / "audio/music/medleydb").exists()


def test_a_removal_that_was_interrupted_goes_on(tmp_path):
    root = tmp_path / "root"
    ingest(corpus(tmp_path / "src", "a", "b"), root, jobs=1)
    for name in ("metadata/mine.json", "metadata/mine.ingest.json", "audio/music/mine/a/mixture.wav"):
        (root / name).unlink()
    assert remove("mine", root).songs == ("a", "b")
    assert tree_bytes(root) == {}


def test_a_root_that_two_corpora_have_spoilt_can_be_mended(tmp_path):
    root = tmp_path / "root"
    ingest(corpus(tmp_path / "one", "a", name="medleydb"), root, jobs=1)
    ingest(corpus(tmp_path / "two", "b"), root, jobs=1)
    entries = json.loads((root / "metadata/mine.json").read_text())
    (root / "metadata/mine.json").write_text(json.dumps([entries[0] | {"Track Name": "a"}]))
    with pytest.raises(MetadataError, match="also in"):
        read_track_lists(load_settings(root=root).music_files)
    remove("mine", root)
    assert [track.name for track in read_track_lists(load_settings(root=root).music_files)] == ["a"]


def test_nothing_is_removed_through_links(tmp_path):
    root = tmp_path / "root"
    ingest(corpus(tmp_path / "src", "a"), tmp_path / "other", jobs=1)
    (root / "audio/music").mkdir(parents=True)
    (root / "audio/music/mine").symlink_to(tmp_path / "other/audio/music/mine")
    before = tree_bytes(tmp_path / "other")
    with pytest.raises(UsageError, match="leads out"):
        remove("mine", root)
    assert tree_bytes(tmp_path / "other") == before


@pytest.mark.parametrize(("hrirs", "rate"), [((48000, 48000), 48000), ((), 44100), ((48000, 44100), 44100)])
def test_the_rate_is_that_of_the_root_s_hrirs(tmp_path, hrirs, rate):
    root = tmp_path / "root"
    for k, hertz in enumerate(hrirs):
        write(root / f"audio/hrtf/BTE_fr-VP_E1-n{k}.wav", np.ones((9, 2)), hertz)
    assert root_samplerate(root) == rate
    ingest(corpus(tmp_path / "src", "a"), root, jobs=1)
    info = soundfile.info(root / "audio/music/mine/a/mixture.wav")
    assert (info.samplerate, info.frames) == (rate, rate // 2)


def test_another_rate_converts_anew(tmp_path):
    source = corpus(tmp_path / "src", "a")
    for rate in (32000, 32000, 44100):
        (outcome,) = ingest(source, tmp_path / "root", jobs=1, samplerate=rate).outcomes
        info = soundfile.info(tmp_path / "root/audio/music/mine/a/mixture.wav")
        assert (info.samplerate, outcome.seconds) == (rate, 0.5)
    assert not outcome.kept
    assert ingest(source, tmp_path / "root", jobs=1).outcomes[0].kept
    expected = soxr.resample(soundfile.read(tmp_path / "src/a.wav")[0], 44100, 32000, "VHQ") * 32768
    ingest(source, tmp_path / "root", jobs=1, samplerate=32000)
    written = soundfile.read(tmp_path / "root/audio/music/mine/a/mixture.wav", dtype="int16")[0]
    np.testing.assert_allclose(written, expected, rtol=0, atol=0.51)


@pytest.mark.parametrize("name", ["train", "valid", "test", "../out", "", "a/b", ".."])
def test_names_that_cannot_be_used(tmp_path, name):
    with pytest.raises(UsageError):
        ingest(corpus(tmp_path / "src", "a", name=name), tmp_path / "root", jobs=1)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    "content", ['{"gain_0001": {}}', '[{"Track Name": "x", "Split": "train"}]', "no JSON"]
)
def test_another_file_is_never_overwritten(tmp_path, content):
    other = tmp_path / "root/metadata/gains.json"
    other.parent.mkdir(parents=True)
    other.write_text(content)
    with pytest.raises((UsageError, MetadataError), match=r"gains\.json"):
        ingest(corpus(tmp_path / "src", "a", name="gains"), tmp_path / "root", jobs=1)
    assert other.read_text() == content
    assert not (tmp_path / "root/audio").exists()


@pytest.mark.parametrize("link", ["metadata", "audio", "audio/music", "audio/music/mine"])
def test_nothing_is_written_through_links_that_lead_out(tmp_path, link):
    outside = tmp_path / "outside"
    outside.mkdir()
    place = tmp_path / "root" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(UsageError, match="is a link that leads out"):
        ingest(corpus(tmp_path / "src", "a"), tmp_path / "root", jobs=1)
    assert not any(outside.iterdir())


def test_a_song_that_is_a_link_that_leads_out_fails_alone(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    music = tmp_path / "root/audio/music/mine"
    music.mkdir(parents=True)
    (music / "a").symlink_to(outside)
    report = ingest(corpus(tmp_path / "src", "a", "b"), tmp_path / "root", jobs=1)
    assert [(song.name, song.expected) for song in report.left_out] == [("a", False)]
    assert listed(tmp_path / "root") == ["b"]
    assert not any(outside.iterdir())


def test_a_root_that_is_a_link_and_sources_that_are_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "disk")
    write(tmp_path / "elsewhere.wav", tone(440))
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.wav").symlink_to(tmp_path / "elsewhere.wav")
    ingest(corpus(tmp_path / "src", "a"), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "disk") == ["a"]


def test_a_corpus_is_not_made_from_itself(tmp_path):
    place = tmp_path / "root/audio/music/mine"
    with pytest.raises(UsageError, match="is where the songs of 'mine' go"):
        ingest(corpus(place, "a"), tmp_path / "root", jobs=1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_root_that_cannot_be_written(tmp_path, jobs):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/audio").write_text("in the way")
    with pytest.raises(CadrenderError, match="cannot be written"):
        ingest(corpus(tmp_path / "src", "a", "b"), tmp_path / "root", jobs=jobs)


def test_names_of_any_script(tmp_path):
    names = ("Björk & Söhne's №1 (live)", "中国音乐", "a.b.c")
    ingest(corpus(tmp_path / "src", *names), tmp_path / "root", jobs=2)
    assert listed(tmp_path / "root") == sorted(names)
    assert all((tmp_path / "root/audio/music/mine" / name / "mixture.wav").exists() for name in names)


def test_only_the_root_is_touched(tmp_path):
    source = corpus(tmp_path / "src", "a", "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "src").iterdir()}
    ingest(source, tmp_path / "root", jobs=1)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "src").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "src"]
    assert np.array_equal(
        read(tmp_path / "root/audio/music/mine/a/mixture.wav"), read(tmp_path / "src/a.wav")
    )
