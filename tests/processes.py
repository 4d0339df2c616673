"""Processes that tests start, wait for, stop and kill; and time limits that also hold on a busy machine."""

import contextlib
import os
import signal
import time

import psutil

from tests.roots import start


@contextlib.contextmanager
def running(*arguments, **extra):
    """Cadrender in its own process, which is ended whatever happens."""
    process = start(*arguments, **extra)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process=None, seconds=300):
    """Wait until a condition holds and return its value; the process must not exit before."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.005)
    return result


def patience(seconds):
    """A time limit, extended by as much as other load currently slows this machine."""
    began, worked = time.monotonic(), time.process_time()
    while time.process_time() - worked < 0.02:
        pass
    return seconds * max(1.0, (time.monotonic() - began) / 0.02)


def family(process):
    """A process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def assert_gone(processes, seconds=5):
    """Wait for processes to end, including zombies whose parents have not yet reaped them."""
    wait_for(lambda: not any(map(is_alive, processes)), seconds=patience(seconds))


def is_alive(process):
    """Whether it is still running; a zombie is not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
