"""The tests' own file systems on loop devices: created, mounted, shut down and removed."""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cadrender.store.durable import mount_number
from tests.disks import mount
from tests.faults import blocklog
from tests.roots import REPOSITORY, environment

# For ext4 and XFS: everything fails from here on, and nothing more reaches the disk, the journal included.
_SHUTDOWN, _WITHOUT_THE_JOURNAL = 0x8004587D, 2
_LOOP_MAJOR = 7

START = 120  # seconds for a disk's server to start, even on a heavily loaded machine

# Name -> command that makes the file system, megabytes, mount options.
SETTINGS = {
    "ext4": ("ext4", 160, ""),
    "ext4 commit=1": ("ext4", 160, "commit=1"),
    "ext4 data=writeback": ("ext4", 160, "data=writeback"),
    "xfs": ("xfs", 320, ""),
}


def needs(*programs):
    """Skip if this machine cannot mount, or lacks a program."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    if not Path("/dev/loop-control").exists():
        pytest.skip("there are no loop devices here")
    if not mount_number(Path("/")):
        pytest.skip(
            "before Linux 6.8 a disk that was lost and mounted again is not told from one that was not"
        )


def call(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout.strip()


def make_file_system(kind, device):
    if kind == "ext4":
        call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
    else:
        call("mkfs.xfs", "-q", "-f", "-K", device)


@contextlib.contextmanager
def loop(image):
    """A loop device on an image."""
    try:
        device = call("losetup", "--find", "--show", image)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop device is available here: {error.stderr.strip()}")
    try:
        yield Path(device)
    finally:
        call("losetup", "--detach", device)


@contextlib.contextmanager
def mounted(device, place, options=""):
    place.mkdir(exist_ok=True)
    mount(*(["-o", options] if options else []), device, place)
    try:
        yield place
    finally:
        call("umount", place)


def shut_down(place, image):
    """Stop a file system abruptly, as a power cut would; only ever one that is on this image."""
    status = place.stat()
    assert os.major(status.st_dev) == _LOOP_MAJOR
    backing = Path(f"/sys/dev/block/{_LOOP_MAJOR}:{os.minor(status.st_dev)}/loop/backing_file").read_text()
    assert backing.strip() == str(image)
    descriptor = os.open(place, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_JOURNAL))
    finally:
        os.close(descriptor)


class LoggedDisk:
    """A slow disk that records every write and flush, with a file system on it; a context manager."""

    def __init__(self, folder, setting, rate):
        self.folder, self.rate = folder, rate
        self.kind, self.megabytes, self.options = SETTINGS[setting]
        self.place = folder / "place"

    def __enter__(self):
        needs("mkfs.ext4", "mkfs.xfs", "fusermount3")
        pytest.importorskip("mfusepy")
        (self.folder / "mount").mkdir(parents=True)
        begin = self.folder / "begin"
        with begin.open("wb") as stream:
            stream.truncate(self.megabytes << 20)
        make_file_system(self.kind, begin)
        self._stack = contextlib.ExitStack()
        command = [sys.executable, "-m", "tests.faults.blocklog", self.folder, self.megabytes, self.rate]
        self._server = subprocess.Popen([*map(str, command)], env=environment(), cwd=REPOSITORY)
        self._stack.callback(self._end_server)
        disk = self.folder / "mount/disk"
        deadline = time.monotonic() + START
        while not disk.exists():
            if self._server.poll() is not None:
                self._stack.close()
                pytest.skip("FUSE cannot be used here")
            if time.monotonic() > deadline:
                self._stack.close()
                pytest.fail(f"the disk is not there after {START} seconds")
            time.sleep(0.05)
        try:
            device = self._stack.enter_context(loop(disk))
            self._stack.enter_context(mounted(device, self.place, self.options))
        except BaseException:
            self._stack.close()
            raise
        return self

    def _end_server(self):
        unmount = ("fusermount3", "-u", self.folder / "mount")
        subprocess.run(unmount, capture_output=True)
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:  # not mounted yet, or held by another process
            self._server.kill()
            self._server.wait()
            subprocess.run([*unmount, "-z"], capture_output=True)

    def position(self):
        """The current length of :meth:`log`."""
        return 2 + blocklog.position(self.folder)

    def log(self):
        """The complete log so far; it begins with the empty file system."""
        size = self.megabytes << 20
        log = blocklog.Log.read(self.folder, size)
        begin = (self.folder / "begin").read_bytes()
        return blocklog.Log(((0, size), (0, 0), *log.records), begin + log.data, size)

    def __exit__(self, *exception):
        self._stack.close()


@contextlib.contextmanager
def replayed(image, folder, options):
    """A disk after a cut, mounted."""
    file = folder / "cut.img"
    blocklog.write_sparse(file, image)
    with loop(file) as device, mounted(device, folder / "cut", options) as place:
        yield place
