"""A file against a new rendering of it."""

import numpy as np
import pytest

from cadrender.store.audio import AudioFormat
from cadrender.store.compare import AudioComparer
from tests.roots import write_wav

RNG = np.random.default_rng(5)
SIGNAL = RNG.standard_normal((2000, 2)) * np.logspace(-12, 1, 2000)[:, np.newaxis]


def compare(file, expected, subtype):
    with AudioComparer(file, len(expected), AudioFormat("wav", subtype)) as comparer:
        for start in range(0, len(expected), 700):
            comparer.write(expected[start : start + 700])
    return comparer.different, comparer.largest


@pytest.fixture
def file(tmp_path):
    write_wav(tmp_path / "stem.wav", SIGNAL.astype("f4"), subtype="FLOAT")
    return tmp_path / "stem.wav"


def test_what_rounding_does_to_float_samples_is_no_difference(file):
    other = SIGNAL + RNG.uniform(-2e-15, 2e-15, SIGNAL.shape)
    assert (other.astype("f4") != SIGNAL.astype("f4")).sum() > 100
    assert compare(file, other, "FLOAT") == (0, 0.0)
    assert compare(file, np.nextafter(SIGNAL.astype("f4"), np.float32(99)), "FLOAT") == (0, 0.0)


@pytest.mark.parametrize("error", [1e-12, -1e-3])
def test_more_than_rounding_is_one(file, error):
    other = SIGNAL.copy()
    other[3, 1] += error
    different, largest = compare(file, other, "FLOAT")
    assert different == 1
    assert largest == pytest.approx(abs(error) * 2**23, rel=0.1)


def test_every_step_of_integers_counts(tmp_path):
    samples = RNG.integers(-1000, 1000, (2000, 2)).astype("i2")
    write_wav(tmp_path / "stem.wav", samples)
    other = samples.copy()
    other[[0, 1999], 0] += np.array([1, -3], "i2")
    assert compare(tmp_path / "stem.wav", other, "PCM_16") == (2, 3.0)
