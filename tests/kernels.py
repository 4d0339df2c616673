"""Kernels are compiled once for all tests: not again for each worker, nor for each process that a test starts.

All share one cache inside pytest's, with a folder for each state of the sources. A run of many tests begins by
filling it, each worker compiling its own share of the kernels.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import time
from pathlib import Path

import numpy as np

from cadrender.cache import cache_directory
from cadrender.metadata.gains import build_gains, gains_json
from tests.roots import REPOSITORY, call, make_root

# Seconds after which a cache of older sources is deleted.
_OLD = 86400.0

# Number of tests from which it pays to compile everything beforehand.
_MANY = 500


def share_cache(config):
    """Let this process and its children keep compiled kernels in a folder that matches the sources."""
    if "CADRENDER_CACHE_DIR" in os.environ or not hasattr(config, "cache"):
        return
    digest = hashlib.md5(importlib.metadata.version("numba").encode(), usedforsecurity=False)
    for file in sorted((REPOSITORY / "cadrender/dsp").glob("*.py")):
        digest.update(file.read_bytes())
    folder = config.cache.mkdir(f"cadrender-{digest.hexdigest()[:12]}")
    for other in folder.parent.glob("cadrender-*"):
        if other != folder and time.time() - other.stat().st_mtime > _OLD:
            shutil.rmtree(other, ignore_errors=True)
    folder.chmod(0o700)
    os.environ["CADRENDER_CACHE_DIR"] = str(folder)


def copy_cache(folder):
    """Copy the cache while other workers write to it: their temporary files come and go."""

    def copy(source, target):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)

    cache = cache_directory()
    assert cache is not None
    return shutil.copytree(cache, folder, copy_function=copy)


def compile_all(tests, folder):
    """Compile what many tests need, shared among the workers; `folder` is for their locks and for files."""
    if len(tests) < _MANY or "CADRENDER_CACHE_DIR" not in os.environ:
        return
    shares = {"parts": _parts_of_int16, "whole": _whole_stems}
    with contextlib.ExitStack() as marks:
        cache = Path(os.environ["CADRENDER_CACHE_DIR"])
        files = {name: marks.enter_context((cache / f"compiled-{name}").open("a")) for name in shares}
        for name, file in files.items():
            with contextlib.suppress(BlockingIOError):  # another worker is at it
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not os.fstat(file.fileno()).st_size:
                    shares[name](folder)
                    file.write("done\n")
                    file.flush()
                fcntl.flock(file, fcntl.LOCK_UN)
        for file in files.values():
            fcntl.flock(file, fcntl.LOCK_EX)  # wait for the others


def _whole_stems(folder):
    root = make_root(folder / "root", seconds=(0.5, 0.5))
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert call("generate", "--root", root, "-j", 1, "-q", "--remix") == 0
    shutil.rmtree(root)


def _parts_of_int16(folder):
    from cadrender.dsp.hrir import Heads
    from cadrender.dsp.parts import convolve_parts

    heads = Heads([(np.ones((9, 2)), np.ones((9, 2)))])
    for dtype in ("int16", "float32"):
        convolve_parts([np.zeros((2000, 2), np.int16)], 0, 1000, heads, [1.0], dtype=dtype)
