import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cadrender.demo import make_root
from cadrender.errors import UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import read_listeners
from cadrender.metadata.music import read_tracks
from cadrender.metadata.positions import read_positions
from cadrender.metadata.scenes import read_scene_listeners, read_scenes
from cadrender.stems import MIXTURE, STEMS, VDBO
from tests.processes import wait_for

MAKE = "import sys; from cadrender.demo import make_root; make_root(sys.argv[1], songs=1, subjects=1)"


def run(root, **environment):
    """Start another process that makes a small demo root."""
    package = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(package)} | environment
    return subprocess.Popen([sys.executable, "-c", MAKE, str(root)], env=environment)


def digests(root):
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in root.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small") / "demo"
    make_root(root, songs=1, subjects=1)
    return root


@pytest.fixture
def copy(small, tmp_path):
    """A small demo root of one's own: hard to tell from a fresh one."""
    root = tmp_path / "demo"
    for file in small.rglob("*"):
        if file.is_file():
            (root / file.relative_to(small)).parent.mkdir(parents=True, exist_ok=True)
            (root / file.relative_to(small)).write_bytes(file.read_bytes())
    return root


@pytest.mark.slow
def test_whole_root(tmp_path):
    steps = []
    made = make_root(tmp_path / "demo", on_progress=lambda *step: steps.append(step))
    root = tmp_path / "demo"
    assert [step[0] for step in steps] == list(range(7))
    assert {step[1] for step in steps} == {6}
    assert (made.positions, made.gains, made.scenes, made.listeners) == (144, 1105, 16, 83)

    tracks = read_tracks(root / "metadata/musdb18.train.json")
    assert tuple(tracks) == made.tracks
    assert len(tracks) == 4
    silent = 0
    for track in tracks:
        folder = root / "audio/music" / track.path
        infos = [soundfile.info(folder / f"{stem}.wav") for stem in STEMS]
        assert {(info.samplerate, info.channels, info.subtype) for info in infos} == {(44100, 2, "PCM_16")}
        assert len({info.frames for info in infos}) == 1
        assert 20 < infos[0].duration < 40
        stems = {stem: soundfile.read(folder / f"{stem}.wav", dtype="int16")[0] for stem in STEMS}
        np.testing.assert_array_equal(stems[MIXTURE], sum(stems[stem].astype(int) for stem in VDBO))
        silent += not stems["vocals"].any()
    assert silent == 1
    assert made.seconds == pytest.approx(
        sum(soundfile.info(root / "audio/music" / track.path / "mixture.wav").duration for track in tracks)
    )

    positions = read_positions(root / "metadata/head_loudspeaker_positions.json")
    hrirs = {name for position in positions.values() for name in (position.left_hrir, position.right_hrir)}
    assert hrirs == {file.name for file in (root / "audio/hrtf").iterdir()}
    assert len(hrirs) == 96
    first = positions["hlp_0001"]
    assert (first.subject, first.left_angle, first.right_angle, first.mic) == ("VP_E1", -37.5, 22.5, "BTE_fr")
    for name in hrirs:
        taps, rate = soundfile.read(root / "audio/hrtf" / name)
        assert (taps.shape, rate) == ((384, 2), 44100)
        energy = (taps**2).sum(axis=0)
        assert (energy[0] > energy[1]) == ("-n" in name)

    gains = read_gains(root / "metadata/gains.json")
    listeners = read_listeners(root / "metadata/listeners.train.json")
    scenes = read_scenes(root / "metadata/scenes.train.json")
    assert (len(gains), len(listeners), len(scenes)) == (1105, 83, 16)
    assert {scene.music for scene in scenes} == {track.name for track in tracks}
    assert {scene.gain for scene in scenes} <= set(gains)
    assert {scene.position for scene in scenes} <= set(positions)
    heard = read_scene_listeners(root / "metadata/scene_listeners.train.json")
    assert list(heard) == [scene.id for scene in scenes]
    assert all(len(names) == 2 and set(names) <= set(listeners) for names in heard.values())


@pytest.mark.slow
def test_another_process_makes_the_same_bytes_on_a_lesser_cpu(small, tmp_path):
    # NumPy then computes sines and exponentials by other instructions, whose last bits differ
    features = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    lesser = {"NPY_DISABLE_CPU_FEATURES": features, "OPENBLAS_CORETYPE": "Nehalem"}
    assert run(tmp_path / "demo", PYTHONHASHSEED="7", **lesser).wait() == 0
    assert digests(tmp_path / "demo") == digests(small)


def test_second_run_writes_nothing(copy):
    before = {file: file.stat().st_mtime_ns for file in copy.rglob("*") if file.is_file()}
    mark = before.pop(copy / "metadata/demo.json")
    assert make_root(copy, songs=1, subjects=1).written == ()
    assert all(file.stat().st_mtime_ns == then for file, then in before.items())
    assert mark


def change(root):
    """What a user may do to a demo root; the files changed."""
    drums = next(root.glob("audio/music/train/*/drums.wav"))
    samples, rate = soundfile.read(drums, dtype="int16")
    soundfile.write(drums, samples // 2, rate)
    scenes = root / "metadata/scenes.train.json"
    scenes.write_text(json.dumps(dict(list(json.loads(scenes.read_text()).items())[:1])))
    gains = root / "metadata/gains.json"
    gains.write_text("{}")
    return {str(file.relative_to(root)) for file in (drums, scenes, gains)}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["the same", "of yesterday"])
def test_what_is_missing_is_made_again_and_what_was_changed_is_not(copy, small, recipe):
    mark = copy / "metadata/demo.json"
    content = json.loads(mark.read_text())
    if recipe == "of yesterday":
        mark.write_text(json.dumps(content | {"recipe": recipe}))
    changed = change(copy)
    hrir = copy / "audio/hrtf/BTE_fr-VP_E1-n30.0.wav"
    hrir.unlink()
    before = digests(copy)
    for written in ((str(hrir.relative_to(copy)),), ()):
        made = make_root(copy, songs=1, subjects=1)
        assert (made.written, set(made.changed)) == (written, changed)
        assert {name: digest for name, digest in digests(copy).items() if name in changed} == {
            name: before[name] for name in changed
        }
    for name in changed:
        (copy / name).unlink()
    assert set(make_root(copy, songs=1, subjects=1).written) == changed
    assert digests(copy) == digests(small)


@pytest.mark.slow
def test_the_demo_s_own_advice_survives_the_next_demo(copy):
    """More scenes, as the demo says how to draw them: the metadata of a second demo must not take them back."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    words = [sys.executable, "-m", "cadrender", "scenes", "--root", copy, "--scenes-per-song", "6"]
    assert subprocess.run(words, env=environment, check=False).returncode == 0
    scenes = copy / "metadata/scenes.train.json"
    assert len(read_scenes(scenes)) == 6
    words = [sys.executable, "-m", "cadrender", "demo", copy, "-j", "1"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(read_scenes(scenes)) == 6
    assert (
        "left alone, as they have changed since they were made: metadata/scene_listeners.train.json, "
        in done.stderr
    )


@pytest.mark.slow
def test_files_of_another_recipe_are_made_again(copy, small):
    mark = copy / "metadata/demo.json"
    content = json.loads(mark.read_text())
    content["recipe"] = "of yesterday"
    hrir = copy / "audio/hrtf/BTE_fr-VP_E1-n30.0.wav"
    hrir.write_bytes(b"yesterday's")
    content["files"]["audio/hrtf/BTE_fr-VP_E1-n30.0.wav"] = hashlib.blake2b(
        b"yesterday's", digest_size=16
    ).hexdigest()
    mark.write_text(json.dumps(content))
    assert make_root(copy, songs=1, subjects=1).written == ("audio/hrtf/BTE_fr-VP_E1-n30.0.wav",)
    assert digests(copy) == digests(small)


def test_more_songs_join_those_that_are_there(copy):
    made = make_root(copy, songs=1, subjects=2)
    assert made.positions == 18
    assert {Path(name).parts[1] for name in made.written if name.startswith("audio")} == {"hrtf"}


@pytest.mark.slow
def test_killed_run_can_be_repeated(tmp_path, small):
    root = tmp_path / "demo"
    process = run(root)
    wait_for(lambda: list(root.glob("audio/music/train/*/vocals.wav")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    make_root(root, songs=1, subjects=1)
    assert digests(root) == digests(small)


def test_folder_of_a_run_killed_at_once_is_accepted(tmp_path):
    (tmp_path / "demo/metadata").mkdir(parents=True)
    (tmp_path / "demo/metadata/.cadrender-1-0123.tmp").touch()
    with pytest.raises(KeyboardInterrupt):
        make_root(tmp_path / "demo", songs=1, subjects=1, on_progress=_interrupt)
    assert (tmp_path / "demo/metadata/demo.json").is_file()


def _interrupt(*step):
    raise KeyboardInterrupt


def test_somebodys_folder_is_left_alone(tmp_path):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/gains.json").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty and not a demo root .*metadata/demo\.json"):
        make_root(tmp_path)
    assert digests(tmp_path).keys() == {"metadata/gains.json"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"about": "a demo of mine"}', "\x00"])
def test_somebodys_mark_is_left_alone(tmp_path, content):
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/demo.json").write_text(content)
    with pytest.raises(UsageError, match="not written by cadrender demo"):
        make_root(tmp_path)
    assert digests(tmp_path).keys() == {"metadata/demo.json"}


def test_file_in_the_way(tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(UsageError, match="demo: not a folder"):
        make_root(tmp_path / "demo")


@pytest.mark.parametrize("numbers", [{"songs": 0}, {"songs": 5}, {"subjects": 0}, {"subjects": 17}])
def test_numbers_out_of_range(tmp_path, numbers):
    with pytest.raises(UsageError, match=r"1 to (4|16) can be made"):
        make_root(tmp_path / "demo", **numbers)
    assert not (tmp_path / "demo").exists()
