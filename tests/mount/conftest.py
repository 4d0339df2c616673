"""Mounted trees: each test's mounts are gone afterwards, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadrender.errors import UsageError
from cadrender.mount.places import load_fuse
from tests.roots import command, environment, make_root, run


def pytest_collection_modifyitems(items):
    places = [Path(__file__).with_name(name) for name in ("test_mount.py", "test_kills.py")]
    mounting = [item for item in items if item.path in places]
    if not mounting:
        return
    try:
        load_fuse()
        reason = "" if sys.platform == "linux" else "these tests use fusermount3 and /proc"
    except UsageError as error:
        reason = str(error)
    for item in mounting if reason else ():
        item.add_marker(pytest.mark.skip(reason=reason))


class Mounts:
    """Mount commands, started and waited for; ends any that remain."""

    def __init__(self):
        self._processes = []
        self._places = []

    def watch(self, place):
        """Unmount a place at the end, whoever mounted there."""
        self._places.append(place)

    def start(self, root, *options, place=None, limit=None, **more):
        """Mount a root and wait until the tree is there; ``limit`` is called in the new process."""
        place = Path(place or root / "audio/at_mic_music")
        self.watch(place)
        self.watch(root / "audio/remix")
        arguments = [place] if place != root / "audio/at_mic_music" else []
        process = subprocess.Popen(
            command("mount", "--root", root, *arguments, "-q", *options),
            env=environment(**more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
            preexec_fn=limit,
        )
        self._processes.append(process)
        deadline = time.monotonic() + 240  # kernels may have to be compiled first
        while not mounted(place):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    def stop(self, process, number=signal.SIGTERM):
        """End a mount; returns its exit status and its lines on standard error."""
        process.send_signal(number)
        _, lines = process.communicate(timeout=30)
        return process.returncode, lines.splitlines()

    def end(self):
        for place in self._places:
            subprocess.run(["fusermount3", "-u", "-z", "-q", str(place)], check=False, capture_output=True)
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def mounted(place):
    """Whether cadrender has something mounted at a place, and is alive."""
    fields = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    escaped = str(place).replace(" ", "\\040")
    try:
        os.statvfs(place)
    except OSError:
        return False
    return any(each[4] == escaped and "fuse.cadrender" in each for each in fields)


@pytest.fixture
def mounts():
    mounts = Mounts()
    yield mounts
    mounts.end()


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """A root with everything generated."""
    root = make_root(tmp_path_factory.mktemp("generated") / "root", seconds=(5.3, 2.2))
    done = run("generate", "--root", root, "-j", "1", "-q")
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def root(generated, tmp_path):
    """The same root beforehand; files can be changed."""
    copied = tmp_path / "root"
    skipped = shutil.ignore_patterns("at_mic_music*")
    shutil.copytree(generated, copied, ignore=skipped)
    return copied
