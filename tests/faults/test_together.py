"""Several runs on one root at once, and what dead ones leave behind."""

import fcntl
import re
import shutil
import time

import pytest

from tests.roots import POSITIONS, leftovers, make_root, run, start, tree

pytestmark = pytest.mark.xdist_group("together")  # the root is rendered once

SONGS = tuple(f"Song {letter}" for letter in "ABCDEFGH")
FILES = len(SONGS) * len(POSITIONS) * 5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("together") / "root", songs=SONGS, seconds=[4.0] * len(SONGS))
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    return root


@pytest.fixture(scope="module")
def files(root):
    return tree(root / "audio/at_mic_music")


def test_two_runs_at_once_divide_the_work(root, files):
    shutil.rmtree(root / "audio/at_mic_music")
    runs = [start("generate", "--root", root, "-j", 1, "-v") for _ in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0], errors
    assert tree(root / "audio/at_mic_music") == files
    assert not leftovers(root)
    # Frames rendered by both together, from the speed each reports: each file once, or nearly so.
    counts = [re.search(r"(\d+) samples? rendered \((\d+) files?\), (\d+) skipped", text) for text in errors]
    assert all(counts), errors
    assert FILES <= sum(int(count[2]) for count in counts if count) < FILES + FILES // 2
    assert run("verify", "--root", root).returncode == 0
    manifest = (root / "metadata/at_mic_music.train.manifest.jsonl").read_text().splitlines()
    assert (
        sum('"path"' in line for line in manifest) < 2 * FILES + FILES // 2
    )  # the first run's lines, and few files rendered twice


def test_a_run_waits_for_a_file_that_another_is_writing(root, files):
    place = root / "audio/at_mic_music/train" / f"{SONGS[0]}-{POSITIONS[0].id}" / "bass.wav"
    place.unlink()
    claim = place.with_name(".bass.wav.part")
    with claim.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        process = start("generate", "--root", root, "-j", 1)
        time.sleep(4)
        assert process.poll() is None
        assert not place.exists()
        claim.unlink()  # like a process that finishes or gives up
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "another cadrender is at work on some of these files" in errors
    assert tree(root / "audio/at_mic_music") == files


def test_the_claims_of_dead_processes_are_void(root, files):
    folder = root / "audio/at_mic_music/train" / f"{SONGS[0]}-{POSITIONS[0].id}"
    for stem in ("bass", "drums"):
        (folder / f"{stem}.wav").unlink()
        (folder / f".{stem}.wav.part").write_bytes(b"RIFF and no more")
    (folder / ".other.wav.part").write_bytes(b"beside a complete file")
    done = run("generate", "--root", root, "-j", 1)
    assert done.returncode == 0
    assert "removed 3 temporary files of an interrupted run" in done.stderr
    assert tree(root / "audio/at_mic_music") == files


def test_a_changed_source_is_rendered_by_two_runs_at_once(root, files):
    source = root / "audio/music/train" / SONGS[1] / "bass.wav"
    content = source.read_bytes()
    source.write_bytes(content[:44] + content[44:][::-1])
    runs = [start("generate", "--root", root, "-j", 1) for _ in range(2)]
    for process in runs:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    after = tree(root / "audio/at_mic_music")
    assert {name for name in files if after[name] != files[name]} == {
        f"train/{SONGS[1]}-{position.id}/bass.wav" for position in POSITIONS
    }
    assert run("verify", "--root", root, "--deep", "20", "-j", 1).returncode == 0
    source.write_bytes(content)
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    assert tree(root / "audio/at_mic_music") == files
