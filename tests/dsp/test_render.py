import doctest
import math

import numpy as np
import pytest

from cadrender.dsp import render as stem
from cadrender.dsp.hrir import Heads
from cadrender.dsp.render import Level, at_mic_stem, levels
from tests import reference
from tests.roots import head_response, music, pcm16

RATE = 44100
LEFT, RIGHT = head_response(384, 20, 1), head_response(350, 25, 2)
SONG = pcm16(music(1.0, 3))


def test_examples():
    assert doctest.testmod(stem).failed == 0


@pytest.mark.parametrize(
    "dtype", ["int16", *(pytest.param(t, marks=pytest.mark.slow) for t in ("int32", "float32", "float64"))]
)
def test_at_mic_stem(dtype):
    full = {"int16": 2.0**15, "int32": 2.0**31}.get(dtype, 1.0)
    song = (SONG / 32768 * full).astype(dtype)
    signal, pcm, _, _, _ = reference.render_float(song.astype(float) / full, LEFT, RIGHT, RATE)
    ours = at_mic_stem(song, RATE, LEFT, RIGHT)
    assert ours.dtype == np.int16 and ours.shape == SONG.shape
    np.testing.assert_array_equal(ours, pcm)
    ours = at_mic_stem(song, RATE, LEFT, RIGHT, dtype="float64")
    assert ours.dtype == np.float64 and ours.shape == SONG.shape
    np.testing.assert_allclose(ours, signal, rtol=0, atol=1e-12)


def test_float64_is_neither_clipped_nor_truncated():
    loud = np.sign(music(1.0, 4)) * 0.999
    signal = at_mic_stem(loud, RATE, LEFT, RIGHT, dtype="float64")
    assert np.abs(signal).max() > 1.05
    assert (np.rint(signal * 32768) != signal * 32768).any()
    expected, clipped = reference.to_pcm16(signal)
    assert clipped
    np.testing.assert_array_equal(at_mic_stem(loud, RATE, LEFT, RIGHT), expected)


def test_is_as_loud_as_the_source():
    rendered = at_mic_stem(SONG, RATE, LEFT, RIGHT, dtype="float64")
    assert reference.loudness(rendered, RATE) == pytest.approx(
        reference.loudness(SONG / 32768, RATE), abs=1e-9
    )


@pytest.mark.parametrize("dtype", ["int16", "float64"])
@pytest.mark.parametrize(
    ("signal", "left"),
    [(np.zeros((RATE, 2), np.int16), LEFT), (SONG, np.zeros((9, 2))), (SONG // 16000, LEFT)],
    ids=["silence", "nothing arrives", "too quiet to have a loudness"],
)
def test_silence(signal, left, dtype):
    out = at_mic_stem(signal, RATE, left, left, dtype=dtype)
    assert (out.dtype, out.shape) == (dtype, signal.shape)
    assert not out.any()


def test_unequal_responses():
    expected = reference.render(SONG, LEFT, np.array([[0.5, -0.25]]), RATE)
    np.testing.assert_array_equal(at_mic_stem(SONG, RATE, LEFT, np.array([[0.5, -0.25]])), expected)


def test_any_memory_layout():
    expected = at_mic_stem(SONG, RATE, LEFT, RIGHT)
    for song in (np.asfortranarray(SONG), np.repeat(SONG, 2, axis=0)[::2]):
        np.testing.assert_array_equal(at_mic_stem(song, RATE, np.asfortranarray(LEFT), RIGHT), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (SONG[:17639], RATE, LEFT, RIGHT),
            "17639 frames at 44100 Hz: loudness is defined from 400 ms on, which are 17640",
        ),
        ((SONG[:, 0], RATE, LEFT, RIGHT), r"signal has the shape \(44100,\); \(n, 2\) is needed"),
        ((SONG, RATE, LEFT[:, :1], RIGHT), r"left_hrir has the shape \(384, 1\)"),
        ((SONG, RATE, LEFT, RIGHT[:0]), r"right_hrir has the shape \(0, 2\)"),
        ((SONG, RATE, LEFT, RIGHT, "int32"), "'int32' is neither 'int16' nor 'float64'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        at_mic_stem(*arguments)


def test_levels():
    nothing = np.zeros((1, 2))
    loud, silent = levels(SONG, RATE, Heads([(LEFT, RIGHT), (nothing, nothing)]))
    rendered = reference.convolve(SONG / 32768, LEFT, RIGHT)
    assert loud.before == pytest.approx(reference.loudness(SONG / 32768, RATE), abs=1e-10)
    assert loud.after == pytest.approx(reference.loudness(rendered, RATE), abs=1e-9)
    assert (loud.silent, silent.silent) == (False, True)
    assert silent == Level(loud.before, -math.inf)


@pytest.mark.parametrize(
    ("before", "after", "gain"),
    [(-20, -20, 1.0), (-20, -40, 10.0), (-30, -10, 0.1), (-math.inf, -10, 0.0), (-10, -math.inf, 0.0)],
)
def test_gain(before, after, gain):
    assert Level(before, after).gain == pytest.approx(gain)
    assert Level(before, after).silent == (gain == 0.0)
