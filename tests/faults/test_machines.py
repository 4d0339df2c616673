"""The same bytes on other machines: Numba limited to older instruction sets, with its own cache and FFTW plans.

FFTW's code cannot be chosen at run time. The FFTW in pyFFTW's x86-64 wheels has only SSE2 and AVX code, so machines
with AVX2 and with AVX-512 run the same.
"""

import platform

import numpy as np
import pytest

from tests.roots import make_root, run, tree

NUMPY_WITHOUT_AVX512 = {
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
}
MACHINES = {
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+sse4.2,+popcnt"},
    "SSE4.2": {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt"},
    "the same, planned anew": {},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("machines") / "root", seconds=(5.0, 3.0))
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    return root


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about x86-64's instruction sets")
@pytest.mark.parametrize("machine", MACHINES)
def test_another_machine_gives_the_same_samples(root, tmp_path, machine):
    done = run(
        *("generate", "--root", root, "-j", 1),
        *("--output-music-dir", tmp_path / "music", "--output-music-file", tmp_path / "list.json"),
        timeout=500,
        CADRENDER_CACHE_DIR=str(tmp_path / "cache"),
        **(NUMPY_WITHOUT_AVX512 if MACHINES[machine] else {}),
        **MACHINES[machine],
    )
    assert done.returncode == 0, done.stderr
    here, there = tree(root / "audio/at_mic_music"), tree(tmp_path / "music")
    assert here.keys() == there.keys()
    samples = differing = 0
    for name in here:
        one, other = (np.frombuffer(data[44:], "<i2").astype(np.int32) for data in (here[name], there[name]))
        steps = np.abs(one - other)
        assert steps.max() <= 1
        samples += steps.size
        differing += int(np.count_nonzero(steps))
    print(f"{machine}: {differing} of {samples} samples differ")
    assert differing <= samples / 10**7
