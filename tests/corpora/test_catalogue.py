import json
import shutil
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import soxr

from cadrender.catalogue.songs import song_of
from cadrender.config import load_settings
from cadrender.corpora import SongCatalogue, remove
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.music import read_track_lists, read_tracks
from cadrender.metadata.samples import Sample
from cadrender.pipeline.events import Failed, Progressed
from cadrender.pipeline.plan import make_plan
from cadrender.pipeline.shards import Shard
from tests.corpora.trees import ingest, read, tone, tree_bytes, write


def corpus(folder, *names, name="mine", left_out=(), notes=(), **options):
    """A corpus of songs with a mixture each, one after the other a little longer."""
    songs = []
    for n, song in enumerate(names):
        path = folder / f"{song}.wav"
        if not path.exists():
            write(path, tone(200 + n, 0.5 + n / 10))
        songs.append(SourceTrack(song, {"mixture": (path,)}, "Rock", "Here", "CC0", notes))
    return Corpus(name, folder, tuple(songs), left_out, **options)


def made(root):
    """Every file but the manifest, whose lines come as songs are completed."""
    return {name: content for name, content in tree_bytes(root).items() if "manifest" not in name}


def listed(root, name="mine"):
    return [track.name for track in read_tracks(root / "metadata" / f"{name}.json")]


def test_songs_and_their_list(tmp_path):
    seen: list[Any] = []
    catalogue = SongCatalogue(corpus(tmp_path / "src", "b", "a"), tmp_path / "root")
    summary = make_plan(catalogue).run(2, on_event=seen.append)
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
    assert [event.units for event in seen if isinstance(event, Progressed)] == [1, 1]
    (tally,) = summary.tallies
    assert (tally.done, tally.skipped, tally.incomplete, summary.failures) == (2, 0, 0, [])
    assert (catalogue.listed, catalogue.left_out, catalogue.notes) == (["a", "b"], [], [])


def test_bytes_do_not_depend_on_jobs_and_order(tmp_path):
    names = [f"song {n}" for n in range(7)]
    source = corpus(tmp_path / "src", *names, notes=("has bleed",))
    ingest(source, tmp_path / "one", jobs=1)
    for part in (names[4:], names[:2], names):
        ingest(corpus(tmp_path / "src", *part, notes=("has bleed",)), tmp_path / "other", jobs=2)
    assert made(tmp_path / "one") == made(tmp_path / "other")


def test_shards_make_the_same_tree(tmp_path):
    """Whichever comes last, though one of them meets a damaged song and another has one that was listed before."""
    names = [f"song {n}" for n in range(7)]
    source = corpus(tmp_path / "src", *names, notes=("has bleed",), left_out=(LeftOut("x", "is in the way"),))
    for number in (1, 4):
        (tmp_path / f"src/song {number}.wav").write_bytes(b"")
    ingest(source, tmp_path / "one")
    expected = made(tmp_path / "one")
    assert len(json.loads(expected["metadata/mine.ingest.json"])["Left Out"]) == 3
    for order in ((1, 2, 3), (3, 1, 2)):
        root = tmp_path / f"root{order[0]}"
        done = []
        for index in order:
            _, summary = ingest(source, root, shard=Shard(index, 3))
            done.append(summary.tallies[0].done)
        assert sum(done) == 5 and all(count < 5 for count in done)
        assert made(root) == expected
        for index in order:  # with nothing left to do
            assert ingest(source, root, shard=Shard(index, 3))[1].tallies[0].done == 0
            assert made(root) == expected


def test_a_song_that_another_shard_has_found_damaged_is_listed_no_more(tmp_path):
    source = corpus(tmp_path / "src", *"abcd")
    ingest(source, tmp_path / "root")
    (tmp_path / "src/b.wav").write_bytes(b"")
    for index in (1, 2):
        catalogue, _ = ingest(source, tmp_path / "root", shard=Shard(index, 2))
        if catalogue.broken:
            seen = catalogue.list_file.read_bytes()
            other = Shard(3 - index, 2)
    catalogue, _ = ingest(source, tmp_path / "root", shard=other)
    assert catalogue.broken == {} and catalogue.list_file.read_bytes() == seen
    assert listed(tmp_path / "root") == ["a", "c", "d"]
    (left_out,) = json.loads(catalogue.report_file.read_bytes())["Left Out"]
    assert left_out["Track Name"] == "b" and "is empty" in left_out["Reason"]
    write(tmp_path / "src/b.wav", tone(440))
    catalogue, _ = ingest(source, tmp_path / "root")
    assert listed(tmp_path / "root") == ["a", "b", "c", "d"]
    assert json.loads(catalogue.report_file.read_bytes())["Left Out"] == []


def test_a_second_folder_adds_to_the_list(tmp_path):
    ingest(corpus(tmp_path / "v1", "b"), tmp_path / "root", jobs=1)
    catalogue, _ = ingest(corpus(tmp_path / "v2", "a", notes=("of the second",)), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == catalogue.listed == ["a", "b"]
    catalogue, summary = ingest(corpus(tmp_path / "v1", "b"), tmp_path / "root", jobs=1)
    assert (summary.tallies[0].skipped, catalogue.listed) == (1, ["a", "b"])
    assert json.loads(catalogue.report_file.read_bytes())["Songs With Notes"] == [
        {"Track Name": "a", "Notes": ["of the second"]}
    ]


def test_a_corpus_that_was_moved_is_not_converted_again(tmp_path):
    ingest(corpus(tmp_path / "here", "a", "b"), tmp_path / "root", jobs=1)
    (tmp_path / "here").rename(tmp_path / "there")
    _, summary = ingest(corpus(tmp_path / "there", "a", "b"), tmp_path / "root", jobs=1)
    assert (summary.tallies[0].done, summary.tallies[0].skipped) == (0, 2)


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
    catalogue, summary = ingest(corpus(tmp_path / "src", "a", left_out=left_out), tmp_path / "root", jobs=1)
    assert listed(tmp_path / "root") == ["a"]
    assert (catalogue.left_out, summary.failures) == (list(left_out), [])


@pytest.mark.parametrize("forgiving", [True, False])
def test_damaged_songs_are_left_out(tmp_path, forgiving):
    source = corpus(tmp_path / "src", "a", "b", "c", forgiving=forgiving, notes=("flagged",))
    (tmp_path / "src/b.wav").write_bytes(b"")
    seen: list[Any] = []
    catalogue = SongCatalogue(source, tmp_path / "root")
    summary = make_plan(catalogue).run(2, on_event=seen.append)
    assert listed(tmp_path / "root") == ["a", "c"]
    assert [(song.name, song.expected) for song in catalogue.left_out] == [("b", forgiving)]
    assert [(event.song, event.text) for event in seen if isinstance(event, Failed)] == [
        ("b", f"{tmp_path / 'src/b.wav'}: is empty; expected an audio file")
    ]
    assert summary.failures == list(catalogue.broken.values())
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
    catalogue, _ = ingest(corpus(tmp_path / "src", "a", "b", minimum_seconds=0.55), tmp_path / "root", jobs=1)
    assert [song.name for song in catalogue.left_out] == ["a"]
    assert "expected at least 0.55 s" in catalogue.left_out[0].reason


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
    write(mine / "d" / "mine.wav", tone(440))
    write(mine / "stranger" / "mixture.wav", tone(440))
    stranger = (mine / "stranger/mixture.wav").read_bytes()
    removed = remove("mine", root)
    assert (removed.songs, removed.folder) == (("c", "d"), mine)
    assert tree_bytes(root) == before | {
        "audio/music/mine/c/notes.txt": b"keep me",
        "audio/music/mine/d/mine.wav": stranger,
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


def test_nothing_is_removed_that_no_manifest_names(tmp_path):
    """As where an unreleased version made the songs; and a manifest names places of the corpus alone."""
    root = tmp_path / "root"
    ingest(corpus(tmp_path / "src", "a"), root)
    write(root / "audio/music/train/Song/mixture.wav", tone(440))
    manifest = root / "metadata/mine.manifest.jsonl"
    content = manifest.read_text()
    for path in (
        "train/Song/mixture.wav",
        "mine/../train/Song/mixture.wav",
        "/etc/hostname",
        "mine/a/other.txt",
        "x",
    ):
        with manifest.open("a") as lines:
            lines.write(content.replace("mine/a/mixture.wav", path))
    kept = tree_bytes(root / "audio/music/train")
    manifest.rename(tmp_path / "aside")
    with pytest.raises(UsageError, match="an unreleased version of cadrender made these songs"):
        remove("mine", root)
    (tmp_path / "aside").rename(manifest)
    assert remove("mine", root).songs == ("a",)
    assert tree_bytes(root) == {f"audio/music/train/{name}": content for name, content in kept.items()}


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
    shutil.copytree(tmp_path / "other/metadata", root / "metadata")
    before = tree_bytes(tmp_path / "other")
    with pytest.raises(UsageError, match="leads out"):
        remove("mine", root)
    assert tree_bytes(tmp_path / "other") == before


@pytest.mark.parametrize(("hrirs", "rate"), [((48000, 48000), 48000), ((), 44100), ((48000, 44100), 44100)])
def test_the_rate_is_that_of_the_root_s_hrirs(tmp_path, hrirs, rate):
    root = tmp_path / "root"
    for k, hertz in enumerate(hrirs):
        write(root / f"audio/hrtf/BTE_fr-VP_E1-n{k}.wav", np.ones((9, 2)), hertz)
    catalogue, _ = ingest(corpus(tmp_path / "src", "a"), root, jobs=1)
    assert catalogue.samplerate == rate
    info = soundfile.info(root / "audio/music/mine/a/mixture.wav")
    assert (info.samplerate, info.frames) == (rate, rate // 2)


def test_another_rate_converts_anew(tmp_path):
    source = corpus(tmp_path / "src", "a")
    for rate in (32000, 32000, 44100):
        _, summary = ingest(source, tmp_path / "root", jobs=1, samplerate=rate)
        info = soundfile.info(tmp_path / "root/audio/music/mine/a/mixture.wav")
        assert (info.samplerate, info.frames) == (rate, rate // 2)
    assert summary.tallies[0].done == 1
    assert ingest(source, tmp_path / "root", jobs=1)[1].tallies[0].skipped == 1
    (share,) = make_plan(SongCatalogue(source, tmp_path / "root", 32000)).shares
    assert [(reason.kind, reason.replaces) for reason in share.reasons.values()] == [("format", True)]
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
    catalogue, summary = ingest(corpus(tmp_path / "src", "a", "b", forgiving=True), tmp_path / "root", jobs=1)
    assert [(song.name, song.expected) for song in catalogue.left_out] == [("a", False)]
    assert summary.failures == [f"{music / 'a'}: is a symbolic link; expected a folder"]
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
    with pytest.raises(CadrenderError, match=r"root/audio.*: cannot be made"):
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


def test_the_root_s_own_settings(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "cadrender.yaml").write_text(
        f"path: {{music_dir: {tmp_path / 'elsewhere'}}}\nsample_rate: 48000\n"
    )
    catalogue, _ = ingest(corpus(tmp_path / "src", "a"), root, samplerate=48000)
    assert soundfile.info(tmp_path / "elsewhere/mine/a/mixture.wav").samplerate == 48000
    assert not (root / "audio").exists()
    assert not any("Hz" in line for line in catalogue.describe())
    assert remove("mine", root).songs == ("a",)
    assert list(tree_bytes(root)) == ["cadrender.yaml"]
    assert not (tmp_path / "elsewhere/mine").exists()


def test_songs_whose_stems_lack_are_taken_where_their_corpus_was_ingested(tmp_path):
    root = tmp_path / "root"
    (tmp_path / "src").mkdir()
    path = write(tmp_path / "src/a.wav", tone(440))
    song = SourceTrack("a", {"mixture": (path,), "bass": (path,)}, "Rock", "Here", "CC0")
    ingest(Corpus("mine", tmp_path / "src", (song,)), root)
    settings = load_settings(root=root)
    (track,) = read_track_lists(settings.music_files)
    assert list(song_of(settings, track).files) == ["mixture", "bass"]
    excerpt = Sample("a-e1", "mine", "mine/a-e1", track, cast("Any", None), 0, 100)
    write(settings.excerpts_dir / "mine/a-e1/mixture.wav", tone(440))
    write(settings.excerpts_dir / "mine/a-e1/bass.wav", tone(440))
    assert list(song_of(settings, excerpt).files) == ["mixture", "bass"]
    (root / "metadata/mine.ingest.json").unlink()
    for each in (track, excerpt):
        with pytest.raises(AudioError, match="vocals"):
            song_of(settings, each)
