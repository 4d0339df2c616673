"""Runs that succeed: the first, further ones, formats, parts of the work, other places."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
import soxr

from benchmarks import reference
from cadrender.dsp.nalr import nalr_filter
from cadrender.stems import STEMS, VDBO
from tests.cli.remix.outputs import (
    AMPLIFIED,
    AT_MIC,
    CFS,
    LIST,
    LISTENERS,
    OUT,
    SCENES,
    amplified,
    at_mic,
    by_reference,
    gains_of,
    listed,
    pcm,
    same_targets,
    sample_of,
    target,
    unquantised,
)
from tests.roots import (
    SAMPLERATE,
    SONGS,
    call,
    invoke,
    leftovers,
    run,
    tree,
    write_wav,
)

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
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0
    error = capsys.readouterr().err
    assert "21 targets complete; 0 to make" in error
    assert error.splitlines()[-1].startswith("0 targets made (0 files), 21 skipped, 0 clipped")
    assert tree(root) == files
    assert {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")} == times


@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_bytes_do_not_depend_on_the_processes(root, fresh, jobs):
    assert invoke("remix", f"path.root={root}", "--listeners", "-j", jobs).returncode == 0
    assert same_targets(root, fresh)
    assert listed(root) == listed(fresh[0])


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_at_mic_files_that_are_missing_are_rendered_on_the_way(bare, fresh, jobs):
    done = invoke("remix", "--root", bare, "--listeners", "-j", jobs)
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
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0
    assert "3 at-mic files are missing" in capsys.readouterr().err
    assert same_targets(root, fresh)
    assert tree(root / AT_MIC) == before


@pytest.mark.slow
@pytest.mark.parametrize("memory", [1000, 300_000_000])
def test_at_mic_files_in_other_formats(bare, fresh, monkeypatch, memory):
    """FLAC holds the same samples; floats are mixed as they are."""
    monkeypatch.setattr("cadrender.signals.target._MOST_MEMORY", memory)
    status = call("generate", "--root", bare, "-j", 1, "--format", "flac")
    assert status == 0
    shutil.rmtree(bare / "audio/music")
    assert call("remix", "--root", bare, "-j", 1) == 0
    assert same_targets(bare, fresh, OUT)
    sample = f"{SONGS[0]}-hlp_0002"
    for stem in STEMS:
        signal = soundfile.read(bare / AT_MIC / "train" / sample / f"{stem}.flac")[0]
        write_wav(bare / AT_MIC / "train" / sample / f"{stem}.wav", signal, subtype="FLOAT")
    target(bare, "scene_10002").unlink()
    assert call("remix", "--root", bare, "-j", 1, "--scenes", "scene_10002") == 0
    assert same_targets(bare, fresh, OUT)
    folder = bare / AT_MIC / "train" / sample
    (folder / "drums.wav").unlink()  # two types at once: its FLAC is there
    target(bare, "scene_10002").unlink()
    assert call("remix", "--root", bare, "-j", 1, "--scenes", "scene_10002") == 0
    assert same_targets(bare, fresh, OUT)


def test_at_mic_music_alone(root, fresh, capsys):
    """As the validation set comes: no songs, no HRIRs, no lists of them."""
    shutil.rmtree(root / "audio/music")
    shutil.rmtree(root / "audio/hrtf")
    for name in ("musdb18.train.json", "head_loudspeaker_positions.json"):
        (root / "metadata" / name).unlink()
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)
    sample = f"{SONGS[0]}-hlp_0001"
    damaged = root / AT_MIC / "train" / sample / "bass.wav"
    os.truncate(damaged, 100_001)
    shutil.rmtree(root / OUT)
    capsys.readouterr()
    assert call("remix", "--root", root, "-j", 1) == 1
    error = capsys.readouterr().err
    assert f"failed: {damaged}: " in error and "Traceback" not in error
    assert error.splitlines()[-1].startswith("5 targets made (5 files), 0 skipped, 0 clipped, 1 failure,")
    assert len(listed(root)) == 5


@pytest.mark.parametrize(
    ("container", "subtype"), [("flac", "PCM_16"), ("flac", "PCM_24"), ("wav", "PCM_24"), ("wav", "FLOAT")]
)
def test_other_formats(root, capsys, container, subtype):
    arguments = ("--root", root, "-j", 1, "--format", container, "--subtype", subtype, "--songs", SONGS[1])
    assert call("remix", *arguments) == 0
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
    assert call("remix", *arguments) == 0
    assert "3 targets complete; 0 to make" in capsys.readouterr().err


def test_another_sample_rate(root, capsys):
    arguments = ("--root", root, "-j", 1, "--sample-rate", 32000, "--listeners", "--scenes", "scene_1000[12]")
    assert call("remix", *arguments) == 0
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
    assert call("remix", *arguments) == 0
    assert "6 targets complete; 0 to make" in capsys.readouterr().err
    assert (
        call("remix", "--root", root, "-j", 1, "--scenes", "scene_10001") == 0
    )  # at the root's own rate again
    np.testing.assert_array_equal(pcm(target(root, "scene_10001")), by_reference(root, "scene_10001"))


def test_amplified_targets_as_integers(root, capsys):
    assert (
        call("remix", "--root", root, "-j", 1, "--listeners", "--listeners-subtype", "PCM_16", "--verbose")
        == 0
    )
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
    assert call("remix", "--root", root, "-j", 1, "--quiet", "--scenes", "*2", "--scenes", "scene_10005") == 0
    assert capsys.readouterr() == ("", "")
    assert list(listed(root)) == ["scene_10002", "scene_10005"]
    assert call("remix", "--root", root, "-j", 1, "--songs", "Se*") == 0
    assert list(listed(root)) == ["scene_10001", "scene_10002", "scene_10003", "scene_10005", "scene_10007"]
    assert call("remix", "--root", root, "-j", 1) == 0
    assert same_targets(root, fresh, OUT)


def test_dry_run_writes_nothing(root, capsys):
    before = tree(root)
    assert call("remix", "--root", root, "--dry-run", "--listeners") == 0
    assert "21 to make" in capsys.readouterr().err
    assert tree(root) == before


def test_other_places(root, tmp_path, fresh):
    scenes = tmp_path / "my scenes.json"
    (root / "metadata/scenes.train.json").rename(scenes)
    (root / AT_MIC).rename(tmp_path / "at mic")
    status = call(
        "remix",
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
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)


def test_more_stems_than_there_is_memory_for(root, fresh, monkeypatch):
    monkeypatch.setattr("cadrender.signals.target._MOST_MEMORY", 1000)
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0
    assert same_targets(root, fresh)


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
