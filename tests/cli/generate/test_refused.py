"""What is refused before anything is touched: metadata, HRIRs, usage, links, disks that are too small."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from cadrender.pipeline import plan as plan_module
from tests import disks
from tests.cli.generate.outputs import LIST, OUT, SAMPLES, at_mic, list_text, same_as_fresh
from tests.roots import (
    POSITIONS,
    SONGS,
    call,
    edit_json,
    invoke,
    one_line,
    tree,
    write_wav,
)


def _track(**values):
    return "musdb18.train", lambda tracks: tracks[0].update(values)


def _scene(**values):
    return "scenes.train", lambda scenes: scenes["scene_10001"].update(values)


def _position(**values):
    return "head_loudspeaker_positions", lambda positions: positions["hlp_0001"].update(values)


OUTSIDE = {
    "path up": _track(Path="../../../elsewhere"),
    "path up later": _track(Path="train/../../../elsewhere"),
    "absolute path": _track(Path="/elsewhere"),
    "NUL in a path": _track(Path="train/a\0b"),
    "backslash": _track(Path="train\\..\\..\\elsewhere"),
    "split up": _track(Split=".."),
    "split of two": _track(Split="train/more"),
    "absolute split": _track(Split="/elsewhere"),
    "track up": _track(**{"Track Name": "../elsewhere"}),
    "track of dots": _track(**{"Track Name": ".."}),
    "subject up": _position(subject="../../elsewhere/x"),
    "NUL in a subject": _position(subject="VP\0E1"),
    "absolute microphone": _position(mic="/elsewhere/BTE"),
    "scene's song": _scene(music="../elsewhere"),
    "scene's position": _scene(head_loudspeaker_positions="../elsewhere"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_names_that_lead_outside(root, capsys, case):
    file, change = OUTSIDE[case]
    edit_json(root / f"metadata/{file}.json", change)
    before = tree(root.parent)
    assert call("generate", "--root", root) == 2
    one_line(capsys)
    assert tree(root.parent) == before
    assert not (root / OUT).exists()


def test_position_id_that_leads_outside(root, capsys):
    def rename(positions):
        positions["../../elsewhere"] = positions.pop("hlp_0001")

    edit_json(root / "metadata/head_loudspeaker_positions.json", rename)
    edit_json(
        root / "metadata/scenes.train.json",
        lambda scenes: scenes["scene_10001"].update(head_loudspeaker_positions="../../elsewhere"),
    )
    before = tree(root.parent)
    assert call("generate", "--root", root) == 2
    one_line(capsys)
    assert tree(root.parent) == before


def _rename_hrir(root):
    (root / "audio/hrtf" / POSITIONS[0].left_hrir).rename(root / "x.wav")


REFUSED = {
    "no root": (lambda root: shutil.rmtree(root / "metadata"), "scenes.train.json: cannot read"),
    "damaged scenes": (
        lambda root: (root / "metadata/scenes.train.json").write_text('{"scene_1": '),
        "scenes.train.json: not valid JSON",
    ),
    "unknown song": (
        lambda root: edit_json(
            root / "metadata/scenes.train.json", lambda s: s["scene_10001"].update(music="?")
        ),
        "the track '?' is not in the music list",
    ),
    "missing HRIR": (
        _rename_hrir,
        f"{POSITIONS[0].left_hrir}: no such file (needed by head position hlp_0001)",
    ),
    "mono HRIR": (
        lambda root: write_wav(root / "audio/hrtf" / POSITIONS[0].left_hrir, np.ones(200)),
        f"{POSITIONS[0].left_hrir}: 1 channel; an HRIR has two",
    ),
    "HRIR at another rate": (
        lambda root: write_wav(root / "audio/hrtf" / POSITIONS[2].right_hrir, np.ones((200, 2)), 48000),
        f"{POSITIONS[2].right_hrir}: 48000 Hz; 44100 Hz is needed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_metadata_and_hrirs_that_cannot_be_used(root, capsys, case):
    happen, message = REFUSED[case]
    happen(root)
    before = tree(root.parent)
    assert call("generate", "--root", root) == 2
    assert message in one_line(capsys)
    assert tree(root.parent) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--songs", "Nobody*"], "--songs 'Nobody*': no song of the scenes has such a name"),
        (
            ["--stems", "vocals,trumpet"],
            "unknown stem 'trumpet'; known ones: mixture, vocals, drums, bass, other",
        ),
        (["--format", "flac", "--subtype", "FLOAT"], "not FLOAT"),
        (["--format", "mp3"], "'mp3'"),
        (["-j", "0"], "0"),
        (["-j", "-2"], "-2"),
        (["--split", "dev"], "'dev'"),
        (["path.rot=x"], "near ones: path.root"),
        (["rubbish"], "key=value"),
    ],
)
def test_wrong_usage(root, capsys, arguments, message):
    before = tree(root)
    assert call("generate", "--root", root, *arguments) == 2
    assert message in capsys.readouterr().err
    assert tree(root) == before


def test_no_root_at_all(capsys):
    assert call("generate") == 2
    assert "--root DIR" in one_line(capsys)


def test_outputs_never_go_through_links(root, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / OUT).mkdir(parents=True)
    (root / OUT / "train").symlink_to(elsewhere)
    assert call("generate", "--root", root, "-j", 1) == 1
    assert f"{root / OUT / 'train'}: a symbolic link" in capsys.readouterr().err.splitlines()[-1]
    assert list(elsewhere.iterdir()) == []


def test_linked_files_are_replaced(root, fresh, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    for file in (at_mic(root, SONGS[0], POSITIONS[0], "vocals"), root / LIST):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)
    assert call("generate", "--root", root, "-j", 1) == 0
    assert target.read_bytes() == b"precious"
    assert same_as_fresh(root, fresh)


def test_linked_songs_are_read(root, fresh, tmp_path):
    (root / "audio/music/train" / SONGS[0]).rename(tmp_path / "elsewhere")
    (root / "audio/music/train" / SONGS[0]).symlink_to(tmp_path / "elsewhere")
    assert call("generate", "--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)


# Space


def test_not_enough_space(root, capsys, monkeypatch):
    monkeypatch.setattr(plan_module, "free_space", lambda folder: 8_000_000)
    before = tree(root)
    assert call("generate", "--root", root, "--quiet") == 1
    assert re.fullmatch(
        r"cadrender: .*at_mic_music: 0\.01 GB will be written, and 0\.01 GB are free \(--force .*\)\n",
        capsys.readouterr().err,
    )
    assert tree(root) == before
    monkeypatch.setattr(plan_module, "free_space", lambda folder: 10_000_000)
    assert call("generate", "--root", root, "--quiet", "--dry-run") == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes."""
    with disks.small_disk(tmp_path / "disk", "4m") as folder:
        yield folder


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_full_disk(root, fresh, small_disk, capsys, jobs):
    arguments = ("--root", root, "--output-music-dir", small_disk / "out", "-j", jobs)
    assert call("generate", *arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("GB are free (--force to try all the same)")
    assert list(small_disk.iterdir()) == []
    stopped = invoke("generate", *arguments, "--force")
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert stopped.stderr.splitlines()[-1].endswith(
        "cannot be written: No space left on device; run the same command again to go on"
    )
    whole = tree(fresh[0] / OUT)
    for name, content in tree(small_disk / "out").items():
        assert name.endswith(".part") or content == whole[name]
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    assert call("generate", *arguments) == 0
    assert tree(small_disk / "out") == whole
    assert (root / LIST).read_text() == list_text(SAMPLES)
