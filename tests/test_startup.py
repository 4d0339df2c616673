import gc
import os
import subprocess
import sys
from typing import Any

import pytest

from cadrender import startup
from tests.roots import environment


@pytest.fixture(autouse=True)
def collector():
    """The garbage collector's state, restored afterwards."""
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


LOADED = """
import sys
from cadrender import startup
startup.hold_collector()
from cadrender.dsp.compiled import compiled
compiled(lambda a: a + 1)(1)  # loads all of Numba
print("scipy.linalg" in sys.modules, "scipy.linalg.cython_blas" in sys.modules)
import numpy as np
product = compiled(lambda a: np.dot(a, a))
print(product(np.array([[0.0, 2.0], [3.0, 0.0]])).tolist())
from scipy.linalg import solve
print(solve(np.eye(2), np.ones(2)).tolist())
"""


def test_linear_algebra_is_loaded_only_where_it_is_used():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["False False", "[[6.0, 0.0], [0.0, 6.0]]", "[1.0, 1.0]"], done.stderr


LEFT_ALONE = """
import sys
import cadrender.dsp.compiled
print("numba.np.arraymath" in sys.modules, "scipy.linalg.cython_blas" in sys.modules)
"""


def test_other_programs_load_it_as_ever():
    done = subprocess.run(
        [sys.executable, "-c", LEFT_ALONE], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout == "False False\n", done.stderr
