"""What cannot be mixed: songs without stems, damaged ones, bad metadata, too little space."""

import os
import shutil

import numpy as np
import pytest

from cadrender.stems import VDBO
from tests.cli.remix.outputs import AT_MIC, OUT, SCENES, at_mic, listed, pcm, same_targets, target
from tests.roots import (
    POSITIONS,
    SONGS,
    call,
    edit_json,
    leftovers,
    one_line,
    tree,
    write_wav,
)


def test_songs_without_stems(bare, capsys):
    for stem in VDBO:
        (bare / "audio/music/train" / SONGS[1] / f"{stem}.wav").unlink()
    assert call("remix", "--root", bare, "-j", 1) == 0
    error = capsys.readouterr().err
    assert f"no stems, so there is nothing to rebalance: 1 song ({SONGS[1]})" in error
    assert "1 song without stems" in error.splitlines()[-1]
    assert list(listed(bare)) == ["scene_10001", "scene_10002", "scene_10003", "scene_10007"]
    assert call("remix", "--root", bare, "-j", 1, "--songs", SONGS[1]) == 1
    assert "none of the songs has stems: there is nothing to rebalance" in one_line(capsys)


def test_damaged_songs_are_told_of_and_the_others_mixed(bare, fresh, capsys):
    file = bare / "audio/music/train" / SONGS[0] / "bass.wav"
    os.truncate(file, 50_001)
    assert call("remix", "--root", bare, "-j", 1) == 1
    error = capsys.readouterr().err
    assert error.count("failed: ") == 3  # each of its samples, in one line
    assert f"{file}: truncated: " in error
    assert "3 targets made" in error.splitlines()[-1]
    for scene in SCENES[3:6]:
        assert pcm(target(bare, scene)).tobytes() == pcm(target(fresh[0], scene)).tobytes()
    # With the at-mic files in place nobody needs the song.
    shutil.copytree(fresh[0] / AT_MIC, bare / AT_MIC)
    assert call("remix", "--root", bare, "-j", 1) == 0
    assert same_targets(bare, fresh, OUT)


def test_nan_in_an_at_mic_file(root, capsys):
    folder = root / AT_MIC / "train" / f"{SONGS[1]}-hlp_0001"
    signal = at_mic(root, folder.name, "bass", "float64")
    signal[1000] = np.nan
    write_wav(folder / "bass.wav", signal, subtype="FLOAT")
    assert call("remix", "--root", root, "-j", 1) == 1
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
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 2
    assert named in one_line(capsys)
    assert tree(root) == before


@pytest.mark.parametrize("missing", ["the file", "a scene"])
def test_without_scene_listeners_it_says_which_command_draws_them(root, capsys, missing):
    file = root / "metadata/scene_listeners.train.json"
    if missing == "the file":
        file.unlink()
    else:
        edit_json(file, drop("scene_10003"))
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 2
    line = one_line(capsys)
    assert str(file) in line
    assert f"(cadrender scenes --listeners-only --root {root} --split train draws " in line
    assert call("scenes", "--listeners-only", "--root", root, "--split", "train") == 0
    assert call("remix", "--root", root, "--listeners", "-j", 1) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scenes", "nothing*"], "nothing*"),
        (["--songs", "Nobody"], "Nobody"),
        (["--sample-rate", "100"], "100 Hz"),
    ],
)
def test_bad_arguments(root, capsys, arguments, named):
    assert call("remix", "--root", root, *arguments) == 2
    assert named in one_line(capsys)


def test_missing_hrir(bare, capsys):
    (bare / "audio/hrtf" / POSITIONS[0].left_hrir).unlink()
    assert call("remix", "--root", bare) == 2
    assert POSITIONS[0].left_hrir in one_line(capsys)


def test_not_enough_space(root, capsys, monkeypatch):
    monkeypatch.setattr("cadrender.pipeline.plan.free_space", lambda folder: 1_000_000)
    before = tree(root)
    assert call("remix", "--root", root, "-q", "-j", 1) == 1
    assert "0.00 GB are free (--force to try all the same)" in one_line(capsys)
    assert tree(root) == before
    assert call("remix", "--root", root, "-q", "-j", 1, "--force") == 0


def test_never_through_a_symbolic_link(root, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (root / OUT).mkdir()
    (root / OUT / "train").symlink_to(tmp_path / "elsewhere")
    assert call("remix", "--root", root, "-q", "-j", 1) == 1
    assert "a symbolic link" in one_line(capsys)
    assert tree(tmp_path / "elsewhere") == {}
