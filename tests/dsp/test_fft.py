import subprocess
import sys
import threading

import numpy as np
import pytest

from cadrender.dsp import fft
from tests.roots import environment

PLAN = "from cadrender.dsp import fft; fft.real_forward(480, 3); fft.complex_inverse(480, 5)"


@pytest.mark.parametrize("length", [48, 256, 640, 2048])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_real_forward(length, rows):
    plan = fft.real_forward(length, rows, "test")
    assert plan.input.shape == (rows, length)
    assert plan.output.shape == (rows, length // 2 + fft.ROW_PADDING)
    signal = np.random.default_rng(length).standard_normal((rows, length))
    plan.input[:] = signal
    plan.execute()
    np.testing.assert_allclose(plan.output[:, : length // 2 + 1], np.fft.rfft(signal), atol=1e-11)
    np.testing.assert_array_equal(plan.input, signal)
    assert not plan.output[:, length // 2 + 1 :].any()


@pytest.mark.parametrize("length", [48, 256, 640, 2048])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_complex_inverse(length, rows):
    plan = fft.complex_inverse(length, rows, "test")
    assert plan.input.shape == plan.output.shape == (rows, length + fft.ROW_PADDING)
    random = np.random.default_rng(length)
    spectra = random.standard_normal((rows, length)) + 1j * random.standard_normal((rows, length))
    plan.input[:, :length] = spectra
    plan.execute()
    np.testing.assert_allclose(plan.output[:, :length], length * np.fft.ifft(spectra), atol=1e-11)


def test_buffers_begin_on_cache_lines():
    for plan in (fft.real_forward(48, 3, "test"), fft.complex_inverse(48, 3, "test")):
        for buffer in (plan.input, plan.output):
            assert buffer.ctypes.data % 64 == 0
            assert not buffer.any()


def test_plans_are_remembered_by_slot_and_thread():
    plan = fft.real_forward(96, 2, "a")
    assert fft.real_forward(96, 2, "a") is plan
    assert fft.real_forward(96, 2, "b") is not plan
    others = []
    thread = threading.Thread(target=lambda: others.append(fft.real_forward(96, 2, "a")))
    thread.start()
    thread.join()
    assert others[0] is not plan
    assert others[0].input.ctypes.data != plan.input.ctypes.data


def plan_in_another_process(cache):
    result = subprocess.run(
        [sys.executable, "-c", PLAN],
        env=environment(CADRENDER_CACHE_DIR=str(cache)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0
    return result.stderr


def test_wisdom_is_kept(tmp_path):
    assert plan_in_another_process(tmp_path / "cache") == ""
    (wisdom,) = (tmp_path / "cache").glob("fftw-*.wisdom")
    before = wisdom.read_bytes()
    assert b"fftw" in before
    written = wisdom.stat().st_mtime_ns
    plan_in_another_process(tmp_path / "cache")
    assert wisdom.stat().st_mtime_ns == written  # nothing new to learn
    assert wisdom.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"(fftw-3.3.5 fftw_wisdom #x0 #x0\n\xff"])
def test_damaged_wisdom_counts_as_none(tmp_path, content):
    plan_in_another_process(tmp_path)
    (wisdom,) = tmp_path.glob("fftw-*.wisdom")
    wisdom.write_bytes(content)
    plan_in_another_process(tmp_path)
    assert b"fftw" in wisdom.read_bytes()


def test_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    assert "file/cache: cannot be written (Not a directory)" in plan_in_another_process(
        tmp_path / "file/cache"
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_pyfftw_is_whole_for_others():
    code = (
        "import sys, cadrender.dsp.fft as fft\n"
        "assert 'scipy' not in sys.modules\n"
        "import pyfftw.interfaces.numpy_fft\n"
        "assert fft.pyfftw is pyfftw\n"
        "assert abs(pyfftw.interfaces.numpy_fft.fft([1.0, 2.0])[0] - 3) < 1e-12\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
