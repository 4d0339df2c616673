"""The cache holds code: it is kept only where nobody but this user may write, or not at all with a message."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import cadrender
from tests.roots import environment

PLACES = "from cadrender import cache; print(cache.cache_directory(), cache.code_directory(), sep='\\n')"

# Compiles and runs a small kernel.
COMPILE = """
import numpy as np
from cadrender.dsp import kernels
left, right = np.zeros(8), np.zeros(8)
kernels.deinterleave(np.arange(16, dtype=np.int16), 0, 8, 1.0, left, 0, right, 0)
assert left[1] == 2.0
"""


def python(code, **extra):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(**extra),
        cwd="/",  # the package is the one on PYTHONPATH
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def places(**extra):
    done = python(PLACES, **extra)
    return [None if line == "None" else Path(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def elsewhere(tmp_path):
    """A copy of the package in a world-writable folder: nothing may be cached next to its sources."""
    package = Path(cadrender.__file__).parent
    copy = tmp_path / "copy/cadrender"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__").chmod(0o777)
    return str(copy.parent)


def mode(folder):
    return stat.S_IMODE(folder.stat().st_mode)


def test_folders_are_made_for_this_user_alone(tmp_path):
    place = tmp_path / "new" / "cache"
    (cache, code), error = places(CADRENDER_CACHE_DIR=str(place))
    assert (cache, error) == (place, "")
    assert code.parent == place and code.name.startswith("numba-")
    assert mode(place) == mode(code) == 0o700


def test_what_was_made_for_others_to_read_is_closed(tmp_path):
    place = tmp_path / "cache"
    (_, code), _ = places(CADRENDER_CACHE_DIR=str(place))
    place.chmod(0o755)
    code.chmod(0o755)
    (cache, same), error = places(CADRENDER_CACHE_DIR=str(place))
    assert (cache, same, error) == (place, code, "")
    assert mode(code) == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o775, 0o1777])
def test_a_folder_to_which_others_may_write(tmp_path, elsewhere, bits):
    place = tmp_path / "cache"
    place.mkdir()
    place.chmod(bits)
    found, error = places(CADRENDER_CACHE_DIR=str(place), PYTHONPATH=elsewhere)
    assert found == [None, None]
    assert error == (
        f"{place}: others may write to it: not used as a cache, every run compiles anew "
        "(set CADRENDER_CACHE_DIR to a folder of your own)\n"
    )
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("where", ["", "dsp_1", "dsp_1/kernels.fft-1.py311.nbi"])
def test_machine_code_that_others_may_have_written(tmp_path, where):
    place = tmp_path / "cache"
    (_, code), _ = places(CADRENDER_CACHE_DIR=str(place))
    (code / "dsp_1").mkdir(mode=0o755)
    (code / "dsp_1/kernels.fft-1.py311.nbi").touch(mode=0o644)
    code.chmod(0o755)
    (code / where).chmod(0o777)
    (cache, found), error = places(CADRENDER_CACHE_DIR=str(place))
    assert (cache, found) == (place, None)
    assert error.startswith(f"{code}: {f'{where} in it: ' if where else ''}others may write to it: not used")
    assert error.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user(tmp_path, elsewhere):
    place = tmp_path / "cache"
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)
    found, error = places(CADRENDER_CACHE_DIR=str(place), PYTHONPATH=elsewhere)
    assert found == [None, None]
    assert error.startswith(f"{place}: belongs to another user: not used as a cache")


def test_beside_the_sources_only_where_that_is_as_safe(tmp_path, elsewhere):
    (tmp_path / "file").touch()
    place = {"CADRENDER_CACHE_DIR": str(tmp_path / "file/cache"), "PYTHONPATH": elsewhere}
    assert places(**place)[0] == [None, None]
    beside = Path(elsewhere) / "cadrender/__pycache__"
    beside.chmod(0o755)
    (cache, code), error = places(**place)
    assert (cache, code.parent) == (None, beside)
    assert mode(code) == 0o700
    assert error.endswith(
        "cannot be written (Not a directory): not used as a cache, machine code is kept beside the sources "
        "(set CADRENDER_CACHE_DIR to a folder of your own)\n"
    )


def test_kernels_keep_to_it(tmp_path, elsewhere):
    place = tmp_path / "cache"
    python(COMPILE, CADRENDER_CACHE_DIR=str(place))
    assert list(place.rglob("*.nbi"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    done = python(COMPILE, CADRENDER_CACHE_DIR=str(shared), PYTHONPATH=elsewhere, NUMBA_CACHE_DIR=str(shared))
    assert done.stderr.count("\n") == 1
    assert list(shared.iterdir()) == []
    assert list(Path(elsewhere).rglob("*.nbi")) == []


@pytest.mark.parametrize("suffix", [pytest.param("nbi", marks=pytest.mark.slow), "nbc"])
def test_damaged_files_are_compiled_again(tmp_path, suffix):
    """They are code: a page that a power cut has lost would end every later run."""
    place = tmp_path / "cache"
    python(COMPILE, CADRENDER_CACHE_DIR=str(place))
    (file,) = place.rglob(f"kernels.deinterleave-*.{suffix}")
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = bytes([whole[middle] ^ 1])
    for content in (whole[:middle], whole[:middle] + flipped + whole[middle + 1 :]):
        file.write_bytes(content)
        done = python(COMPILE, CADRENDER_CACHE_DIR=str(place))
        assert done.stderr == ""
        assert len(file.read_bytes()) == len(whole)


@pytest.mark.slow
def test_code_of_another_signature_is_not_run(tmp_path):
    """Numba uses a file's name again if its index was lost, and may be killed before it writes the file."""
    place = {"CADRENDER_CACHE_DIR": str(tmp_path / "cache")}
    codes = [COMPILE, COMPILE.replace("int16", "float64")]
    for code in codes:
        python(code, **place)
    one, other = sorted(tmp_path.rglob("kernels.deinterleave-*.nbc"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    for code in codes:
        assert python(code, **place).stderr == ""


def test_it_is_said_once_and_not_by_the_workers(tmp_path):
    code = f"""
import subprocess, sys
from cadrender.cache import cache_directory
cache_directory(), cache_directory()
subprocess.run([sys.executable, "-c", {PLACES!r}], check=True)
"""
    (tmp_path / "file").touch()
    done = python(code, CADRENDER_CACHE_DIR=str(tmp_path / "file/cache"))
    assert done.stderr.count("\n") == 1
