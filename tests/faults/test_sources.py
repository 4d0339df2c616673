"""Sources that disappear, shrink or change while being rendered."""

import os
import shutil
import threading
import time

import numpy as np
import pytest

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.config import load_settings
from cadrender.pipeline.plan import make_plan
from tests.roots import POSITIONS, SONGS, leftovers, make_root, run, start, tree


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "root")


def plan_of(root, **options):
    return make_plan(AtMicCatalogue(load_settings(root=root), **options))


def vanish(file):
    file.unlink()


def shrink(file):
    os.truncate(file, file.stat().st_size // 2)


def shrink_to_nothing(file):
    os.truncate(file, 0)


def become_noise(file):
    file.write_bytes(os.urandom(file.stat().st_size))


def become_a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("happen", [vanish, shrink, shrink_to_nothing, become_noise, become_a_folder])
def test_a_source_that_is_another_when_its_turn_comes(root, happen, jobs):
    plan = plan_of(root)
    file = root / "audio/music/train" / SONGS[0] / "drums.wav"
    happen(file)
    summary = plan.run(jobs)
    (failure,) = summary.failures
    assert failure.startswith(f"{file}: ")
    assert "\n" not in failure
    (tally,) = summary.tallies
    assert tally.incomplete == len(POSITIONS)
    assert tally.done == len(POSITIONS) * (len(SONGS) - 1)
    assert not list((root / "audio/at_mic_music").rglob(f"{SONGS[0]}*/drums.wav"))
    assert not leftovers(root)


def test_an_hrir_that_vanishes_costs_only_its_files(root):
    plan = plan_of(root)
    file = root / "audio/hrtf" / POSITIONS[2].left_hrir
    assert POSITIONS[2].left_hrir not in (POSITIONS[0].left_hrir, POSITIONS[1].left_hrir)
    file.unlink()
    summary = plan.run(1)
    assert summary.failures
    assert all(failure.startswith(f"{file}: no such file") for failure in summary.failures)
    assert not leftovers(root)


def test_a_source_that_shrinks_while_it_is_read(root):
    """A worker is stopped at random moments while its source is truncated, until one is caught midway."""
    song = root / "audio/music/train" / SONGS[0]
    whole = (song / "bass.wav").read_bytes()
    for delay in np.linspace(0.0, 0.02, 5):
        plan = plan_of(root, songs=[SONGS[0]], stems=["bass"])
        assert plan.batches

        def cut(delay=delay):
            time.sleep(delay)
            os.truncate(song / "bass.wav", len(whole) // 3)

        thread = threading.Thread(target=cut)
        thread.start()
        summary = plan.run(1)
        thread.join()
        if summary.failures:
            (failure,) = summary.failures
            assert failure.startswith(str(song / "bass.wav"))
        (song / "bass.wav").write_bytes(whole)
        shutil.rmtree(root / "audio/at_mic_music")
    assert not leftovers(root)


def test_a_source_that_keeps_changing_is_never_mixed(tmp_path):
    """Whatever the writer of the source does meanwhile, files and manifest reflect a single state of it."""
    root = make_root(tmp_path / "root", songs=SONGS[:1], seconds=(6.0,))
    source = root / "audio/music/train" / SONGS[0] / "bass.wav"
    one = source.read_bytes()
    other = one[:44] + one[44:][::-1]
    outputs = {}
    for content in (other, one):
        source.write_bytes(content)
        assert run("generate", "--root", root, "-j", 1).returncode == 0
        outputs[content] = tree(root / "audio/at_mic_music")
    assert outputs[one] != outputs[other]
    shutil.rmtree(root / "audio/at_mic_music")

    process = start("generate", "--root", root, "-j", 2)
    while process.poll() is None:
        for content in (other, one):
            with source.open("r+b") as stream:  # in place, half by half
                stream.write(content[: len(one) // 2])
                stream.flush()
                time.sleep(0.01)
                stream.write(content[len(one) // 2 :])
    _, errors = process.communicate()
    assert "Traceback" not in errors
    source.write_bytes(one)
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    assert tree(root / "audio/at_mic_music") == outputs[one]
    assert run("verify", "--root", root, "--deep", "100").returncode == 0


def test_clocks_play_no_part(root):
    """Files from the future and outputs older than their sources are taken as they are."""
    century = 100 * 365 * 86400 * 10**9
    for file in root.rglob("*.*"):
        os.utime(file, ns=(time.time_ns() + century,) * 2)
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    before = tree(root / "audio")
    for file in (root / "audio/at_mic_music").rglob("*.wav"):
        os.utime(file, ns=(0, 0))
    done = run("generate", "--root", root, "-j", 1)
    assert "0 files to render" in done.stderr
    assert tree(root / "audio") == before
