"""Interrupted, killed, two at once: files in their places are whole, and the next run goes on."""

import contextlib
import fcntl
import os
import shutil
import signal
import time

import pytest

from cadrender.metadata.gains import build_gains, gains_json
from cadrender.store.atomic import temporary_name
from tests.cli.remix.outputs import (
    OUT,
    listed,
    same_targets,
    target,
)
from tests.kernels import copy_cache
from tests.processes import assert_gone, family, patience, running, wait_for
from tests.roots import (
    POSITIONS,
    call,
    invoke,
    leftovers,
    make_root,
    run,
    tree,
)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A root without at-mic files that takes a second or two, and its targets."""
    songs = tuple(f"Song {letter}" for letter in "ABCDEF")
    root = make_root(
        tmp_path_factory.mktemp("long") / "root", songs=songs, seconds=6 * [4.0], positions=POSITIONS[:2]
    )
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert invoke("remix", "--root", root, "-j", 1, "-q").returncode == 0
    return root, tree(root / OUT)


def clear(root):
    shutil.rmtree(root / OUT, ignore_errors=True)
    for file in (root / "metadata").glob("remix.*"):
        file.unlink()


def in_the_middle(root):
    """Some targets are there and others are being made."""
    return len(list((root / OUT).rglob("*.wav"))) >= 2 and list((root / OUT).rglob(".*.part"))


@contextlib.contextmanager
def frozen(root, jobs):
    """A remix that stands still when some targets are there and others are being made."""
    for _ in range(10):
        clear(root)
        with running("remix", "--root", root, "-j", jobs) as process:
            wait_for(lambda process=process: process.poll() is not None or in_the_middle(root))
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
        members = family(process)
        os.killpg(process.pid, how)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGCONT)
        error = process.communicate(timeout=patience(30))[1]
        prompt = time.monotonic() - began < patience(2)
        assert_gone(members)
    if how != signal.SIGKILL:
        assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[how]
        assert prompt
        assert error.splitlines()[-1].startswith("interrupted: every file in its place is whole")
    there = {name: content for name, content in tree(root / OUT).items() if not name.endswith(".part")}
    assert 0 < len(there) < len(complete)
    assert all(complete[name] == content for name, content in there.items())
    made = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    assert call("remix", "--root", root, "-j", 1) == 0
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
        errors = [process.communicate(timeout=patience(60))[1] for process in (one, other)]
        assert (one.returncode, other.returncode) == (0, 0), errors
    assert tree(root / OUT) == complete
    assert len(listed(root)) == len(complete)
    assert leftovers(root) == []


def late(cache):
    """Machine code in a cache that was compiled after the workers had started, or by them."""
    (mark,) = cache.glob("prepared-*")
    compiled = list(cache.rglob("*.nbc"))
    assert compiled
    return [file.name for file in compiled if file.stat().st_mtime_ns > mark.stat().st_mtime_ns]


@pytest.mark.slow
def test_workers_compile_no_mixing(root, tmp_path):
    """What mixes is compiled once, before they start; all else is in the cache."""
    cache = copy_cache(tmp_path / "cache")
    for file in (*cache.rglob("mix_kernels.*"), *cache.glob("prepared-*")):
        file.unlink()
    done = run("remix", "--root", root, "-j", 2, CADRENDER_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stderr
    assert list(cache.rglob("mix_kernels.*")) and not late(cache)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--listeners",), ("--subtype", "FLOAT")])
def test_workers_compile_nothing(root, tmp_path, options):
    """What they need is compiled once before they start, for scenes that share a sample and others."""
    cache = tmp_path / "cache"
    done = run("remix", "--root", root, "-j", 2, *options, CADRENDER_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stderr
    assert not late(cache)


@pytest.mark.slow
def test_waits_for_another_process(root, fresh):
    file = target(root, "scene_10005")
    file.parent.mkdir(parents=True)
    with temporary_name(file).open("w") as claimed, running("remix", "--root", root, "-j", 1) as process:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        wait_for(lambda: len(list((root / OUT).rglob("*.*"))) == 7, process)  # six targets and the claim
        time.sleep(0.7)
        assert process.poll() is None and not file.exists()
        fcntl.flock(claimed, fcntl.LOCK_UN)
        error = process.communicate(timeout=patience(20))[1]
    assert process.returncode == 0
    assert error.count("another cadrender is at work on some of these files: waiting for it") == 1
    assert same_targets(root, fresh, OUT)
