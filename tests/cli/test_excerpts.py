"""``cadrender excerpts`` as its users run it: real processes on real files."""

import json
import random
import re
import shutil
import signal

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.metadata.positions import read_positions
from cadrender.metadata.scenes import read_scene_listeners, read_scenes
from cadrender.stems import STEMS
from tests import reference
from tests.plausible import TEST, TRAIN, make_plausible_root
from tests.processes import patience, wait_for
from tests.roots import SAMPLERATE, edit_json, invoke, leftovers, start, tree

FRAMES = SAMPLERATE // 2
SHORT = ("--duration", "0.5")
FIRST, SECOND = TRAIN
(EVENING,) = TEST


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_plausible_root(tmp_path_factory.mktemp("made") / "root")


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


@pytest.fixture(scope="module")
def valid(made, tmp_path_factory):
    """A root with its validation excerpts, and what the command said."""
    root = shutil.copytree(made, tmp_path_factory.mktemp("valid") / "root")
    result = invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1")
    assert result.returncode == 0, result.stderr
    return root, result


def written(root):
    """What excerpts writes, but for the manifest, whose lines name times and whose order is that of the work."""
    files = tree(root)
    return {
        name: content
        for name, content in files.items()
        if ("excerpts" in name or "at_mic_music" in name or name.endswith((".valid.json", ".test.json")))
        and not name.endswith(".jsonl")
    }


def entries(root, split):
    return json.loads((root / f"metadata/excerpts.{split}.json").read_text())


def assert_equals_the_reference(root, split):
    """Every stem is the song's, every at-mic file what the reference makes of the stem alone."""
    positions = read_positions(root / "metadata/head_loudspeaker_positions.json")
    audible = 0
    for entry in entries(root, split):
        position = positions[entry["Head Position"]]
        left, right = (
            soundfile.read(root / "audio/hrtf" / name)[0]
            for name in (position.left_hrir, position.right_hrir)
        )
        for stem in STEMS:
            song = soundfile.read(
                root / "audio/music" / entry["Original Path"] / f"{stem}.wav", dtype="int16"
            )[0]
            own = soundfile.read(
                root / "audio/music/excerpts" / entry["Path"] / f"{stem}.wav", dtype="int16"
            )[0]
            np.testing.assert_array_equal(own, song[entry["Start"] :][: entry["Frames"]])
            assert len(own) == FRAMES
            file = root / "audio/at_mic_music" / entry["Path"] / f"{stem}.wav"
            info = soundfile.info(file)
            assert (info.samplerate, info.channels, info.subtype) == (SAMPLERATE, 2, "PCM_16")
            at_mic = soundfile.read(file, dtype="int16")[0]
            np.testing.assert_array_equal(at_mic, reference.render(own, left, right, SAMPLERATE))
            audible += at_mic.any()
    assert audible


def assert_list_is_of_the_reference_form(root, split):
    expected = {
        entry["Track Name"]: {
            "Track Name": entry["Track Name"],
            "Split": split,
            "Path": f"{split}/{entry['Track Name']}",
            "Original Track Name": entry["Original Track Name"],
            "Head Position": entry["Head Position"],
        }
        for entry in entries(root, split)
    }
    assert (root / f"metadata/at_mic_music.{split}.json").read_text() == json.dumps(expected, indent=4)


def test_validation_excerpts(valid):
    root, result = valid
    assert "4 samples rendered" in result.stderr
    assert [entry["Original Track Name"] for entry in entries(root, "valid")] == [
        FIRST,
        FIRST,
        SECOND,
        SECOND,
    ]
    assert_equals_the_reference(root, "valid")
    assert_list_is_of_the_reference_form(root, "valid")
    assert not leftovers(root)


def test_scenes_of_the_validation_excerpts(valid):
    root, _ = valid
    metadata = root / "metadata"
    scenes = read_scenes(metadata / "scenes.valid.json")
    assert [scene.id for scene in scenes] == [f"scene_{10001 + k}" for k in range(4)]
    assert [(s.music, s.position) for s in scenes] == [
        (entry["Original Track Name"], entry["Head Position"]) for entry in entries(root, "valid")
    ]
    for one, other in (scenes[:2], scenes[2:]):
        assert one.position != other.position
        assert one.gain != other.gain
    assert {scene.gain for scene in scenes} <= set(json.loads((metadata / "gains.json").read_text()))
    trained = {(s.music, s.position) for s in read_scenes(metadata / "scenes.train.json")}
    assert not trained & {(s.music, s.position) for s in scenes}
    heard = read_scene_listeners(metadata / "scene_listeners.valid.json")
    assert list(heard) == [scene.id for scene in scenes]
    ids = set(json.loads((metadata / "listeners.valid.json").read_text()))
    assert all(len(names) == 2 and set(names) <= ids for names in heard.values())


def test_excerpts_from_python(valid):
    root = cadrender.open_root(valid[0], split="valid")
    entry = entries(valid[0], "valid")[2]
    sample = root.samples[2]
    assert (sample.name, sample.start, sample.frames) == (entry["Track Name"], entry["Start"], FRAMES)
    assert [listener.id for listener in root.scenes[2].listeners]
    for folder, samples in (
        ("audio/music/excerpts", root.source(sample, "bass")),
        ("audio/at_mic_music", root.render(sample, "bass")),
    ):
        file = valid[0] / folder / entry["Path"] / "bass.wav"
        np.testing.assert_array_equal(samples, soundfile.read(file, dtype="int16")[0])


def test_other_music_lists(root):
    """The usual name, said aloud, is meant."""
    tracks = json.loads((root / "metadata/musdb18.train.json").read_text())
    named = root / "metadata/musdb18.valid.json"
    named.write_text(json.dumps(tracks[1:]))
    options = ("--root", root, "--split", "valid", *SHORT, "--dry-run")
    assert "4 excerpts of 2 songs," in invoke("excerpts", *options).stderr
    assert "2 excerpts of 1 song," in invoke("excerpts", *options, "--music-file", named).stderr
    assert "2 excerpts of 1 song," in invoke("excerpts", *options, f"path.music_file={named}").stderr


def test_evaluation_excerpts(root):
    result = invoke("excerpts", "--root", root, "--split", "test", *SHORT, "-j", "1")
    assert result.returncode == 0, result.stderr
    items = entries(root, "test")
    assert [item["Start"] for item in items] == [k * FRAMES for k in range(5)]  # and 0.2 s dropped
    assert {item["Original Track Name"] for item in items} == {EVENING}
    assert len({item["Head Position"] for item in items}) == 5
    assert_equals_the_reference(root, "test")
    assert_list_is_of_the_reference_form(root, "test")


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(valid, root):
    assert invoke("excerpts", "--root", root, "split=valid", *SHORT, "-j", "2").returncode == 0
    assert written(root) == written(valid[0])


def test_other_songs_do_not_matter(valid, root):
    """A song's excerpts are the same when it is the only one."""
    edit_json(root / "metadata/musdb18.train.json", lambda tracks: tracks.pop(0))
    assert invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1").returncode == 0
    assert entries(root, "valid") == entries(valid[0], "valid")[2:]
    for entry in entries(root, "valid"):
        for place in ("audio/at_mic_music", "audio/music/excerpts"):
            assert tree(root / place / entry["Path"]) == tree(valid[0] / place / entry["Path"])


def test_again_and_generate_afterwards(valid, tmp_path):
    root = shutil.copytree(valid[0], tmp_path / "root")
    before = written(root)
    sample = entries(root, "valid")[1]["Path"]
    for arguments in (
        ("excerpts", *SHORT, "--split", "valid"),
        ("generate", "--split", "valid"),
    ):
        result = invoke(*arguments, "--root", root, "-j", "1")
        assert result.returncode == 0, result.stderr
        assert "0 samples rendered (0 files), 4 skipped" in result.stderr
        (root / "audio/at_mic_music" / sample / "drums.wav").unlink()
        result = invoke(*arguments, "--root", root, "-j", "1")
        assert "1 sample rendered (1 file), 3 skipped" in result.stderr
        assert written(root) == before


def test_another_seed_renders_again(valid, tmp_path):
    """Names come again with other places: nothing of the first draw may stay under them."""
    root = shutil.copytree(valid[0], tmp_path / "root")
    heads = root / "metadata/head_loudspeaker_positions.json"
    few = dict(list(json.loads(heads.read_text()).items())[:3])
    more = ("--root", root, "--split", "valid", *SHORT, "-j", "1", "--per-song", "3")
    heads.write_text(json.dumps(few))
    (root / "metadata/scenes.train.json").unlink()
    assert invoke("excerpts", *more).returncode == 0
    first = entries(root, "valid")
    result = invoke("excerpts", *more, "--seed", "another")
    assert result.returncode == 0, result.stderr
    second = entries(root, "valid")
    assert {entry["Path"] for entry in first} == {entry["Path"] for entry in second}
    assert first != second
    assert re.search(r"^\d+ files are cut again: made with other parameters$", result.stderr, re.MULTILINE)
    assert "excerpts.valid.json: written; the former file is kept as excerpts.valid.json.2" in result.stderr
    assert_equals_the_reference(root, "valid")


def audio_files(root):
    """How many there are, by their names: they come and go."""
    return len(list((root / "audio").rglob("[!.]*.wav")))


@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_killed_run_is_taken_up_again(valid, root, kills):
    """Killed at many moments, one after the other; then the tree is that of an undisturbed run."""
    arguments = ("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1")
    waits = random.Random(5)
    for _ in range(kills):
        process = start(*arguments)
        target = audio_files(root) + waits.randint(0, 6)
        wait_for(
            lambda process=process, target=target: process.poll() is not None or audio_files(root) > target
        )
        process.send_signal(signal.SIGKILL)
        process.communicate()
    result = invoke(*arguments)
    assert result.returncode == 0, result.stderr
    assert written(root) == written(valid[0])
    assert not leftovers(root)


def test_interruption(root):
    """While stems are cut, or just after."""
    process = start("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1", "--per-song", "8")
    try:
        wait_for((root / "metadata/excerpts.valid.json").exists, process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=patience(20))
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.rstrip().endswith("run the same command again to go on")
    assert "Traceback" not in said
    assert not leftovers(root)


def test_dry_run(root):
    before = tree(root)
    result = invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "--dry-run")
    assert result.returncode == 0
    assert "4 excerpts of 2 songs, 0.5 s each" in result.stderr
    assert "0 excerpts complete; 20 files to cut: 10 s of audio, 0.00 GB (" in result.stderr
    assert "20 at-mic files to render: 0.00 GB" in result.stderr
    assert tree(root) == before


def test_broken_and_short_songs(root):
    """They are reported, the others rendered."""
    bass = root / "audio/music/train" / FIRST / "bass.wav"
    bass.write_bytes(bass.read_bytes()[:3000])
    result = invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1")
    assert result.returncode == 1
    assert f"failed: {bass}: truncated" in result.stderr
    assert "2 samples rendered" in result.stderr
    assert {entry["Original Track Name"] for entry in entries(root, "valid")} == {SECOND}
    assert_equals_the_reference(root, "valid")

    result = invoke("excerpts", "--root", root, "--split", "test", "--duration", "2.8", "-j", "1")
    assert result.returncode == 1
    assert f"{EVENING}: shorter than an excerpt" in result.stderr
    assert "no song gave an excerpt" in result.stderr
    assert not (root / "metadata/excerpts.test.json").exists()


def test_other_formats_and_places(root, tmp_path):
    result = invoke(
        *("excerpts", "--root", root, "--split", "test", *SHORT, "-j", "1", "--format", "flac"),
        *("--stems", "mixture,bass", "--output-music-dir", tmp_path / "at mic"),
        *("--output-music-file", tmp_path / "list.json", "--excerpts-dir", tmp_path / "own"),
    )
    assert result.returncode == 0, result.stderr
    assert {file.name for file in (tmp_path / "own").rglob("*.wav")} == {f"{stem}.wav" for stem in STEMS}
    made = [file for file in (tmp_path / "at mic").rglob("*") if file.is_file()]
    assert len(made) == 10
    assert {file.name for file in made} == {"mixture.flac", "bass.flac"}
    assert not (root / "audio/at_mic_music").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--split valid or --split test is needed"),
        (("split=train",), "--split valid or --split test is needed"),
        (("--split", "train"), "'train' is not one of 'valid', 'test'"),
        (("--split", "test", "--per-song", "2"), "--per-song goes with --split valid"),
        (("--split", "valid", "--per-song", "0"), "must be at least 1"),
        (("--split", "valid", "--per-song", "19"), "19 excerpts need as many head positions"),
        (("--split", "valid", "--duration", "nan"), "not a number of seconds"),
        (("--split", "valid", "--duration", "-1"), "not a number of seconds"),
        (("--split", "valid", "--duration", "0.1"), "too short"),
        (("--split", "valid", "--stems", "guitar"), "unknown stem 'guitar'"),
        (("--split", "valid", "--songs", "nobody"), "no song of the scenes has such a name"),
        (("--split", "valid", "--format", "flac", "--subtype", "FLOAT"), "not FLOAT"),
        (("--split", "valid", "path.gains_file=/nowhere.json"), "/nowhere.json: cannot read the file"),
    ],
)
def test_wrong_usage(made, arguments, message):
    before = tree(made)
    result = invoke("excerpts", "--root", made, "-j", "1", *SHORT, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert tree(made) == before


def test_an_hrir_is_missing(root):
    for file in (root / "audio/hrtf").glob("*-n30.0.wav"):
        file.unlink()
    before = tree(root)
    result = invoke("excerpts", "--root", root, "--split", "test", *SHORT)
    assert result.returncode == 2
    assert "no such file (needed by head position" in result.stderr
    assert tree(root) == before


def test_quiet(root):
    result = invoke("excerpts", "--root", root, "--split", "test", *SHORT, "-j", "1", "-q")
    assert result.returncode == 0
    assert result.stderr == result.stdout == ""


def test_verify_finds_excerpts_that_their_songs_no_longer_hold(valid, tmp_path):
    root = shutil.copytree(valid[0], tmp_path / "root")
    verify = ("verify", "--root", root, "--split", "valid")
    assert invoke(*verify).returncode == 0
    file = root / f"audio/music/train/{FIRST}/drums.wav"
    pcm, rate = soundfile.read(file, dtype="int16")
    soundfile.write(file, pcm // 2, rate)
    result = invoke(*verify)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and all(
        "(drums): cadrender excerpts --split valid cuts it anew" in line for line in lines
    )
    assert invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "-j", "1").returncode == 0
    assert invoke(*verify).returncode == 0

    start = entries(root, "valid")[0]["Start"]
    edit_json(root / "metadata/excerpts.valid.json", lambda entries: entries[0].update(Start=7))
    result = invoke(*verify)
    assert result.returncode == 1
    assert f"from frame 7 on ({', '.join(STEMS)})" in result.stdout
    edit_json(root / "metadata/excerpts.valid.json", lambda entries: entries[0].update(Start=start))
    shutil.rmtree(root / "audio/music/train")  # where the songs are not there, there is nothing to compare
    assert "cuts it anew" not in invoke(*verify).stdout
    edit_json(root / "metadata/excerpts.valid.json", lambda entries: entries[0].update(Start=7))
    assert f"cut from frame {start}; the excerpt begins at 7: " in invoke(*verify).stdout  # as it is recorded


def test_positions_of_training_scenes_are_said_when_they_are_used(root):
    positions = len(read_positions(root / "metadata/head_loudspeaker_positions.json"))
    result = invoke(
        *("excerpts", "--root", root, "--split", "valid", "--duration", "0.4", "--per-song", str(positions)),
        "--dry-run",
    )
    assert "excerpts have head positions of its training scenes: there are no others left" in result.stderr
    assert (
        "training scenes"
        not in invoke("excerpts", "--root", root, "--split", "valid", *SHORT, "--dry-run").stderr
    )
