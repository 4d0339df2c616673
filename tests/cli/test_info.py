"""``cadrender info``: its numbers against the files."""

import json
import shutil

import pytest
import soundfile

from cadrender import info
from cadrender.catalogue.songs import look_at_song
from cadrender.dsp import loudness
from cadrender.info import measure_loudness
from tests import reference
from tests.plausible import TEST, TRAIN, make_plausible_root
from tests.roots import SAMPLERATE, edit_json, invoke, run, tree

FIRST, SECOND = TRAIN
FRAMES = {name: round(seconds * SAMPLERATE) for name, seconds in (TRAIN | TEST).items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_plausible_root(tmp_path_factory.mktemp("made") / "root")


SECONDS = info.SPEED_SECONDS


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Measure the speed for less than a second."""
    monkeypatch.setattr(info, "SPEED_SECONDS", 0.05)


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def info_of(root, *arguments, command=invoke, **environment):
    result = command("info", "--root", root, "--json", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["root"] == str(root)
    return {split.pop("split"): split for split in content["splits"]}


def mixture_loudness(root, name, split="train"):
    samples, rate = soundfile.read(root / "audio/music" / split / name / "mixture.wav")
    return reference.loudness(samples, rate)


def size(frames, files=5):
    return files * (44 + 4 * frames)


def test_before_anything_is_rendered(made):
    before = tree(made)
    info = info_of(made, "-j", "3")
    assert tree(made) == before
    assert set(info) == {"train", "test"}
    train = info["train"]
    assert (train["songs"], train["unusable"], train["n_jobs"]) == (2, 0, 3)
    assert train["seconds"] == pytest.approx(sum(TRAIN.values()))
    assert (train["scenes"], train["samples"], train["rendered"], train["missing"]) == (4, 4, 0, 4)
    assert train["bytes_now"] == 0
    assert train["bytes_to_come"] == sum(2 * size(FRAMES[name]) for name in TRAIN)
    levels = sorted(mixture_loudness(made, name) for name in TRAIN)
    assert train["loudness"]["lowest"] == pytest.approx(levels[0], abs=1e-9)
    assert train["loudness"]["highest"] == pytest.approx(levels[1], abs=1e-9)
    assert train["loudness"]["median"] == pytest.approx(sum(levels) / 2, abs=1e-9)
    assert (train["loudness"]["known"], train["loudness"]["measured"]) == (0, 2)
    test = info["test"]
    assert (test["songs"], test["samples"], test["speed"]) == (1, 0, None)
    assert test["generate_seconds"] == 0


def test_compiling_does_not_count(made, monkeypatch):
    """However long the first call takes, as many mixtures are measured as in the two seconds of any other time."""
    now, measure = [0.0], loudness.integrated_loudness
    calls: list[tuple] = []

    def compiled_first(*arguments):
        now[0] += 0.1 if calls else 60.0
        calls.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(loudness, "integrated_loudness", compiled_first)
    monkeypatch.setattr(info.time, "perf_counter", lambda: now[0])
    songs = {name: look_at_song(name, made / "audio/music/train" / name, SAMPLERATE) for name in TRAIN}
    found = measure_loudness(songs, SAMPLERATE, {})
    assert found is not None
    assert (found.measured, found.songs) == (2, 2)
    assert len(calls) == 3


@pytest.mark.slow
def test_compiling_does_not_count_the_first_time_on_a_machine(made, tmp_path):
    cache = {"CADRENDER_CACHE_DIR": str(tmp_path / "cold")}
    cold = info_of(made, "--split", "train", command=run, **cache)["train"]
    assert list(tmp_path.glob("cold/numba-*/*/*.nbi"))
    assert (cold["loudness"]["measured"], cold["loudness"]["songs"]) == (2, 2)


def test_the_time_is_that_of_the_measurement(made, monkeypatch):
    """Scaled by the work and the processes; no process does less than a whole stem."""
    monkeypatch.setattr(info, "SPEED_SECONDS", SECONDS)
    for jobs, work in ((1, 5 * 2 * sum(FRAMES[name] for name in TRAIN)), (100, 2 * FRAMES[SECOND])):
        train = info_of(made, "-j", str(jobs), "--split", "train")["train"]
        speed = train["speed"]
        assert speed["heads"] == 2
        assert 300 < speed["taps"] <= 384
        assert speed["seconds"] >= 1.0
        assert 1.0 < speed["nanoseconds"] < 10_000
        assert train["generate_seconds"] == pytest.approx(1e-9 * speed["nanoseconds"] * work)
        assert train["whole_seconds"] == train["generate_seconds"]


def test_partly_rendered(root):
    assert invoke("generate", "--root", root, "--songs", SECOND, "-j", "1").returncode == 0
    train = info_of(root)["train"]
    assert (train["samples"], train["rendered"], train["missing"]) == (4, 2, 2)
    assert train["bytes_now"] == 2 * size(FRAMES[SECOND])
    assert train["bytes_to_come"] == 2 * size(FRAMES[FIRST])
    assert train["bytes_now"] == sum(f.stat().st_size for f in (root / "audio/at_mic_music").rglob("*.wav"))
    assert 0 < train["generate_seconds"] < train["whole_seconds"]
    loudness = train["loudness"]
    assert (loudness["known"], loudness["measured"], loudness["songs"]) == (1, 1, 2)
    levels = sorted(mixture_loudness(root, name) for name in TRAIN)
    assert [loudness["lowest"], loudness["highest"]] == pytest.approx(levels, abs=1e-9)


def test_music_in_other_places(root, tmp_path):
    scenes = tmp_path / "two.json"
    content = json.loads((root / "metadata/scenes.train.json").read_text())
    scenes.write_text(json.dumps(dict(list(content.items())[:2])))
    music, listing = (
        ("--output-music-dir", tmp_path / "fast"),
        ("--output-music-file", tmp_path / "list.json"),
    )
    places = (*music, *listing, "--scenes-file", scenes)
    assert invoke("generate", "--root", root, "-j", "1", *places).returncode == 0
    info = info_of(root, *places)
    assert set(info) == {"train"}  # whose scenes these are
    assert (info["train"]["scenes"], info["train"]["rendered"], info["train"]["missing"]) == (2, 2, 0)
    assert info_of(root, *music, *listing)["train"]["rendered"] == 2
    assert info_of(root)["train"]["rendered"] == 0


def test_excerpts(root):
    options = ("--root", root, "--split", "valid", "--duration", "0.5", "-j", "1")
    assert invoke("excerpts", *options).returncode == 0
    valid = info_of(root)["valid"]
    assert (valid["songs"], valid["samples"], valid["rendered"]) == (4, 4, 4)
    assert valid["seconds"] == pytest.approx(2.0)
    assert valid["bytes_now"] == 4 * size(22050)
    assert (valid["bytes_to_come"], valid["generate_seconds"]) == (0, 0)
    assert valid["loudness"]["known"] == 4


def test_songs_that_cannot_be_used(root):
    (root / "audio/music/train" / FIRST / "bass.wav").unlink()
    edit_json(
        root / "metadata/scenes.train.json", lambda scenes: [scenes.pop(name) for name in list(scenes)[:2]]
    )
    result = invoke("info", "--root", root, "--split", "train")
    assert result.returncode == 0
    assert "1 more cannot be used" in result.stdout


def test_for_people(made):
    result = invoke("info", "--root", made, "-j", "2")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == str(made)
    rows = {line.split()[0]: line for line in lines if line.startswith("  ") and line.split()[0] != "2"}
    train = lines.index("train")
    assert lines[train + 1].split(maxsplit=1)[1] == "2, 5.8 s"
    assert any("4: 0 rendered, 4 missing" in line for line in lines)
    assert any("2 measured now, of 2 mixtures" in line for line in lines)
    assert any("with 2 processes" in line for line in lines)
    assert "none yet" in rows["scenes"]
    assert "nan" not in result.stdout


def test_loudness_of_silence_and_of_nothing(root):
    folder = root / "audio/music/train" / FIRST
    for file in folder.iterdir():
        samples, _ = soundfile.read(file, dtype="int16")
        soundfile.write(file, samples * 0, SAMPLERATE, subtype="PCM_16")
    silent = measure_loudness({FIRST: look_at_song(FIRST, folder, SAMPLERATE)}, SAMPLERATE, {})
    assert silent
    assert (silent.silent, silent.measured, silent.median != silent.median) == (1, 1, True)
    assert measure_loudness({}, SAMPLERATE, {}) is None
    train = info_of(root)["train"]
    assert train["loudness"]["silent"] == 1
    assert train["loudness"]["lowest"] == pytest.approx(mixture_loudness(root, SECOND), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scenes.train.json", "{", "not valid JSON"),
        ("head_loudspeaker_positions.json", "{}", "unknown head_loudspeaker_positions"),
    ],
)
def test_bad_metadata(root, name, content, message):
    (root / "metadata" / name).write_text(content)
    result = invoke("info", "--root", root)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_no_root(tmp_path):
    result = invoke("info", "--root", tmp_path)
    assert result.returncode == 2
    assert "there is no musdb18.train.json" in result.stderr
