import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from cadrender.pipeline.pool import _end_workers, run_batches, usable_cpus
from tests.processes import patience, wait_for


@pytest.fixture(autouse=True)
def no_workers_of_other_tests():
    _end_workers(kill=True)


@dataclass(frozen=True)
class Batch:
    """As much of a batch as the pool looks at."""

    song: str
    number: int
    frame_scenes: int = 1000

    def shape(self):
        """There is nothing to compile."""


BATCHES: list[Any] = [Batch("Song", number) for number in range(23)]


def answer(batch):
    return batch.number, os.getpid()


def signals(batch):
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return signal.getsignal(signal.SIGINT), signal.SIGINT in blocked, signal.SIGTERM in blocked


def sleep(batch):
    time.sleep(30 if batch.number else 0)
    return batch.number


def stumble(batch):
    if batch.number == 3:
        raise ValueError("stumbled")
    return batch.number


def workers():
    return [
        process
        for process in psutil.Process().children()
        if process.status() != psutil.STATUS_ZOMBIE and "popen_loky_posix" in str(process.cmdline())
    ]


@pytest.mark.parametrize("n_jobs", [1, 2, pytest.param(40, marks=pytest.mark.slow)])
def test_each_batch_is_run_once(n_jobs):
    reports = list(run_batches(BATCHES[:7], n_jobs, answer))
    assert Counter(number for number, _ in reports) == Counter(range(7))
    assert (os.getpid() in {process for _, process in reports}) == (n_jobs == 1)
    assert workers() == []


def test_small_batches_travel_together_and_none_is_lost():
    assert sorted(number for number, _ in run_batches(BATCHES, 2, answer)) == list(range(23))


@pytest.mark.parametrize("which", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_at_the_very_end_holds_nobody_up(which):
    said: list[str] = []
    reports = run_batches(BATCHES[:8], 2, answer, say=said.append)
    assert len([next(reports) for _ in range(8)]) == 8
    # One of the two waits for the queue, and the other for the lock that the first one holds.
    born = workers()
    born[which % len(born)].kill()
    began = time.monotonic()
    assert list(reports) == []
    assert time.monotonic() - began < patience(20)
    assert said == []
    _, alive = psutil.wait_procs(born, timeout=5)
    assert not alive


def test_nothing_to_do():
    assert list(run_batches([], 2, answer)) == []
    assert workers() == []


def test_single_batch_needs_no_worker():
    assert list(run_batches(BATCHES[:1], 4, answer)) == [(0, os.getpid())]


def test_workers_do_not_hear_ctrl_c():
    for handler, interrupt_blocked, termination_blocked in run_batches(BATCHES[:4], 2, signals):
        assert handler == signal.SIG_IGN
        assert interrupt_blocked
        assert not termination_blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.filterwarnings("error")
def test_closing_ends_the_workers():
    large: list[Any] = [Batch("Song", number, 10**9) for number in range(9)]
    reports = run_batches(large, 2, sleep)
    assert next(reports) == 0
    assert len(workers()) == 2
    began = time.monotonic()
    reports.close()
    assert time.monotonic() - began < patience(2)
    wait_for(lambda: not workers(), seconds=patience(2))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_mistakes_of_the_work_come_through(n_jobs):
    with pytest.raises(ValueError, match="stumbled"):
        list(run_batches(BATCHES[:6], n_jobs, stumble))
    assert workers() == []


def test_usable_cpus():
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
