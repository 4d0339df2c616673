"""Datasets of a small root, and what their items are to be."""

from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.metadata.positions import HeadPosition
from tests import reference
from tests.roots import SAMPLERATE, SONGS

NAMES = (*SONGS, "Third", "Fourth & Last")
LENGTHS = (2.1, 1.3, 1.7, 0.9)
POSITIONS = (
    HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr"),
    HeadPosition("hlp_0002", "VP_E1", -22.5, 37.5, "BTE_fr"),
    HeadPosition("hlp_0003", "VP_E1", -30, 30.0, "BTE_fr"),
)
SECONDS = 0.5
FRAMES = 22050


def needs_torch(test):
    """Mark a test of what is for PyTorch."""
    skip = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")
    return pytest.mark.torch(skip(test))


def dataset(root, **options):
    return cadrender.Dataset(root, **{"seconds": SECONDS} | options)


def same(one, other):
    """Whether two items are equal in every key, type and value."""
    assert list(one) == list(other)
    for key, value in one.items():
        assert type(value) is type(other[key])
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype and value.shape == other[key].shape
        assert np.array_equal(value, other[key]), key
    return True


def differ(one, other):
    return not all(np.array_equal(one[key], other[key]) for key in one)


def source(root, song, stem):
    return soundfile.read(root / "audio/music/train" / song / f"{stem}.wav", dtype="int16")[0]


def hrir(root, name):
    return soundfile.read(root / "audio/hrtf" / name)[0]


def rendered(root, song, position, stem):
    """A whole at-mic file by the reference."""
    left, right = hrir(root, position.left_hrir), hrir(root, position.right_hrir)
    return reference.render(source(root, song, stem), left, right, SAMPLERATE)


def part(pcm, start, frames=FRAMES):
    """As an item has it: (2, frames), full scale 1."""
    return pcm[start : start + frames].T / 32768


def position_of(sample):
    return next(position for position in POSITIONS if sample.endswith(f"-{position.id}"))
