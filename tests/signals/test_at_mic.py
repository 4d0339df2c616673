"""Levels of at-mic stems: measured together where that costs little, and never in the way of each other."""

import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.catalogue import at_mic
from cadrender.metadata.positions import HeadPosition
from cadrender.signals.at_mic import AtMic, measure
from cadrender.signals.base import Kept
from cadrender.store.digest import digest_of
from cadrender.store.levels import LevelBook, LevelFiles
from cadrender.store.manifest import Input, Manifest
from tests.roots import SONGS, invoke, make_root, write_wav


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "root", seconds=(0.9, 0.7))


def at_mics(root, stem="drums", song=SONGS[0]):
    """The signals of one stem at all positions, of a root opened anew."""
    opened = cadrender.open_root(root)
    return [opened.at_mic(sample, stem) for sample in opened.samples if sample.track.name == song]


def test_a_stem_is_measured_for_its_songs_other_positions_too(root):
    first, *others = at_mics(root)
    assert not any(signal.is_measured for signal in (first, *others))
    others[1].read(0, 1)
    assert all(signal.is_measured for signal in (first, *others))
    assert not any(signal.is_measured for signal in (*at_mics(root, "bass"), *at_mics(root, song=SONGS[1])))
    lines = (root / "metadata/levels.jsonl").read_text().splitlines()
    assert len(lines) == 1
    (root / "metadata/levels.jsonl").unlink()
    for signal in (first, *others):
        alone = replace(signal, measured_with=(), level_files=None)
        before, after = measure([alone], LevelFiles(root, root).open().look_at(alone.source))
        measured = (before, *after.values())
        assert measured == pytest.approx((signal.level().before, signal.level().after), abs=1e-9)


def test_parts_are_counted_as_soundfile_does(root):
    signal = at_mics(root)[0]
    file = root / "stem.wav"
    write_wav(file, signal.read())
    frames = signal.frames
    for start in (0, 7, frames - 3, frames, frames + 9, -1, -100, 1 - frames, -frames, -frames - 5):
        for count in (-1, 0, 1, 100, 2 * frames):
            expected = soundfile.read(file, count, start, dtype="int16")[0] if start <= frames else []
            np.testing.assert_array_equal(signal.read(start, count), np.reshape(expected, (-1, 2)))


@pytest.mark.parametrize(
    ("out", "problem"),
    [
        ([1, 2], "out is a list"),
        (np.zeros((4, 2), ">i2"), "'>i2'"),
        (np.zeros((4, 2), "c8"), "complex64"),
        (np.frombuffer(bytes(16), "i2").reshape(4, 2), "writeable"),
        (np.zeros((4, 3), "i2"), r"\(4, 3\)"),
    ],
)
def test_what_cannot_be_filled(root, out, problem):
    with pytest.raises((ValueError, TypeError), match=problem):
        at_mics(root)[0].read(0, 4, out=out)


class Replacing:
    """A sink that replaces an HRIR when it gets its first samples."""

    pcm16, folder = True, None

    def __init__(self, hrir):
        self._hrir = hrir

    def write(self, piece):
        write_wav(self._hrir.with_suffix(".new"), 0.5 * soundfile.read(self._hrir)[0], subtype="FLOAT")
        self._hrir.with_suffix(".new").replace(self._hrir)

    def restart(self):
        raise AssertionError


def test_an_hrir_that_is_replaced_meanwhile_is_recorded_as_it_was(root):
    signal = at_mics(root)[0]
    before = digest_of(signal.left_hrir)
    (made,) = AtMic.make([signal], [Replacing(signal.left_hrir)], Manifest(root / "manifest.jsonl", root))
    assert digest_of(signal.left_hrir) != before
    recorded = made.inputs["left_hrir"]
    assert isinstance(recorded, Input) and recorded.digest == before


@pytest.mark.parametrize("place", ["levels.jsonl", "at_mic_music.train.manifest.jsonl"])
def test_a_level_that_was_damaged_is_measured_again(root, monkeypatch, place):
    signal = at_mics(root)[0]
    expected = signal.read()
    if place.startswith("at_mic"):
        assert invoke("generate", "--root", root, "-j", 1).returncode == 0
        shutil.rmtree(root / "audio/at_mic_music")
        (root / "metadata/levels.jsonl").unlink()
    file = root / "metadata" / place
    levels = re.compile(r'(?<="loudness_after": )-?[\d.]+|(?<="after": ).*?}')
    louder = levels.sub(lambda found: re.sub(r"-\d+\.", "-3.", found[0]), file.read_text())
    assert louder != file.read_text()
    file.write_text(louder)
    monkeypatch.setattr("cadrender.signals.at_mic._levels", {})
    monkeypatch.setattr("cadrender.store.levels._books", {})
    np.testing.assert_array_equal(at_mics(root)[0].read(), expected)


def test_a_level_that_another_process_measures_in_the_same_moment(root, monkeypatch):
    """It was not known when it was looked up, and is when the missing ones are counted."""
    expected = at_mics(root)[0].level()
    monkeypatch.setattr("cadrender.signals.at_mic._levels", {})
    monkeypatch.setattr(LevelBook, "level", lambda *_: None)
    level = at_mics(root)[0].level()
    assert (level.before, level.after) == pytest.approx((expected.before, expected.after), abs=1e-9)


@pytest.mark.parametrize("damage", ["missing", "not audio"])
def test_an_hrir_that_cannot_be_used_harms_its_own_position_alone(root, damage):
    first, *others = at_mics(root)
    hrir = others[-1].left_hrir  # of no other position
    hrir.unlink()
    if damage == "not audio":
        hrir.write_bytes(b"not audio")
    first.read(0, 1)
    assert first.is_measured and others[0].is_measured
    with pytest.raises(cadrender.CadrenderError, match=hrir.name):
        others[-1].read(0, 1)


def test_no_more_than_some_positions_are_measured_at_once(tmp_path, monkeypatch):
    positions = tuple(HeadPosition(f"hlp_{k:04}", "VP_E1", -37.5 + 7.5 * k, 22.5, "BTE_fr") for k in range(5))
    root = make_root(tmp_path / "many", seconds=(0.9, 0.7), positions=positions)
    monkeypatch.setattr(at_mic, "_TOGETHER", 2)
    signals = at_mics(root)
    signals[3].read(0, 1)
    assert [signal.is_measured for signal in signals] == [False, False, True, True, False]


def test_a_whole_signal_is_made_once_however_many_wait_for_it():
    kept = Kept()
    made: list[None] = []

    def make():
        made.append(None)
        time.sleep(0.1)
        if len(made) == 1:
            raise OSError("not this time")
        return np.arange(4)

    def get(_):
        try:
            return kept.get("key", make).tolist()
        except OSError:
            return None

    with ThreadPoolExecutor(6) as pool:
        got = list(pool.map(get, range(6)))
    assert (got.count(None), got.count([0, 1, 2, 3]), len(made)) == (1, 5, 2)


def test_few_whole_signals_are_made_at_a_time():
    kept, making, most = Kept(), [0], [0]
    lock = threading.Lock()

    def make():
        with lock:
            making[0] += 1
            most[0] = max(most[0], making[0])
        time.sleep(0.02)
        with lock:
            making[0] -= 1
        return np.arange(4)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: kept.get(key, make), range(8)))
    assert most == [2]
