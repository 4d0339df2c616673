"""Signals of a root are read from their files where these are current and quicker to read; the samples are the same."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.scenes import scene_listeners_json
from tests.roots import POSITIONS, SONGS, invoke, make_root

SAMPLE = f"{SONGS[0]}-{POSITIONS[0].id}"
FLAT = Listener("L0001", (250, 500, 1000, 2000, 3000, 4000, 6000, 8000), (40,) * 8, (50,) * 8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A root with at-mic files, targets, and targets amplified for a listener."""
    root = make_root(tmp_path_factory.mktemp("copies") / "root", seconds=(1.2, 0.8))
    metadata = root / "metadata"
    (metadata / "gains.json").write_text(gains_json(build_gains()))
    (metadata / "listeners.train.json").write_text(listeners_json([FLAT]))
    pairs = {f"scene_{10001 + k}": [FLAT.id] for k in range(7)}
    (metadata / "scene_listeners.train.json").write_text(scene_listeners_json(pairs))
    for command in ("generate",), ("remix", "--listeners"):
        done = invoke(*command, "--root", root, "-j", 1)
        assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root", copy_function=shutil.copy2)


def signals(root, container="wav"):
    opened = cadrender.open_root(root)
    return {
        "at-mic": opened.at_mic(SAMPLE, "bass"),
        "target": opened.target("scene_10001"),
        "amplified": opened.target("scene_10001", FLAT.id, subtype="FLOAT"),
        "by path": opened.signal(f"train/{SAMPLE}/bass.{container}"),
    }


def made_anew(signal, *part):
    return replace(signal, copy=None).read(*part)


def is_read_from_file(signal):
    """Whether what is read is in the file: its samples are changed behind the program's back."""
    file = signal.copy.file
    before, times = file.read_bytes(), file.stat()
    with file.open("r+b") as stream:
        stream.seek(-4000, os.SEEK_END)
        stream.write(bytes(4000))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    silent = not signal.read(-100, dtype="float64").any()
    file.write_bytes(before)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return silent


def test_current_files_are_read(made):
    for name, signal in signals(made).items():
        dtypes = ("float32", "float64") if name == "amplified" else ("int16", "int32", "float32", "float64")
        for dtype in dtypes:
            for start, frames in ((0, -1), (1000, 777), (signal.frames - 5, 10), (signal.frames, 3)):
                ours = signal.read(start, frames, dtype)
                stored = soundfile.read(signal.copy.file, frames, start, dtype=dtype)[0]
                np.testing.assert_array_equal(ours, stored)
                if name != "amplified":  # there float32 hides no rounding
                    np.testing.assert_array_equal(ours, made_anew(signal, start, frames, dtype))
        out = np.zeros((900, 2), "float32")
        assert np.array_equal(signal.read(10, out=out), signal.read(10, 900, "float32"))
        assert is_read_from_file(signal)


@pytest.mark.parametrize("change", ["touched", "deleted", "cut short"])
def test_a_file_that_changes_is_read_no_more(root, change):
    for signal in signals(root).values():
        expected = made_anew(signal, 500, 600, "float32")
        file = signal.copy.file
        if not file.exists():  # the same one, by path
            continue
        if change == "deleted":
            file.unlink()
        elif change == "cut short":
            os.truncate(file, 2000)
        else:
            with file.open("r+b") as stream:
                stream.seek(2000)
                stream.write(bytes(4000))
        np.testing.assert_array_equal(signal.read(500, 600, "float32"), expected)


def test_an_input_that_changes_is_noticed(root):
    """The file is of the old song: the part is that of the new one, as for a signal without a file."""
    opened = cadrender.open_root(root)
    signal, other = opened.at_mic(SAMPLE, "bass"), opened.at_mic(SAMPLE, "drums")
    before = signal.read(0, 1000)
    song = root / "audio/music/train" / SONGS[0]
    shutil.copyfile(song / "drums.wav", song / "bass.wav")
    expected = made_anew(signal, 0, 1000)
    assert not np.array_equal(expected, before)
    np.testing.assert_array_equal(signal.read(0, 1000), expected)
    assert other.copy
    np.testing.assert_array_equal(expected, soundfile.read(other.copy.file, 1000, dtype="int16")[0])
    assert cadrender.open_root(root).at_mic(SAMPLE, "bass").copy is None


def test_what_is_not_known_to_be_current_is_not_read(root):
    opened = cadrender.open_root(root)
    assert opened.at_mic(SAMPLE, "bass", subtype="FLOAT").copy is None
    for manifest in (root / "metadata").glob("*.manifest.jsonl"):
        manifest.unlink()
    for name, signal in signals(root).items():
        assert signal.copy is None, name


def test_flac_is_read_only_where_that_is_quicker(root):
    for command in ("generate",), ("remix",):
        done = invoke(*command, "--root", root, "-j", 1, "--format", "flac")
        assert done.returncode == 0, done.stderr
    found = signals(root, "flac")
    assert found["at-mic"].copy is None
    assert found["target"].copy.file.suffix == ".flac"
    np.testing.assert_array_equal(found["target"].read(9, 999), made_anew(found["target"], 9, 999))
