"""Mounts that end at random moments, while they are read: the next one shows everything, and nothing is left."""

import json
import os
import pty
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.test_kills import MOMENTS, take_terminal
from tests.mount.conftest import mounted
from tests.roots import command, environment, tree

pytestmark = pytest.mark.faults

KINDS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGSTOP", "terminal")
READER = 'while :; do cat "$0"/*/*/*.wav > /dev/null 2>&1; sleep 0.01; done'


def end(root, kind, moment):
    """Mount and read, hit the mount at a moment, and check how it ends."""
    place = root / "audio/at_mic_music"
    master, terminal = pty.openpty() if kind == "terminal" else (None, None)
    process = subprocess.Popen(
        command("mount", "--root", root, "-q"),
        env=environment(),
        stdin=subprocess.DEVNULL if terminal is None else terminal,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=None if terminal is None else take_terminal,
    )
    if terminal is not None:
        os.close(terminal)
    reader = subprocess.Popen(["sh", "-c", READER, place], process_group=0)
    time.sleep(moment)
    up = mounted(place)
    number = {"SIGSTOP": signal.SIGTERM, "terminal": signal.SIGHUP}.get(kind) or getattr(signal, kind)
    if kind == "SIGSTOP":
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGCONT)
    if master is None:
        process.send_signal(number)
    else:
        os.close(master)
    began = time.monotonic()
    try:
        _, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired as late:
        state = f"ended: {process.poll()}, mounted: {mounted(place)}, was mounted: {up}"
        threads = [
            thread.joinpath("wchan").read_text() for thread in Path(f"/proc/{process.pid}/task").glob("*")
        ]
        others = [each.cmdline() for each in psutil.process_iter() if os.getsid(each.pid) == process.pid]
        raise AssertionError(f"{kind} at {moment} s: {state}; {threads}; {others}") from late
    took = time.monotonic() - began
    os.killpg(reader.pid, signal.SIGKILL)
    reader.wait()
    assert "Traceback" not in errors, errors
    if kind == "SIGKILL":
        assert process.returncode == -number
        return
    # Until it is up, Python or the system may end it.
    assert process.returncode in ({0} if up else {0, 1, -number, 128 + number}), errors
    assert took < 20
    if process.returncode == 0:
        assert not mounted(place) and not any(place.iterdir())


def end_often(root, generated, mounts, kind, moments):
    place, listed = root / "audio/at_mic_music", root / "metadata/at_mic_music.train.json"
    listed.write_text("[]")
    mounts.watch(place)
    for _ in "compiling", "measured":
        began = time.monotonic()
        assert mounts.stop(mounts.start(root)) == (0, [])
        seconds = time.monotonic() - began
    rng = random.Random(kind)
    for _ in range(moments):
        end(root, kind, rng.uniform(0.1, 1.5 * seconds))
    process = mounts.start(root)
    assert tree(place) == tree(generated / "audio/at_mic_music")
    assert json.loads(listed.read_text())
    assert mounts.stop(process) == (0, [])
    assert listed.read_text() == "[]" and not list(listed.parent.glob(".*"))


def test_some_moments(root, generated, mounts):
    end_often(root, generated, mounts, "SIGKILL", 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_moments(root, generated, mounts, kind):
    end_often(root, generated, mounts, kind, MOMENTS)
