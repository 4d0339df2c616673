"""Processes that tests start, wait for, stop and kill; and time limits that hold on a busy machine, too."""

import contextlib
import os
import signal
import time

import psutil

from tests.roots import start


@contextlib.contextmanager
def running(*arguments, **extra):
    """A cadrender in a process of its own, which is ended whatever happens."""
    process = start(*arguments, **extra)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process=None, seconds=300):
    """Wait until a condition holds, and return what it gives; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "waited too long"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.005)
    return result


def patience(seconds):
    """A time limit: longer by as much as this machine is slower just now than it would be without other work."""
    began, worked = time.monotonic(), time.process_time()
    while time.process_time() - worked < 0.02:
        pass
    return seconds * max(1.0, (time.monotonic() - began) / 0.02)


def family(process):
    """A process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def assert_gone(processes, seconds=5):
    """Wait for processes to end, zombies included, whose parents have not asked yet."""
    wait_for(lambda: not any(map(is_alive, processes)), seconds=patience(seconds))


def is_alive(process):
    """Whether it still runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
