import gc
import os
from typing import Any

import pytest

from cadrender import startup


@pytest.fixture(autouse=True)
def collector():
    """The collector as it is, put back afterwards."""
    before = gc.get_threshold()
    yield
    startup.release_collector()
    gc.unfreeze()
    gc.set_threshold(*before)


def test_the_collector_is_held_and_released():
    gc.set_threshold(500, 7, 6)
    startup.hold_collector()
    startup.hold_collector()  # a second time changes nothing
    assert gc.get_threshold()[0] > 100_000
    startup.release_collector()
    assert gc.get_threshold() == (500, 7, 6)
    assert gc.get_freeze_count() > 1000


def test_who_holds_nothing_keeps_the_own_setting():
    gc.set_threshold(500, 7, 6)
    startup.release_collector()
    assert gc.get_threshold() == (500, 7, 6)
    assert gc.get_freeze_count() == 0


def test_garbage_of_later_is_still_collected():
    startup.hold_collector()
    startup.release_collector()
    loop: list[Any] = []
    loop.append(loop)
    del loop
    assert gc.collect() >= 1


def test_the_own_number_of_threads_counts(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    startup.one_thread_for_blas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    startup.one_thread_for_blas()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
