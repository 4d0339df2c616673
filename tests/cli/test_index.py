"""Levels measured ahead of time: the same that `generate` records, kept where any process finds them."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.store.levels import NAME, LevelBook
from tests.processes import wait_for
from tests.roots import POSITIONS, SONGS, environment, invoke, make_root, start


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "root", seconds=(1.0, 0.7))


def levels(root):
    """All that the book knows: by source and pair of HRIRs."""
    lines = [json.loads(line) for line in (root / "metadata" / NAME).read_text().splitlines()]
    return {
        (line["source"]["blake3"], head): after for line in lines for head, after in line["after"].items()
    }


def test_first_and_second_run(root):
    done = invoke("index", "--root", root, "-j", 2)
    assert (done.returncode, done.stdout) == (0, "")
    first, *_, last = done.stderr.splitlines()
    assert first == "0 levels known; 30 to measure, of 10 stems: 8.5 s of audio"
    assert last.startswith("30 levels measured (10 stems), 0 known before, 0 failures, ")
    assert last.endswith(f"kept in {root}/metadata/{NAME}")
    assert len(levels(root)) == 30
    again = invoke("index", "--root", root, "-j", 1)
    assert again.stderr.startswith("30 levels known; 0 to measure, of 0 stems")


def test_they_are_those_that_generate_records(root, tmp_path):
    assert invoke("index", "--root", root, "-q", "-j", 1).returncode == 0
    assert invoke("generate", "--root", root, "-q", "-j", 1).returncode == 0
    known = levels(root)
    manifest = root / "metadata/at_mic_music.train.manifest.jsonl"
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    records = [record for record in records if record.get("product") == "at-mic"]
    assert len(records) == 30
    for record in records:
        left, right = (record["inputs"][role]["blake3"][:16] for role in ("left_hrir", "right_hrir"))
        after = known[record["inputs"]["source"]["blake3"], left + right]
        assert after == pytest.approx(record["levels"]["loudness_after"], abs=1e-9)
    (root / "metadata" / NAME).unlink()
    assert invoke("index", "--root", root).stderr.startswith("30 levels known; 0 to measure")


def test_all_heads(root):
    done = invoke("index", "--root", root, "--heads", "all", "--songs", SONGS[1], "-j", 1)
    assert done.returncode == 0
    assert "15 levels measured (5 stems)" in done.stderr
    assert len(POSITIONS) == 3


def test_a_damaged_song_and_the_others(root):
    broken = root / "audio/music/train" / SONGS[0] / "bass.wav"
    broken.write_bytes(broken.read_bytes()[:900])
    done = invoke("index", "--root", root, "-j", 1)
    assert done.returncode == 1
    assert f"failed: {broken}: truncated" in done.stderr
    assert "15 levels measured (5 stems)" in done.stderr and "1 failure," in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kill_loses_nothing_that_was_measured(root):
    process = start("index", "--root", root, "-j", 1)
    place = root / "metadata" / NAME
    wait_for(lambda: process.poll() is not None or (place.exists() and place.read_bytes().count(b"\n") > 2))
    process.kill()
    process.communicate()
    before = levels(root)
    assert before
    done = invoke("index", "--root", root, "-j", 1)
    assert done.returncode == 0
    assert f"{len(before)} levels known" in done.stderr
    assert len(levels(root)) == 30


def test_a_read_that_finds_no_level_measures_and_keeps_it(root):
    """That of the song's other positions too: it costs little more."""
    opened = cadrender.open_root(root)
    signal = opened.at_mic(f"{SONGS[1]}-hlp_0002", "drums")
    part = signal.read(100, 300)
    assert len(levels(root)) == len(POSITIONS)
    assert invoke("generate", "--root", root, "-q", "-j", 1).returncode == 0
    file = root / "audio/at_mic_music" / opened.samples[4].path / "drums.wav"
    np.testing.assert_array_equal(part, soundfile.read(file, 300, 100, dtype="int16")[0])
    assert signal.level_files and isinstance(signal.level_files.open(), LevelBook)


@pytest.mark.slow  # nor is machine code kept: all is compiled
@pytest.mark.faults
def test_levels_that_cannot_be_written_are_failures(root, tmp_path):
    """No file may grow: neither the root's nor, where levels go otherwise, the cache's."""
    arguments = [sys.executable, "-m", "cadrender", "index", "--root", root, "-j", "1"]
    done = subprocess.run(
        arguments,
        env=environment(CADRENDER_CACHE_DIR=str(tmp_path / "cache")),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    failed = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 10
    assert all(f"{root}/metadata/{NAME}: cannot be written: " in line for line in failed)
    assert done.stderr.count("what is compiled is not kept") == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("0 levels measured (0 stems), 0 known before, 10 failures, ")
    assert "kept in" not in last


def test_dry_run_writes_nothing(root):
    done = invoke("index", "--root", root, "--dry-run")
    assert done.returncode == 0 and "30 to measure" in done.stderr
    assert not (root / "metadata" / NAME).exists()
