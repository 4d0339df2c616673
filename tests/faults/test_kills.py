"""Kills at random moments: whatever hits a run, the next one ends with the bytes of an undisturbed one.

``CADRENDER_KILLS`` sets the number of moments of each kind in the long form.
"""

import contextlib
import fcntl
import functools
import os
import pty
import random
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.faults.works import prepare
from tests.roots import command, environment, run

pytestmark = pytest.mark.faults

MOMENTS = int(os.environ.get("CADRENDER_KILLS", "40"))
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
KINDS = ("kill parent", "kill worker", "kill all", *SIGNALS, "SIGSTOP", "terminal")
# What the short form tries for each command.
SHORT = {
    "generate": KINDS,
    "generate --remix": ("kill all",),
    "remix": ("kill parent", "SIGTERM"),
    "excerpts": ("kill all", "SIGHUP"),
    "ingest": ("kill parent", "kill worker", "SIGTERM", "SIGHUP"),
    "index": ("kill all", "SIGINT"),
    "verify --repair": ("kill parent",),
    "demo": (),  # takes a minute
}
LEAVE = 2.0  # seconds until every process is gone
LOOK = 0.05  # seconds between checks


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return functools.cache(lambda name: prepare(name, tmp_path_factory.mktemp("kills")).prepare())


class Running:
    """A command in its own session, on a terminal if it is to lose one."""

    def __init__(self, arguments, terminal):
        self.terminal = self._other = None
        if terminal:
            self.terminal, self._other = pty.openpty()
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdin=self._other if terminal else subprocess.DEVNULL,
            stdout=self._other if terminal else subprocess.DEVNULL,
            stderr=self._other if terminal else subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=take_terminal if terminal else None,
        )
        if self._other is not None:
            os.close(self._other)

    def session(self):
        """Its processes that are not dead."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self):
        """Those that do its work; the others clean up after them."""
        workers = []
        for process in self.session():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if process.pid != self.process.pid and "popen_loky_posix" in line:
                    workers.append(process)
        return workers

    def is_up(self):
        """Whether Python has finished starting and signals are handled."""
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)
        return False

    def end(self):
        _, errors = self.process.communicate(timeout=300)
        return self.process.returncode, errors or ""

    def all_gone(self):
        """Processes that stay. On a loaded machine one about to exit may lack a CPU: that time does not count."""
        waited, deadline = 0.0, time.monotonic() + 60
        while left := self.session():
            if waited > LEAVE or time.monotonic() > deadline:
                return [" ".join(process.cmdline()) for process in left]
            time.sleep(LOOK)
            if not any(wants_cpu(process) for process in left):
                waited += LOOK
        return []


def wants_cpu(process):
    """Whether a process is running, or ready to run and waiting for a CPU or the disk."""
    with contextlib.suppress(psutil.Error):
        return process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
    return True  # it has just ended


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def hit(running, kind, rng):
    """Interrupt it; returns the exit statuses allowed then, besides the undisturbed one."""
    process = running.process
    if kind == "kill parent":
        process.kill()
        return {-signal.SIGKILL}
    if kind == "kill all":
        os.killpg(process.pid, signal.SIGKILL)
        return {-signal.SIGKILL}
    if kind == "kill worker":
        if workers := running.workers():
            with contextlib.suppress(psutil.Error):
                rng.choice(workers).kill()
        return set()
    if kind == "SIGSTOP":
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGCONT)
        return set()
    up = running.is_up()
    if kind == "terminal":
        os.close(running.terminal)
        number = signal.SIGHUP
        return {128 + number, 1} if up else {128 + number, -number, 1}  # 1: it was writing a message
    else:
        number = SIGNALS[kind]
        # As a terminal sends it; the other signals go to a single known process.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    # Before the program has started, Python or the system ends it.
    return {128 + number} if up else {128 + number, -number, 1}


def disturb(work, kind, moment, rng):
    """Run a command, end it at a moment, and check that it ended as it should; returns whether it had finished."""
    running = Running(work.arguments, kind == "terminal")
    if kind == "terminal":
        drain(running)
    time.sleep(moment)
    up = running.is_up()
    if running.process.poll() is None:
        expected = hit(running, kind, rng)
    else:
        expected = set()
        if running.terminal is not None:
            os.close(running.terminal)
    began = time.monotonic()
    status, errors = running.end()
    took = time.monotonic() - began
    assert not running.all_gone()
    assert status in expected | {0}, (status, errors)
    if up:
        assert "Traceback" not in errors, errors
    if up and kind in SIGNALS and status:
        assert [line for line in errors.splitlines() if "interrupted" in line], errors
        assert took < 2 * LEAVE
    return status == 0


def drain(running):
    """Read what a command prints on its terminal, so that it never blocks."""

    def read():
        with contextlib.suppress(OSError):
            while os.read(running.terminal, 1 << 16):
                pass

    threading.Thread(target=read, daemon=True).start()


def disturb_often(work, kind, moments, seed):
    rng = random.Random(f"{kind} {seed}")
    work.empty()
    for _ in range(moments):
        if disturb(work, kind, rng.uniform(0.1, 1.05) * work.seconds, rng):
            work.check()
            work.empty()
    done = run(*work.arguments, timeout=300)
    assert done.returncode == 0, done.stderr
    work.check()
    work.verify()


# A command's undisturbed result is made once, by the test process that has all of its tests.
IN_ONE_PROCESS = {name: pytest.mark.xdist_group(f"kills {name}") for name in SHORT}


@pytest.mark.parametrize(
    "name, kind",
    [pytest.param(name, kind, marks=IN_ONE_PROCESS[name]) for name, kinds in SHORT.items() for kind in kinds],
)
def test_a_moment(works, name, kind):
    disturb_often(works(name), kind, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in IN_ONE_PROCESS.items()])
def test_many_moments(works, name, kind):
    disturb_often(works(name), kind, MOMENTS, 2)


@IN_ONE_PROCESS["generate"]
@pytest.mark.parametrize("whom", ["kill parent", "kill worker"])
def test_a_run_whose_workers_are_at_it(works, whom):
    """Not at any moment, but when workers are certain to exist."""
    work = works("generate")
    work.empty()
    running = Running(work.arguments, False)
    while not running.workers():
        assert running.process.poll() is None
        time.sleep(0.02)
    hit(running, whom, random.Random(1))
    status, errors = running.end()
    assert status == (0 if whom == "kill worker" else -signal.SIGKILL), errors
    assert not running.all_gone()
    assert run(*work.arguments).returncode == 0
    work.check()
