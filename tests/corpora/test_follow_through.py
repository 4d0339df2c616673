"""From a corpus as it is unpacked to at-mic files and targets, by the commands of its page, against the reference."""

import itertools
import json
import shlex

import numpy as np
import pytest
import soundfile
import soxr

from benchmarks.reference import remix, render
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.positions import HeadPosition, positions_json
from cadrender.stems import STEMS, VDBO
from tests import pages, roots
from tests.corpora.trees import bach10, fma, medleydb_song, mp3, read, tone, tree_bytes, write

RATE = 44100
AT_MIC = "audio/at_mic_music"
PAIRS = tuple(itertools.product((-37.5, -30.0, -22.5), (22.5, 30.0)))
POSITIONS = {
    f"hlp_{n:04d}": HeadPosition(f"hlp_{n:04d}", "VP_E1", *PAIRS[n - 1], "BTE_fr") for n in range(1, 7)
}
LISTENERS = [
    Listener(f"L{n:04d}", (250, 500, 1000, 2000, 3000, 4000, 6000, 8000), (5 * n,) * 8, (20,) * 8)
    for n in range(1, 6)
]


@pytest.fixture
def root(tmp_path):
    """A root with all that scenes are drawn from, except for songs."""
    root = tmp_path / "a root"
    files = {file for position in POSITIONS.values() for file in (position.left_hrir, position.right_hrir)}
    for k, file in enumerate(sorted(files)):
        response = roots.head_response(90 + 11 * k, 8 + 3 * k, k)
        roots.write_wav(root / "audio/hrtf" / file, response, subtype=("PCM_24", "FLOAT")[k % 2])
    metadata = root / "metadata"
    metadata.mkdir()
    metadata.joinpath("head_loudspeaker_positions.json").write_text(positions_json(POSITIONS))
    metadata.joinpath("gains.json").write_text(gains_json(build_gains()))
    metadata.joinpath("listeners.train.json").write_text(listeners_json(LISTENERS))
    return root


def run(*arguments, status=0):
    """Run the command line; what it prints for its user."""
    done = roots.invoke(*arguments)
    assert done.returncode == status, (arguments, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def follow(root, kind, source, *options):
    """Take a corpus from its folder to at-mic files; what `ingest` and `generate` say, and options for `remix`."""
    lists = ("--root", root, "--music-file", root / f"metadata/{kind}.json")
    ingested = run("ingest", kind, source, "--root", root, "-j", 1, *options)
    run("scenes", *lists, "--scenes-per-song", 2)
    return ingested, run("generate", *lists, "-j", 1, "-v"), (*lists, "-j", 1)


def content(root, name):
    return json.loads((root / f"metadata/{name}.json").read_bytes())


def source(root, corpus, song):
    """A song's files in a root, by stem."""
    folder = root / "audio/music" / corpus / song
    return {stem: read(folder / f"{stem}.wav") for stem in STEMS if (folder / f"{stem}.wav").exists()}


def at_mic_file(root, corpus, scene, stem):
    sample = f"{scene['music']}-{scene['head_loudspeaker_positions']}"
    return root / AT_MIC / corpus / sample / f"{stem}.wav"


def target(root, scene_id):
    return root / "audio/remix/train" / f"{scene_id}.wav"


def hrirs(root, scene):
    position = POSITIONS[scene["head_loudspeaker_positions"]]
    return [
        soundfile.read(root / "audio/hrtf" / file)[0] for file in (position.left_hrir, position.right_hrir)
    ]


def assert_as_the_reference(root, songs):
    """Compare every at-mic file and every target with what the reference makes of `songs`.

    `songs` are all songs of the root's scenes: (corpus, name) -> stem -> samples. Those that lack stems
    have no targets.
    """
    scenes = content(root, "scenes.train")
    homes = {name: corpus for corpus, name in songs}
    assert homes.keys() == {scene["music"] for scene in scenes.values()}
    files, targets, samples = set(), set(), {}
    for scene_id, scene in scenes.items():
        corpus = homes[scene["music"]]
        expected = {}
        for stem, pcm in songs[corpus, scene["music"]].items():
            file = at_mic_file(root, corpus, scene, stem)
            left, right = hrirs(root, scene)
            expected[stem] = render(pcm, left, right, RATE)
            np.testing.assert_array_equal(read(file), expected[stem], err_msg=str(file))
            files.add(file)
        assert np.abs(expected["mixture"]).max() > 1000
        sample = file.parent.name
        samples[sample] = {
            "Track Name": sample,
            "Split": corpus,
            "Path": f"{corpus}/{sample}",
            "Original Track Name": scene["music"],
            "Head Position": scene["head_loudspeaker_positions"],
        }
        if len(expected) == len(STEMS):
            mixed = remix(expected, content(root, "gains")[scene["gain"]], expected["mixture"], RATE)
            np.testing.assert_array_equal(read(target(root, scene_id)), mixed, err_msg=scene_id)
            targets.add(target(root, scene_id))
    assert {file for file in (root / AT_MIC).rglob("*") if file.is_file()} == files
    assert {file for file in (root / "audio/remix").rglob("*") if file.is_file()} == targets
    assert list(content(root, "at_mic_music.train").items()) == list(samples.items())


def raw(path):
    """A PCM_16 file's own samples in two channels."""
    assert soundfile.info(path).subtype == "PCM_16"
    pcm = soundfile.read(path, dtype="int16", always_2d=True)[0]
    return np.repeat(pcm, 2, axis=1) if pcm.shape[1] == 1 else pcm


def summed(paths, like):
    """The sum of PCM_16 files, which must fit, or silence."""
    total = sum((raw(path).astype(int) for path in paths), np.zeros(like.shape, int))
    assert np.abs(total).max(initial=0) < 32768
    return total.astype(np.int16)


def assert_samples(pcm, signal, rate):
    """Compare a root's samples with a file's signal of full scale 1, mono or stereo, at any rate."""
    expected = 32768 * (signal if rate == RATE else soxr.resample(signal, rate, RATE, "VHQ"))
    assert len(pcm) == len(expected)
    np.testing.assert_allclose(pcm, np.broadcast_to(expected, pcm.shape), rtol=0, atol=0.51)


# The four kinds


def medleydb_tree(folder):
    """Two songs to take, one that MUSDB18-HQ has already; and what is to become of each of their stems."""
    band = {
        "vocals": ["female singer", "vocalists"],
        "drums": ["drum set"],
        "bass": ["electric bass"],
        "other": ["piano", "kazoo"],
    }
    songs = {"Band_Song": band, "Duo_Minuet": {"other": ["violin", "cello"]}}
    expected = {}
    for song, groups in songs.items():
        instruments = [instrument for group in groups.values() for instrument in group]
        medleydb_song(folder / "Audio", song, instruments, metadata=folder / "Metadata")
        numbers = {instrument: n for n, instrument in enumerate(instruments, 1)}
        place = folder / "Audio" / song
        mixture = raw(place / f"{song}_MIX.wav")
        expected["medleydb", song] = {"mixture": mixture} | {
            stem: summed(
                [
                    place / f"{song}_STEMS" / f"{song}_STEM_{numbers[instrument]:02d}.wav"
                    for instrument in groups.get(stem, ())
                ],
                mixture,
            )
            for stem in VDBO
        }
    medleydb_song(folder / "Audio", "AClassicEducation_NightOwl", ["piano"])
    return expected


def test_medleydb(tmp_path, root):
    songs = medleydb_tree(tmp_path / "MedleyDB")
    ingested, _, options = follow(root, "medleydb", tmp_path / "MedleyDB")
    assert "AClassicEducation_NightOwl: left out: is in MUSDB18-HQ's training split already" in ingested
    assert "instrument 'kazoo' is not in the table of instruments: goes to other" in ingested
    run("remix", *options)
    assert_as_the_reference(root, songs)
    assert [song["Track Name"] for song in content(root, "medleydb.ingest")["Left Out"]] == [
        "AClassicEducation_NightOwl"
    ]


@pytest.mark.parametrize("spelling", ["saxphone", "saxophone"])
def test_bach10(tmp_path, root, spelling):
    folder = bach10(tmp_path / "Bach10", saxophone=spelling)
    _, generated, options = follow(root, "bach10", folder)
    assert content(root, "bach10.ingest")["Songs With Notes"] == []  # every part is known
    title = "01-AchGottundHerr"
    parts = {
        part: folder / title / f"{title}-{part}.wav" for part in ("violin", "clarinet", "bassoon", spelling)
    }
    mixture = raw(folder / title / f"{title}.wav")
    silence = np.zeros_like(mixture)
    song = {
        "mixture": mixture,
        "vocals": silence,
        "drums": silence,
        "bass": raw(parts.pop("bassoon")),
        "other": summed(parts.values(), mixture),
    }
    for stem, pcm in source(root, "bach10", title).items():
        np.testing.assert_array_equal(pcm, song[stem])
    run("remix", *options)
    assert_as_the_reference(root, {("bach10", title): song})
    for scene in content(root, "scenes.train").values():
        for stem in ("vocals", "drums"):
            file = at_mic_file(root, "bach10", scene, stem)
            assert not read(file).any()
            assert f"silent: {file}" in generated


def test_fma_small(tmp_path, root):
    ingested, generated, options = follow(root, "fma-small", fma(tmp_path / "fma"))
    names = ["000002", "000005", "001001", "001002"]
    assert [song["Track Name"] for song in content(root, "fma-small")] == names
    broken = {song["Track Name"]: song for song in content(root, "fma-small.ingest")["Left Out"]}
    assert sorted(broken) == ["098565", "099134", "108925", "133297", "133298"]
    assert "is damaged: 1." in broken["108925"]["Reason"]  # a real MP3, cut in the middle
    assert all(song["Expected"] and song["Reason"] in ingested for song in broken.values())

    songs = {("fma-small", name): source(root, "fma-small", name) for name in names}
    assert all(list(song) == ["mixture"] for song in songs.values())
    for name in names:
        decoded, rate = soundfile.read(tmp_path / f"fma/fma_small/{name[:3]}/{name}.mp3", always_2d=True)
        assert_samples(songs["fma-small", name]["mixture"], decoded, rate)
    assert "4 songs have no stems: their mixture alone is rendered" in generated
    said = run("remix", *options, status=1)
    assert said.count("\n") == 1
    assert "none of the songs has stems: there is nothing to rebalance" in said
    assert_as_the_reference(root, songs)


def test_folder(tmp_path, root):
    songs = tmp_path / "songs"
    one = {
        "vocals": write(songs / "One/Singing.flac", tone(300, channels=1, level=0.2)),
        "drums": write(songs / "One/drums.wav", tone(100, rate=48000, level=0.15), 48000),
        "bass": write(songs / "One/bass.wav", tone(60, rate=48000, channels=1, level=0.3), 48000),
        "other": write(songs / "One/rest.wav", tone(900, level=0.1)),
    }
    mp3(songs / "Two/mixture.mp3", tone(200, channels=1, rate=48000), 48000)
    maps = ("--map", "singing=vocals", "--map", "rest=other")
    ingested, generated, options = follow(root, "folder", songs, *maps)
    assert "One: has no mixture: it is the sum of the stems" in ingested
    assert "1 song has no stems: its mixture alone is rendered" in generated

    found = source(root, "folder", "One")
    for stem, file in one.items():
        assert_samples(found[stem], *soundfile.read(file, always_2d=True))
    total = sum(found[stem].astype(int) for stem in VDBO)
    np.testing.assert_allclose(found["mixture"], total, rtol=0, atol=2)
    two = source(root, "folder", "Two")
    assert_samples(two["mixture"], *soundfile.read(songs / "Two/mixture.mp3", always_2d=True))
    said = run("remix", *options)
    assert "no stems, so there is nothing to rebalance: 1 song (Two)" in said
    assert_as_the_reference(root, {("folder", "One"): found, ("folder", "Two"): two})


def test_a_song_with_some_of_the_stems_has_no_target(tmp_path, root):
    """What it lacks may be in its mixture all the same: a sum of the others would be a wrong file."""
    songs = tmp_path / "songs"
    for k, stem in enumerate(STEMS):
        write(songs / f"All/{stem}.wav", tone(200 + 100 * k))
    for stem in ("mixture", "vocals", "drums"):
        write(songs / f"Some/{stem}.wav", tone(250))
    for k, stem in enumerate(("vocals", "drums")):
        write(songs / f"Sum/{stem}.wav", tone(150 + 300 * k))
    _, _, options = follow(root, "folder", songs)
    line = "failed: Some: has no bass, other: a target needs vocals, drums, bass, other"
    for command in (("generate", "--remix"), ("remix",)):
        said = run(*command, *options, status=1)
        assert said.count(line) == 1
        assert "1 failure" in said.splitlines()[-1]
    made = {path.stem: source(root, "folder", path.stem) for path in songs.iterdir()}
    assert list(made["Some"]) == ["mixture", "vocals", "drums"]
    assert list(made["Sum"]) == list(STEMS) and not made["Sum"]["bass"].any()
    assert_as_the_reference(root, {("folder", name): stems for name, stems in made.items()})


# Official songs and others


def official_songs(root):
    """Two short songs of the training split; their samples by corpus and name."""
    for k, (name, seconds) in enumerate(zip(roots.SONGS, (0.8, 0.6), strict=True)):
        roots.make_song(root, name, seconds, 10 * k)
    tracks = [{"Track Name": name, "Split": "train", "Path": f"train/{name}"} for name in roots.SONGS]
    for track in tracks:
        track |= {"Genre": "Any", "Source": "DSD", "License": "Restricted"}
    (root / "metadata/musdb18.train.json").write_text(json.dumps(tracks))
    return {("train", name): source(root, "train", name) for name in roots.SONGS}


def test_lists_that_are_named_one_by_one(tmp_path, root):
    songs = official_songs(root)
    run("ingest", "bach10", bach10(tmp_path / "Bach10"), "--root", root, "-j", 1, "--scenes")
    names = [song["Track Name"] for song in content(root, "bach10")]
    songs |= {("bach10", name): source(root, "bach10", name) for name in names}
    assert len(content(root, "scenes.train")) == 4 * len(songs)
    lists = [root / f"metadata/{name}.json" for name in ("bach10", "musdb18.train")]
    options = ("--root", root, *(word for file in lists for word in ("--music-file", file)))
    run("scenes", *options, "--scenes-per-song", 1, "--force")
    assert [scene["music"] for scene in content(root, "scenes.train").values()] == [
        *names,
        *roots.SONGS,
    ]
    run("generate", *options, "-j", 1)
    run("remix", *options, "-j", 1)
    assert_as_the_reference(root, songs)


@pytest.mark.slow
def test_official_songs_and_others_as_their_page_says(tmp_path, root):
    songs = official_songs(root)
    run("scenes", "--root", root)
    run("generate", "--root", root, "-j", 1)
    scenes, pairs = content(root, "scenes.train"), content(root, "scene_listeners.train")
    at_mic = root / AT_MIC / "train"
    before = tree_bytes(at_mic)
    inodes = {file: file.stat().st_ino for file in at_mic.rglob("*")}

    songs |= medleydb_tree(tmp_path / "MedleyDB")
    places = {"/data/MedleyDB": str(tmp_path / "MedleyDB")}
    shown = [shlex.split(line)[1:] for line in pages.commands_under("docs/songs.md", "A corpus")]
    assert [command for command, *_ in shown] == ["ingest", "generate"]
    for words in shown:
        run(*(places.get(word, word.replace("ROOT", str(root))) for word in words))

    now = content(root, "scenes.train")
    assert len(now) == 2 * len(scenes) == 16
    assert list(now.items())[:8] == list(scenes.items())
    assert list(content(root, "scene_listeners.train").items())[:8] == list(pairs.items())
    assert tree_bytes(at_mic) == before
    assert {file: file.stat().st_ino for file in at_mic.rglob("*")} == inodes  # not made once more
    assert_as_the_reference(root, songs)
