"""Rebalanced targets as their users make them: real files, real processes."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import time

import numpy as np
import psutil
import pytest
import soundfile
import soxr

from benchmarks import reference
from cadrender.cli import main
from cadrender.dsp.nalr import nalr_filter
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.scenes import read_scenes, scene_listeners_json
from cadrender.stems import STEMS, VDBO
from cadrender.store.atomic import temporary_name
from tests.roots import (
    POSITIONS,
    SAMPLERATE,
    SONGS,
    edit_json,
    leftovers,
    make_root,
    run,
    start,
    tree,
    write_wav,
)

AT_MIC = "audio/at_mic_music"
OUT = "audio/remix"
AMPLIFIED = "audio/remix_listeners"
LIST = "metadata/remix.train.json"
MANIFEST = "metadata/remix.train.manifest.jsonl"
CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
LISTENERS = [
    Listener("L0001", CFS, (20, 20, 25, 35, 40, 45, 50, 55), (35, 35, 40, 50, 55, 60, 65, 70)),
    Listener("L0002", CFS, (0,) * 8, (20, 20, 25, 55, 75, 95, 95, 100)),
    Listener("L0003", CFS, (75, 80, 85, 90, 95, 100, 100, 105), (10,) * 8),
]
SCENES = [f"scene_{10001 + k}" for k in range(7)]  # the last shares the first one's sample


def add_metadata(root):
    """What remix reads beside what generate reads."""
    folder = root / "metadata"
    folder.joinpath("gains.json").write_text(gains_json(build_gains()))
    # gain_0001 changes nothing, and so on: the gains of the seven scenes are to differ more.
    edit_json(folder / "scenes.train.json", _choose_gains)
    folder.joinpath("listeners.train.json").write_text(listeners_json(LISTENERS))
    pairs = {scene: [LISTENERS[k % 3].id, LISTENERS[(k + 1) % 3].id] for k, scene in enumerate(SCENES)}
    folder.joinpath("scene_listeners.train.json").write_text(scene_listeners_json(pairs))
    return root


def _choose_gains(scenes):
    for scene, number in zip(scenes.values(), (1, 7, 138, 381, 1105, 600, 300), strict=True):
        scene["gain"] = f"gain_{number:04d}"


def sample_of(root, scene):
    entry = json.loads((root / "metadata/scenes.train.json").read_text())[scene]
    return f"{entry['music']}-{entry['head_loudspeaker_positions']}", entry["gain"]


def at_mic(root, sample, stem, dtype="int16"):
    return soundfile.read(root / AT_MIC / "train" / sample / f"{stem}.wav", dtype=dtype)[0]


def gains_of(root, gain):
    return json.loads((root / "metadata/gains.json").read_text())[gain]


def by_reference(root, scene, stored=None):
    """A scene's target by NumPy and pyloudnorm, from the at-mic files of `stored`."""
    sample, gain = sample_of(root, scene)
    signals = {stem: at_mic(stored or root, sample, stem) for stem in STEMS}
    return reference.remix(signals, gains_of(root, gain), signals["mixture"], SAMPLERATE)


def unquantised(root, scene):
    """The same, neither clipped nor truncated."""
    sample, gain = sample_of(root, scene)
    gains = gains_of(root, gain)
    total = sum(at_mic(root, sample, stem) / 32768 * 10 ** (gains[stem] / 20) for stem in VDBO)
    mixture = at_mic(root, sample, "mixture") / 32768
    return total * 10 ** (
        (reference.loudness(mixture, SAMPLERATE) - reference.loudness(total, SAMPLERATE)) / 20
    )


def target(root, scene, suffix="wav"):
    return root / OUT / "train" / f"{scene}.{suffix}"


def amplified(root, scene, listener, suffix="wav"):
    return root / AMPLIFIED / "train" / f"{scene}_{listener}.{suffix}"


def pcm(file):
    return soundfile.read(file, dtype="int16")[0]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A root whose at-mic files were generated and then mixed, and that second run."""
    root = add_metadata(make_root(tmp_path_factory.mktemp("remix") / "a root"))
    assert run("generate", "--root", root, "-j", 2, "-q").returncode == 0
    return root, run("remix", "--root", root, "--listeners", "-j", 2)


def copy_of(fresh, copy, *parts):
    """Some folders of the fresh root; metadata without the lists of what was made."""
    for name in parts:
        ignored = shutil.ignore_patterns("remix.*")
        shutil.copytree(fresh[0] / name, copy / name, ignore=ignored)
    return copy


@pytest.fixture
def root(fresh, tmp_path):
    """A root of one's own with at-mic files, on which remix was not run yet."""
    return copy_of(fresh, tmp_path / "root", AT_MIC, "metadata", "audio/music", "audio/hrtf")


@pytest.fixture
def bare(fresh, tmp_path):
    """A root of one's own without at-mic files."""
    root = copy_of(fresh, tmp_path / "root", "metadata", "audio/music", "audio/hrtf")
    for file in (root / "metadata").glob("at_mic_music*"):
        file.unlink()
    return root


def call(*arguments, command="remix"):
    """Run it in this process, which is quicker; return its exit status."""
    with pytest.raises(SystemExit) as exit:
        main([command, *map(str, arguments)])
    return exit.value.code


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("cadrender: ")
    assert error.count("\n") == 1
    return error


def listed(root):
    return json.loads((root / LIST).read_text())


# The first run


def test_first_run(fresh):
    root, first = fresh
    assert (first.returncode, first.stdout) == (0, "")
    lines = first.stderr.splitlines()
    assert lines[0] == f"7 scenes in {root}/metadata/scenes.train.json"
    assert lines[1].startswith("0 targets complete; 21 to make: 37 s of audio, 0.01 GB (")
    assert re.fullmatch(
        r"21 targets made \(21 files\), 0 skipped, \d+ clipped, 0 failures, [\d.]+ s, "
        r"[\d.]+ ns per frame on 2 processes",
        lines[-1],
    )
    assert set(tree(root / OUT)) == {f"train/{scene}.wav" for scene in SCENES}
    assert leftovers(root) == []


@pytest.mark.parametrize("scene", SCENES)
def test_targets_are_the_references(fresh, scene):
    root, _ = fresh
    info = soundfile.info(target(root, scene))
    assert (info.samplerate, info.channels, info.format, info.subtype) == (SAMPLERATE, 2, "WAV", "PCM_16")
    expected = by_reference(root, scene)
    assert expected.any()
    np.testing.assert_array_equal(pcm(target(root, scene)), expected)


def test_the_list(fresh):
    root, _ = fresh
    entries = listed(root)
    assert list(entries) == SCENES
    for scene, entry in entries.items():
        sample, gain = sample_of(root, scene)
        gains = gains_of(root, gain)
        total = sum(at_mic(root, sample, stem) / 32768 * 10 ** (gains[stem] / 20) for stem in VDBO)
        before = reference.loudness(total, SAMPLERATE)
        mixture = reference.loudness(at_mic(root, sample, "mixture") / 32768, SAMPLERATE)
        assert (entry["scene"], entry["split"], entry["path"]) == (scene, "train", f"train/{scene}.wav")
        assert (entry["sample"], entry["gain"], entry["gains_db"]) == (sample, gain, gains)
        assert f"{entry['music']}-{entry['head_loudspeaker_positions']}" == sample
        assert entry["loudness_before"] == pytest.approx(before, abs=1e-9)
        assert entry["loudness_mixture"] == pytest.approx(mixture, abs=1e-9)
        assert entry["loudness_after"] == pytest.approx(mixture, abs=1e-9)
        assert entry["scale_db"] == pytest.approx(mixture - before, abs=1e-9)
        assert (entry["frames"], entry["samplerate"]) == (len(total), SAMPLERATE)
        pairs = json.loads((root / "metadata/scene_listeners.train.json").read_text())[scene]
        assert sorted(entry["listeners"]) == sorted(pairs)
        for listener, one in entry["listeners"].items():
            assert (root / AMPLIFIED / one["path"]) == amplified(root, scene, listener)


def test_amplified_targets(fresh):
    root, _ = fresh
    count = 0
    for scene, listeners in json.loads((root / "metadata/scene_listeners.train.json").read_text()).items():
        signal = unquantised(root, scene)
        for listener in (one for one in LISTENERS if one.id in listeners):
            count += 1
            ears = (listener.levels_left, listener.levels_right)
            filters = [nalr_filter(CFS, levels, SAMPLERATE) for levels in ears]
            expected = np.stack([np.convolve(signal[:, ear], filters[ear]) for ear in (0, 1)], axis=1)
            file = amplified(root, scene, listener.id)
            assert soundfile.info(file).subtype == "FLOAT"
            stored = soundfile.read(file, dtype="float32")[0]
            assert stored.shape == (len(signal) + 220, 2)
            np.testing.assert_allclose(stored, expected, rtol=2**-23, atol=1e-9)
            if listener.id == "L0002":  # the left ear hears well: the target itself, 110 frames late
                np.testing.assert_allclose(stored[110:-110, 0], signal[:, 0], rtol=2**-23, atol=1e-9)
    assert count == 14
    assert max(np.abs(soundfile.read(file)[0]).max() for file in (root / AMPLIFIED).rglob("*.wav")) > 1


# Again, and otherwise


def test_second_run_makes_nothing(fresh, capsys):
    root, _ = fresh
    files = tree(root)
    times = {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")}
    assert call("--root", root, "--listeners", "-j", 1) == 0
    error = capsys.readouterr().err
    assert "21 targets complete; 0 to make" in error
    assert error.splitlines()[-1].startswith("0 targets made (0 files), 21 skipped, 0 clipped")
    assert tree(root) == files
    assert {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")} == times


def same_targets(root, fresh, *folders):
    return all(tree(root / folder) == tree(fresh[0] / folder) for folder in folders or (OUT, AMPLIFIED))


@pytest.mark.parametrize("jobs", [1, 3])
def test_bytes_do_not_depend_on_the_processes(root, fresh, jobs):
    assert run("remix", f"path.root={root}", "--listeners", "-j", jobs).returncode == 0
    assert same_targets(root, fresh)
    assert listed(root) == listed(fresh[0])


@pytest.mark.parametrize("jobs", [1, 2])
def test_at_mic_files_that_are_missing_are_rendered_on_the_way(bare, fresh, jobs):
    done = run("remix", "--root", bare, "--listeners", "-j", jobs)
    assert done.returncode == 0, done.stderr
    assert "30 at-mic files are missing: rendered on the way and not kept" in done.stderr
    assert "30 at-mic files rendered on the way" in done.stderr.splitlines()[-1]
    assert same_targets(bare, fresh)
    assert listed(bare) == listed(fresh[0])
    assert not (bare / AT_MIC).exists()
    assert leftovers(bare) == []


def test_some_at_mic_files_are_missing_or_damaged(root, fresh, capsys):
    sample = f"{SONGS[0]}-hlp_0001"
    (root / AT_MIC / "train" / sample / "drums.wav").unlink()
    os.truncate(root / AT_MIC / "train" / sample / "bass.wav", 100_001)
    write_wav(root / AT_MIC / "train" / sample / "other.wav", np.zeros((99, 2)))
    before = tree(root / AT_MIC)
    assert call("--root", root, "--listeners", "-j", 1) == 0
    assert "3 at-mic files are missing" in capsys.readouterr().err
    assert same_targets(root, fresh)
    assert tree(root / AT_MIC) == before


@pytest.mark.parametrize("memory", [1000, 300_000_000])
def test_at_mic_files_in_other_formats(bare, fresh, monkeypatch, memory):
    """FLAC holds the same samples; floats are mixed as they are."""
    monkeypatch.setattr("cadrender.signals.target._MOST_MEMORY", memory)
    status = call("--root", bare, "-j", 1, "--format", "flac", command="generate")
    assert status == 0
    shutil.rmtree(bare / "audio/music")
    assert call("--root", bare, "-j", 1) == 0
    assert same_targets(bare, fresh, OUT)
    sample = f"{SONGS[0]}-hlp_0002"
    for stem in STEMS:
        signal = soundfile.read(bare / AT_MIC / "train" / sample / f"{stem}.flac")[0]
        write_wav(bare / AT_MIC / "train" / sample / f"{stem}.wav", signal, subtype="FLOAT")
    target(bare, "scene_10002").unlink()
    assert call("--root", bare, "-j", 1, "--scenes", "scene_10002") == 0
    assert same_targets(bare, fresh, OUT)
    folder = bare / AT_MIC / "train" / sample
    (folder / "drums.wav").unlink()  # two types at once: its FLAC is there
    target(bare, "scene_10002").unlink()
    assert call("--root", bare, "-j", 1, "--scenes", "scene_10002") == 0
    assert same_targets(bare, fresh, OUT)


def test_at_mic_music_alone(root, fresh, capsys):
    """As the validation set comes: no songs, no HRIRs, no lists of them."""
    shutil.rmtree(root / "audio/music")
    shutil.rmtree(root / "audio/hrtf")
    for name in ("musdb18.train.json", "head_loudspeaker_positions.json"):
        (root / "metadata" / name).unlink()
    assert call("--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)
    sample = f"{SONGS[0]}-hlp_0001"
    damaged = root / AT_MIC / "train" / sample / "bass.wav"
    os.truncate(damaged, 100_001)
    shutil.rmtree(root / OUT)
    capsys.readouterr()
    assert call("--root", root, "-j", 1) == 1
    error = capsys.readouterr().err
    assert f"failed: {damaged}: " in error and "Traceback" not in error
    assert error.splitlines()[-1].startswith("5 targets made (5 files), 0 skipped, 0 clipped, 1 failure,")
    assert len(listed(root)) == 5


@pytest.mark.parametrize(
    ("container", "subtype"), [("flac", "PCM_16"), ("flac", "PCM_24"), ("wav", "PCM_24"), ("wav", "FLOAT")]
)
def test_other_formats(root, capsys, container, subtype):
    arguments = ("--root", root, "-j", 1, "--format", container, "--subtype", subtype, "--songs", SONGS[1])
    assert call(*arguments) == 0
    for scene in SCENES[3:6]:
        file = target(root, scene, container)
        info = soundfile.info(file)
        assert (info.format, info.subtype) == (container.upper(), subtype)
        if subtype == "PCM_16":
            np.testing.assert_array_equal(pcm(file), by_reference(root, scene))
        elif subtype == "PCM_24":
            whole = np.clip(unquantised(root, scene) * 2**23, -(2**23), 2**23 - 1)
            assert np.abs(soundfile.read(file, dtype="int32")[0] / 256 - whole).max() <= 0.5 + 1e-6
        else:
            np.testing.assert_allclose(
                soundfile.read(file)[0], unquantised(root, scene), rtol=2**-23, atol=1e-12
            )
    assert len(listed(root)) == 3
    capsys.readouterr()
    assert call(*arguments) == 0
    assert "3 targets complete; 0 to make" in capsys.readouterr().err


def test_another_sample_rate(root, capsys):
    arguments = ("--root", root, "-j", 1, "--sample-rate", 32000, "--listeners", "--scenes", "scene_1000[12]")
    assert call(*arguments) == 0
    for scene in SCENES[:2]:
        expected = soxr.resample(unquantised(root, scene), SAMPLERATE, 32000, quality="HQ")
        assert soundfile.info(target(root, scene)).samplerate == 32000
        stored = pcm(target(root, scene))
        # Truncated; where rounding errors decide, by one step at most, and hardly ever.
        truncated, _ = reference.to_pcm16(expected)
        assert stored.shape == truncated.shape
        assert np.count_nonzero(stored != truncated) <= 1
    listener = LISTENERS[0]
    filters = [nalr_filter(CFS, x, SAMPLERATE) for x in (listener.levels_left, listener.levels_right)]
    signal = unquantised(root, "scene_10001")
    amplification = np.stack([np.convolve(signal[:, ear], filters[ear]) for ear in (0, 1)], axis=1)
    expected = soxr.resample(amplification, SAMPLERATE, 32000, quality="HQ")
    stored, rate = soundfile.read(amplified(root, "scene_10001", "L0001"))
    assert rate == 32000
    np.testing.assert_allclose(stored, expected, rtol=2**-22, atol=1e-7)
    capsys.readouterr()
    assert call(*arguments) == 0
    assert "6 targets complete; 0 to make" in capsys.readouterr().err
    assert call("--root", root, "-j", 1, "--scenes", "scene_10001") == 0  # at the root's own rate again
    np.testing.assert_array_equal(pcm(target(root, "scene_10001")), by_reference(root, "scene_10001"))


def test_amplified_targets_as_integers(root, capsys):
    assert call("--root", root, "-j", 1, "--listeners", "--listeners-subtype", "PCM_16", "--verbose") == 0
    lines = capsys.readouterr().err.splitlines()
    listener = LISTENERS[2]
    signal = unquantised(root, "scene_10002")
    filters = [nalr_filter(CFS, x, SAMPLERATE) for x in (listener.levels_left, listener.levels_right)]
    amplification = np.stack([np.convolve(signal[:, ear], filters[ear]) for ear in (0, 1)], axis=1)
    expected, clipped = reference.to_pcm16(amplification)
    file = amplified(root, "scene_10002", "L0003")
    assert np.count_nonzero(pcm(file) != expected) <= 1
    assert clipped > 1000
    assert f"clipped: {file}: {clipped} PCM values" in lines


def test_selected_scenes_and_songs(root, fresh, capsys):
    assert call("--root", root, "-j", 1, "--quiet", "--scenes", "*2", "--scenes", "scene_10005") == 0
    assert capsys.readouterr() == ("", "")
    assert list(listed(root)) == ["scene_10002", "scene_10005"]
    assert call("--root", root, "-j", 1, "--songs", "Se*") == 0
    assert list(listed(root)) == ["scene_10001", "scene_10002", "scene_10003", "scene_10005", "scene_10007"]
    assert call("--root", root, "-j", 1) == 0
    assert same_targets(root, fresh, OUT)


def test_dry_run_writes_nothing(root, capsys):
    before = tree(root)
    assert call("--root", root, "--dry-run", "--listeners") == 0
    assert "21 to make" in capsys.readouterr().err
    assert tree(root) == before


def test_other_places(root, tmp_path, fresh):
    scenes = tmp_path / "my scenes.json"
    (root / "metadata/scenes.train.json").rename(scenes)
    (root / AT_MIC).rename(tmp_path / "at mic")
    status = call(
        *("-j", 1, f"path.root={root}", f"path.output_remix_dir={tmp_path / 'fast/remix'}"),
        *("--output-music-dir", tmp_path / "at mic", "--scenes-file", scenes, "--listeners"),
        *("--output-remix-file", tmp_path / "lists/remix.json"),
        *("--output-remix-listeners-dir", tmp_path / "fast/amplified"),
    )
    assert status == 0
    assert tree(tmp_path / "fast/remix") == tree(fresh[0] / OUT)
    assert tree(tmp_path / "fast/amplified") == tree(fresh[0] / AMPLIFIED)
    assert list(json.loads((tmp_path / "lists/remix.json").read_text())) == SCENES
    assert not (root / OUT).exists() and not (root / LIST).exists()


def test_many_targets_of_one_sample(root, fresh, monkeypatch):
    monkeypatch.setattr("cadrender.catalogue.targets._MOST_FILES", 2)
    assert call("--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)


def test_more_stems_than_there_is_memory_for(root, fresh, monkeypatch):
    monkeypatch.setattr("cadrender.signals.target._MOST_MEMORY", 1000)
    assert call("--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)


# What has changed is made again


def remade(root, *arguments):
    """The targets that the next run makes."""
    before = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    assert call("--root", root, "-j", 1, *arguments) == 0
    after = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    return {file.stem for file in after if before.get(file) != after[file]}


def test_other_gains_and_other_scenes(root):
    assert remade(root) == set(SCENES)
    edit_json(root / "metadata/gains.json", lambda gains: gains["gain_0007"].update(vocals=9.5))
    assert remade(root) == {"scene_10002"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10002")), by_reference(root, "scene_10002"))

    def swap(scenes):
        scenes["scene_10003"], scenes["scene_10001"] = scenes["scene_10001"], scenes["scene_10003"]

    edit_json(root / "metadata/scenes.train.json", swap)
    assert remade(root) == {"scene_10001", "scene_10003"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10003")), by_reference(root, "scene_10003"))
    assert remade(root) == set()


def test_another_audiogram(root):
    call("--root", root, "-j", 1, "--listeners")
    times = {file: file.stat().st_ino for file in (root / AMPLIFIED).rglob("*.wav")}
    edit_json(
        root / "metadata/listeners.train.json",
        lambda listeners: listeners["L0001"].update(audiogram_levels_l=[60] * 8),
    )
    assert remade(root, "--listeners") == set()
    changed = {file.stem for file, inode in times.items() if file.stat().st_ino != inode}
    assert changed == {file.stem for file in times if file.stem.endswith("L0001")}


def test_another_at_mic_file(root):
    remade(root)
    file = root / AT_MIC / "train" / f"{SONGS[1]}-hlp_0003" / "vocals.wav"
    write_wav(file, at_mic(root, file.parent.name, "drums"))
    assert remade(root) == {"scene_10006"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10006")), by_reference(root, "scene_10006"))
    shutil.rmtree(root / AT_MIC)  # to make room: the targets stay
    assert remade(root) == set()


def test_at_mic_files_that_came_later_change_nothing(bare, capsys):
    assert remade(bare) == set(SCENES)
    assert call("--root", bare, "-j", 1, command="generate") == 0
    assert remade(bare) == set()


def test_a_target_without_a_line_or_with_a_damaged_one(root):
    remade(root)
    manifest = root / MANIFEST
    lines = manifest.read_text().splitlines()
    kept = [line for line in lines if '"scene_10002"' not in line]
    damaged = [line for line in kept if '"scene_10004"' in line]
    manifest.write_text("\n".join([*(line for line in kept if line not in damaged), damaged[0][:99]]))
    assert remade(root) == {"scene_10002", "scene_10004"}
    manifest.write_text("[]\n{}\nnull\n\xff\n" + manifest.read_text())
    assert remade(root) == set()
    os.truncate(target(root, "scene_10001"), 1000)
    assert remade(root) == {"scene_10001"}


# What cannot be mixed


def test_songs_without_stems(bare, capsys):
    for stem in VDBO:
        (bare / "audio/music/train" / SONGS[1] / f"{stem}.wav").unlink()
    assert call("--root", bare, "-j", 1) == 0
    error = capsys.readouterr().err
    assert f"no stems, so there is nothing to rebalance: 1 song ({SONGS[1]})" in error
    assert "1 song without stems" in error.splitlines()[-1]
    assert list(listed(bare)) == ["scene_10001", "scene_10002", "scene_10003", "scene_10007"]
    assert call("--root", bare, "-j", 1, "--songs", SONGS[1]) == 1
    assert "none of the songs has stems: there is nothing to rebalance" in one_line(capsys)


def test_damaged_songs_are_told_of_and_the_others_mixed(bare, fresh, capsys):
    file = bare / "audio/music/train" / SONGS[0] / "bass.wav"
    os.truncate(file, 50_001)
    assert call("--root", bare, "-j", 1) == 1
    error = capsys.readouterr().err
    assert error.count("failed: ") == 3  # each of its samples, in one line
    assert f"{file}: truncated: " in error
    assert "3 targets made" in error.splitlines()[-1]
    for scene in SCENES[3:6]:
        assert pcm(target(bare, scene)).tobytes() == pcm(target(fresh[0], scene)).tobytes()
    # With the at-mic files in place nobody needs the song.
    shutil.copytree(fresh[0] / AT_MIC, bare / AT_MIC)
    assert call("--root", bare, "-j", 1) == 0
    assert same_targets(bare, fresh, OUT)


def test_nan_in_an_at_mic_file(root, capsys):
    folder = root / AT_MIC / "train" / f"{SONGS[1]}-hlp_0001"
    signal = at_mic(root, folder.name, "bass", "float64")
    signal[1000] = np.nan
    write_wav(folder / "bass.wav", signal, subtype="FLOAT")
    assert call("--root", root, "-j", 1) == 1
    error = capsys.readouterr().err
    assert f"failed: {folder / 'bass.wav'}: holds NaN or infinite samples" in error
    assert list(listed(root)) == [scene for scene in SCENES if scene != "scene_10004"]
    assert leftovers(root) == []


def drop(name):
    return lambda entries: entries.pop(name)


@pytest.mark.parametrize(
    ("file", "change", "named"),
    [
        ("gains.json", drop("gain_0007"), "gain_0007"),
        ("gains.json", lambda gains: gains["gain_0007"].pop("bass"), "needed are vocals, drums, bass, other"),
        ("gains.json", lambda gains: gains["gain_0007"].update(lead=3), "gain_0007"),
        ("listeners.train.json", drop("L0002"), "L0002"),
        ("scene_listeners.train.json", drop("scene_10003"), "scene_10003"),
        ("musdb18.train.json", lambda tracks: tracks.pop(0), SONGS[0].split()[0]),
        ("scenes.train.json", lambda scenes: scenes.update({"../x": scenes["scene_10001"]}), "../x"),
        (
            "scene_listeners.train.json",
            lambda pairs: pairs["scene_10003"].append("../L"),
            "path separator",
        ),
    ],
)
def test_bad_metadata(root, capsys, file, change, named):
    edit_json(root / "metadata" / file, change)
    before = tree(root)
    assert call("--root", root, "--listeners", "-j", 1) == 2
    assert named in one_line(capsys)
    assert tree(root) == before


@pytest.mark.parametrize("missing", ["the file", "a scene"])
def test_without_scene_listeners_it_says_which_command_draws_them(root, capsys, missing):
    file = root / "metadata/scene_listeners.train.json"
    if missing == "the file":
        file.unlink()
    else:
        edit_json(file, drop("scene_10003"))
    assert call("--root", root, "--listeners", "-j", 1) == 2
    line = one_line(capsys)
    assert str(file) in line
    assert f"(cadrender scenes --listeners-only --root {root} --split train draws " in line
    assert call("--listeners-only", "--root", root, "--split", "train", command="scenes") == 0
    assert call("--root", root, "--listeners", "-j", 1) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scenes", "nothing*"], "nothing*"),
        (["--songs", "Nobody"], "Nobody"),
        (["--sample-rate", "100"], "100 Hz"),
    ],
)
def test_bad_arguments(root, capsys, arguments, named):
    assert call("--root", root, *arguments) == 2
    assert named in one_line(capsys)


def test_missing_hrir(bare, capsys):
    (bare / "audio/hrtf" / POSITIONS[0].left_hrir).unlink()
    assert call("--root", bare) == 2
    assert POSITIONS[0].left_hrir in one_line(capsys)


def test_not_enough_space(root, capsys, monkeypatch):
    monkeypatch.setattr("cadrender.pipeline.plan.free_space", lambda folder: 1_000_000)
    before = tree(root)
    assert call("--root", root, "-q", "-j", 1) == 1
    assert "0.00 GB are free (--force to try all the same)" in one_line(capsys)
    assert tree(root) == before
    assert call("--root", root, "-q", "-j", 1, "--force") == 0


def test_never_through_a_symbolic_link(root, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (root / OUT).mkdir()
    (root / OUT / "train").symlink_to(tmp_path / "elsewhere")
    assert call("--root", root, "-q", "-j", 1) == 1
    assert "a symbolic link" in one_line(capsys)
    assert tree(tmp_path / "elsewhere") == {}


# With generate


@pytest.mark.parametrize("jobs", [1, 2])
def test_generate_and_remix(bare, fresh, jobs):
    done = run("generate", "--root", bare, "--remix", "-j", jobs)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "7 targets" not in lines[0] and "0 targets complete; 7 to make" in done.stderr
    assert "rendered on the way" not in done.stderr
    assert lines[-2].startswith("6 samples rendered")
    assert lines[-1].startswith("7 targets made (7 files), 0 skipped")
    assert same_targets(bare, fresh, OUT, AT_MIC)
    assert leftovers(bare) == []
    again = run("generate", "--root", bare, "--remix", "-j", jobs)
    assert again.stderr.splitlines()[-1].startswith("0 targets made (0 files), 7 skipped")


def test_generate_and_remix_after_a_song_has_changed(root, capsys):
    assert remade(root) == set(SCENES)
    for stem in ("vocals", "mixture"):
        file = root / "audio/music/train" / SONGS[1] / f"{stem}.wav"
        write_wav(file, soundfile.read(file)[0][::-1])
    inodes = {scene: target(root, scene).stat().st_ino for scene in SCENES}
    assert call("--root", root, "-j", 1, "--remix", command="generate") == 0
    assert {s for s in SCENES if target(root, s).stat().st_ino != inodes[s]} == set(SCENES[3:6])
    for scene in SCENES[3:6]:
        np.testing.assert_array_equal(pcm(target(root, scene)), by_reference(root, scene))


def test_generate_and_remix_with_a_song_that_fails(bare, fresh, capsys):
    # Its header is in order, so that it fails while it is rendered.
    file = bare / "audio/music/train" / SONGS[0] / "bass.wav"
    signal = soundfile.read(file)[0]
    signal[999] = np.nan
    write_wav(file, signal, subtype="FLOAT")
    assert call("--root", bare, "-j", 1, "--remix", command="generate") == 1
    error = capsys.readouterr().err
    assert f"failed: {file}: holds NaN" in error
    assert f"failed: {SONGS[0]}-hlp_0001: bass.wav is not complete: nothing is made of it" in error
    assert sorted(tree(bare / OUT)) == [f"train/{scene}.wav" for scene in SCENES[3:6]]
    for scene in SCENES[3:6]:
        assert pcm(target(bare, scene)).tobytes() == pcm(target(fresh[0], scene)).tobytes()


def test_generate_and_remix_need_whole_samples(bare, capsys):
    assert call("--root", bare, "--remix", "--stems", "bass", command="generate") == 2
    assert "--remix needs whole samples" in capsys.readouterr().err


def test_generate_and_remix_of_songs_without_stems(bare, capsys):
    for song in SONGS:
        for stem in VDBO:
            (bare / "audio/music/train" / song / f"{stem}.wav").unlink()
    assert call("--root", bare, "-j", 1, "--remix", command="generate") == 0
    assert "2 songs without stems" in capsys.readouterr().err.splitlines()[-1]


def test_excerpts(bare):
    assert (
        call(
            *("--root", bare, "--split", "valid", "--duration", 0.5, "-j", 1),
            *("-q", f"path.listeners_file={bare}/metadata/listeners.train.json"),
            command="excerpts",
        )
        == 0
    )
    scenes = read_scenes(bare / "metadata/scenes.valid.json")
    folder = bare / AT_MIC / "valid"
    expected = {}
    for scene in scenes:
        signals = {s: pcm(folder / f"{scene.music}-{scene.position}" / f"{s}.wav") for s in STEMS}
        expected[scene.id] = reference.remix(
            signals, gains_of(bare, scene.gain), signals["mixture"], SAMPLERATE
        )
    for at_mic_there in (True, False):
        if not at_mic_there:
            shutil.rmtree(bare / AT_MIC)
            shutil.rmtree(bare / OUT)
        assert call("--root", bare, "--split", "valid", "-j", 1) == 0
        assert len(scenes) == 4
        for scene in scenes:
            np.testing.assert_array_equal(pcm(bare / OUT / f"valid/{scene.id}.wav"), expected[scene.id])


# Interrupted, and two at once


@contextlib.contextmanager
def running(*arguments):
    """A process of its own, which is ended whatever happens."""
    process = start(*arguments)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A root without at-mic files that takes a second or two, and its targets."""
    songs = tuple(f"Song {letter}" for letter in "ABCDEF")
    root = make_root(
        tmp_path_factory.mktemp("long") / "root", songs=songs, seconds=6 * [4.0], positions=POSITIONS[:2]
    )
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert run("remix", "--root", root, "-j", 2, "-q").returncode == 0
    return root, tree(root / OUT)


def clear(root):
    shutil.rmtree(root / OUT, ignore_errors=True)
    for file in (root / "metadata").glob("remix.*"):
        file.unlink()


@contextlib.contextmanager
def frozen(root, jobs):
    """A remix that stands still when some targets are there and others are being made."""
    for _ in range(10):
        clear(root)
        with running("remix", "--root", root, "-j", jobs) as process:
            deadline = time.monotonic() + 60
            while process.poll() is None and not (
                len(list((root / OUT).rglob("*.wav"))) >= 2 and list((root / OUT).rglob(".*.part"))
            ):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGSTOP)
            if process.poll() is None:
                yield process
                return
    raise AssertionError("always finished before it could be stopped")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_and_resumed(long, capsys, jobs, how):
    root, complete = long
    with frozen(root, jobs) as process:
        members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        os.killpg(process.pid, how)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGCONT)
        error = process.communicate(timeout=30)[1]
        seconds = time.monotonic() - began
        psutil.wait_procs(members, timeout=5)
    if how != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
        assert seconds < 2
        assert error.splitlines()[-1].startswith("interrupted: every file in its place is whole")
    there = {name: content for name, content in tree(root / OUT).items() if not name.endswith(".part")}
    assert 0 < len(there) < len(complete)
    assert all(complete[name] == content for name, content in there.items())
    made = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    assert call("--root", root, "-j", 1) == 0
    assert tree(root / OUT) == complete
    assert leftovers(root) == []
    assert len(listed(root)) == len(complete)
    # What had its line was not made again: of those that were there, all but the ones in flight.
    kept = sum(file.stat().st_ino == inode for file, inode in made.items())
    assert kept >= len(made) - jobs


@pytest.mark.slow
def test_two_at_once(long):
    root, complete = long
    clear(root)
    with running("remix", "--root", root, "-j", 1) as one, running("remix", "--root", root, "-j", 1) as other:
        errors = [process.communicate(timeout=60)[1] for process in (one, other)]
        assert (one.returncode, other.returncode) == (0, 0), errors
    assert tree(root / OUT) == complete
    assert len(listed(root)) == len(complete)
    assert leftovers(root) == []


@pytest.mark.parametrize("options", [(), ("--listeners",), ("--subtype", "FLOAT")])
def test_workers_compile_nothing(root, tmp_path, options):
    """What they need is compiled once before they start, for scenes that share a sample and others."""
    cache = tmp_path / "cache"
    done = run("remix", "--root", root, "-j", 2, *options, CADRENDER_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stderr
    (mark,) = cache.glob("prepared-*")
    compiled = list(cache.rglob("*.nbc"))
    late = [file.name for file in compiled if file.stat().st_mtime_ns > mark.stat().st_mtime_ns]
    assert compiled and not late


def test_waits_for_another_process(root, fresh):
    file = target(root, "scene_10005")
    file.parent.mkdir(parents=True)
    with temporary_name(file).open("w") as claimed, running("remix", "--root", root, "-j", 1) as process:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        deadline = time.monotonic() + 60
        while len(tree(root / OUT)) < 7:  # six targets and the claim
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(0.7)
        assert process.poll() is None and not file.exists()
        fcntl.flock(claimed, fcntl.LOCK_UN)
        error = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert error.count("another cadrender is at work on some of these files: waiting for it") == 1
    assert same_targets(root, fresh, OUT)


def test_help():
    result = run("remix", "--help")
    assert result.returncode == 0
    options = (
        "--root --jobs --config --output-music-dir --output-remix-dir --output-remix-file --scenes-file --split "
        "--scenes --songs --format --subtype --sample-rate --listeners --listeners-subtype --force --dry-run "
        "--quiet --verbose --music-file -j KEY=VALUE"
    )
    for option in options.split():
        assert option in result.stdout
