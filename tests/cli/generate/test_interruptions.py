"""Interrupted, killed, two at once: files in their places are whole, and the next run goes on."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import time

import pytest

from cadrender.stems import STEMS
from cadrender.store.atomic import temporary_name
from tests.cli.generate.outputs import (
    LIST,
    OUT,
    SAMPLES,
    at_mic,
    list_text,
    listed,
    same_as_fresh,
)
from tests.processes import assert_gone, family, patience, running, wait_for
from tests.roots import (
    POSITIONS,
    SONGS,
    call,
    leftovers,
    make_root,
    tree,
)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A root whose rendering takes a second or two, and its complete output."""
    root = tmp_path_factory.mktemp("long")
    make_root(root, songs=SONGS, seconds=(16.0, 15.0))
    assert call("generate", "--root", root, "-j", 1) == 0
    return root, tree(root / OUT)


def clear(root):
    shutil.rmtree(root / OUT, ignore_errors=True)
    for file in (root / "metadata").glob("*at_mic_music*"):
        file.unlink()


def writing(root):
    """Something is being written."""
    return list((root / OUT).rglob(".*.part"))


def some_files(root):
    """Some files are complete."""
    return len(list((root / OUT).rglob("*.wav"))) >= 3


@contextlib.contextmanager
def frozen(root, moment, *arguments):
    """A generate on a cleared root that stands still, with all its workers, at a moment of its work."""
    for _ in range(10):
        clear(root)
        with running("generate", "--root", root, *arguments) as process:
            wait_for(lambda process=process: process.poll() is not None or moment(root))
            os.killpg(process.pid, signal.SIGSTOP)
            if process.poll() is None and len(list((root / OUT).rglob("*.wav"))) < 30:
                yield process
                return
    raise AssertionError("always finished before it could be stopped")


def end_and_wait(process, how):
    """End a process that stands still; return whether that took less than two seconds, and what was said."""
    members = family(process)
    how(process)
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    error = process.communicate(timeout=patience(30))[1]
    prompt = time.monotonic() - began < patience(2)
    assert_gone(members)
    return prompt, error


def ctrl_c(process):
    os.killpg(process.pid, signal.SIGINT)


def terminate(process):
    process.send_signal(signal.SIGTERM)


def terminate_all(process):
    os.killpg(process.pid, signal.SIGTERM)


def kill_all(process):
    os.killpg(process.pid, signal.SIGKILL)


def resumed(root, complete, *arguments):
    """Whether the next run ends with the tree of an undisturbed one."""
    return (
        call("generate", "--root", root, "-j", 1, *arguments) == 0
        and tree(root / OUT) == complete
        and (root / LIST).read_text() == list_text(SAMPLES)
        and leftovers(root) == []
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "how", "moment"),
    [
        (1, ctrl_c, some_files),
        (1, terminate, writing),
        (2, ctrl_c, writing),
        (2, ctrl_c, some_files),
        (2, terminate, some_files),
        (2, terminate_all, writing),
    ],
)
def test_interrupted(long, jobs, how, moment):
    root, complete = long
    with frozen(root, moment, "-j", jobs) as process:
        prompt, error = end_and_wait(process, how)
    assert process.returncode == (130 if how == ctrl_c else 143)
    assert prompt
    assert error.splitlines()[3:] == [
        "interrupted: every file in its place is whole; run the same command again to go on"
    ]
    there = tree(root / OUT)
    assert all(complete[name] == content for name, content in there.items() if not name.endswith(".part"))
    assert listed(root) == [
        f"{song}-{position.id}"
        for song, position in SAMPLES
        if all(at_mic(root, song, position, stem).exists() for stem in STEMS)
    ]
    assert resumed(root, complete)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed(long, capsys, jobs):
    root, complete = long
    with frozen(root, lambda root: some_files(root) and writing(root), "-j", jobs) as process:
        end_and_wait(process, kill_all)
    left = leftovers(root)
    assert left
    assert resumed(root, complete)
    files = f"{len(left)} temporary file{'s' * (len(left) != 1)}"
    assert f"removed {files} of an interrupted run" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_end_with_their_parent(long):
    root, complete = long
    with frozen(root, writing, "-j", 2) as process:
        assert len(family(process)) >= 3
        end_and_wait(process, lambda process: process.kill())
    assert resumed(root, complete)


@pytest.mark.slow
def test_killed_worker_is_replaced(long):
    root, complete = long
    with frozen(root, writing, "-j", 2) as process:
        workers = [member for member in family(process)[1:] if "popen_loky_posix" in str(member.cmdline())]
        assert len(workers) == 2
        _, error = end_and_wait(process, lambda process: workers[0].kill())
    assert process.returncode == 0
    assert [line for line in error.splitlines() if line.startswith("a worker process was killed")]
    assert "Traceback" not in error
    assert tree(root / OUT) == complete
    assert leftovers(root) == []


@pytest.mark.slow
def test_leftovers_of_complete_samples_are_removed(fresh, capsys):
    root, _ = fresh
    left = temporary_name(at_mic(root, SONGS[0], POSITIONS[0], "vocals"))
    left.write_bytes(b"of a killed run")
    assert call("generate", "--root", root) == 0
    assert "removed 1 temporary file of an interrupted run" in capsys.readouterr().err
    assert leftovers(root) == []


# Two at once


@pytest.mark.slow
def test_two_at_once(long):
    root, complete = long
    clear(root)
    with (
        running("generate", "--root", root, "-j", 2) as one,
        running("generate", "--root", root, "-j", 2) as other,
    ):
        errors = [process.communicate(timeout=patience(60))[1] for process in (one, other)]
        assert (one.returncode, other.returncode) == (0, 0), errors
    assert tree(root / OUT) == complete
    assert (root / LIST).read_text() == list_text(SAMPLES)
    rendered = [int(re.findall(r"(\d+) samples? rendered", error)[0]) for error in errors]
    assert max(rendered) >= 3
    assert sum(rendered) <= 2 * len(SAMPLES)


def files_below(folder):
    """How many there are; nothing is read, since they come and go meanwhile."""
    return sum(file.is_file() for file in folder.rglob("*"))


@contextlib.contextmanager
def waiting(root, jobs):
    """A run that has done all but a file that this process has claimed; gives the process and what claims the file."""
    file = at_mic(root, SONGS[0], POSITIONS[1], "bass")
    file.parent.mkdir(parents=True)
    with (
        temporary_name(file).open("w") as claimed,
        running("generate", "--root", root, "-j", jobs) as process,
    ):
        fcntl.flock(claimed, fcntl.LOCK_EX)
        wait_for(lambda: files_below(root / OUT) == 30, process)
        assert not file.exists()
        yield process, claimed


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_waits_for_another_process(root, fresh, jobs):
    """This process has claimed a file: generate does the rest, waits, and does it when the claim ends."""
    with waiting(root, jobs) as (process, claimed):
        time.sleep(1)
        assert process.poll() is None
        fcntl.flock(claimed, fcntl.LOCK_UN)
        error = process.communicate(timeout=patience(20))[1]
    assert process.returncode == 0
    assert error.count("another cadrender is at work on some of these files: waiting for it") == 1
    assert same_as_fresh(root, fresh)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_while_it_waits(root, jobs):
    with waiting(root, jobs) as (process, _):
        time.sleep(0.7)
        prompt, error = end_and_wait(process, ctrl_c)
    assert (process.returncode, prompt) == (130, True)
    assert error.splitlines()[-1].startswith("interrupted: ")
    assert (root / LIST).read_text() == list_text([sample for sample in SAMPLES if sample != SAMPLES[1]])
