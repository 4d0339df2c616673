"""One head in one pass: its peculiarities only. test_convolve checks its samples against the reference."""

import math

import numpy as np
import pytest

from cadrender.dsp.hrir import Heads
from cadrender.dsp.whole import convolve_whole, scaled, suits
from tests import reference
from tests.roots import head_response, music, pcm16

RATE = 44100
PAIR = head_response(384, 23, 1), head_response(350, 30, 2)
HEADS = Heads([PAIR])


@pytest.mark.parametrize("frames", [17_640, 65_536, 65_537, 150_001, 150_002, 150_003])
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_loudness_and_pieces(frames, dtype):
    song = pcm16(music(frames / RATE + 0.1, 3))[:frames]
    signal = song if dtype == "int16" else song / 32768
    before, after, pieces = convolve_whole(signal, RATE, HEADS)
    rendered = reference.convolve(song / 32768, *PAIR)
    np.testing.assert_allclose(np.concatenate(pieces), rendered, rtol=0, atol=1e-13)
    assert before == pytest.approx(reference.loudness(song / 32768, RATE), abs=1e-10)
    assert after == pytest.approx(reference.loudness(rendered, RATE), abs=1e-10)


def test_the_stem_is_left_as_it_was():
    song = pcm16(music(1.0, 4))[:44_099]
    copy = song.copy()
    convolve_whole(song, RATE, HEADS)
    np.testing.assert_array_equal(song, copy)


def test_scaled():
    pieces = [np.array([[0.5, -0.25]] * 3), np.array([[0.9, -0.1]])]
    (first, none), (second, one) = [(piece.copy(), clipped) for piece, clipped in scaled(pieces, 1.5, True)]
    np.testing.assert_array_equal(first, [[24576, -12288]] * 3)
    np.testing.assert_array_equal(second, [[32767, -4915]])
    assert (none, one) == (0, 1)
    floats = np.concatenate([piece for piece, _ in scaled(pieces, 1.5, False)])
    np.testing.assert_allclose(floats, [[0.75, -0.375]] * 3 + [[1.35, -0.15]])


def test_silence_has_no_sign():
    (piece, _), *_ = scaled([np.array([[-0.5, -math.pi]])], 0.0, False)
    assert not np.signbit(piece).any() and not piece.any()


def test_what_it_suits():
    assert suits(np.zeros((100, 2), np.int16), HEADS)
    assert not suits(np.zeros((100, 2), np.int16), Heads([PAIR, PAIR]))
    room = head_response(8192, 23, 1)
    assert suits(np.zeros((100, 2), np.int16), Heads([PAIR, (room, room)]))
    ten_minutes = np.broadcast_to(np.zeros((1, 2), np.int16), (600 * RATE, 2))
    assert not suits(ten_minutes, HEADS)
    five = 300 * RATE
    assert suits(ten_minutes[:five], HEADS)
    assert not suits(np.broadcast_to(np.zeros((1, 2)), (five, 2)), HEADS)  # the stem itself takes as much


def test_too_short():
    with pytest.raises(ValueError, match="400 ms"):
        convolve_whole(np.zeros((17_639, 2), np.int16), RATE, HEADS)
