import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cadrender.dsp import loudness
from cadrender.dsp.convolve import loudness_before_and_after
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import gating, integrated_loudness, k_weighting
from tests import reference
from tests.roots import head_response, music

RATES = (32000, 44100, 48000)
rates = pytest.mark.parametrize("rate", RATES)

# Tolerance of a loudness on its own, and of one measured without convolving, in dB.
CLOSE = 1e-10
CLOSE_AFTER = 1e-9


def _random(rate, random):
    return 0.1 * random.standard_normal((3 * rate, 2))


def _gated(rate, random):
    """Loud, then below the relative gate, then below the absolute one, then silent, and loud again."""
    levels = np.repeat([0.3, 0.003, 1e-5, 0.0, 0.2], rate // 2)[:, None]
    return levels * random.standard_normal((len(levels), 2))


def _sparse(rate, random):
    """Single clicks in digital silence."""
    signal = np.zeros((4 * rate, 2))
    signal[random.integers(0, 4 * rate, 12), random.integers(0, 2, 12)] = random.uniform(0.2, 1, 12)
    return signal


def _steps(rate, random):
    """Down from full scale in steps of 3 dB, block by block: some fall close to a gate."""
    levels = np.repeat(10.0 ** (-3 * np.arange(40) / 20), rate // 10)[:, None]
    return levels * random.uniform(-1, 1, (len(levels), 2))


def _constant(rate, random):
    """A constant voltage: the high pass leaves the step at its start."""
    return np.full((2 * rate, 2), 0.5)


def _low(rate, random):
    """20 Hz, where the high pass is steep."""
    t = np.arange(3 * rate) / rate
    return 0.5 * np.stack([np.sin(2 * np.pi * 20 * t), np.cos(2 * np.pi * 20 * t)], axis=1)


def _offset(rate, random):
    """A faint tone on a large constant."""
    return 0.9 + 0.01 * _low(rate, random)


def _one_sided(rate, random):
    return _random(rate, random) * [1, 0]


def _mono(rate, random):
    return _random(rate, random)[:, :1].repeat(2, axis=1)


def _music(rate, random):
    return music(2.5, 7)


SIGNALS = [_random, _gated, _sparse, _steps, _constant, _low, _offset, _one_sided, _mono, _music]
signals = pytest.mark.parametrize("make", SIGNALS, ids=lambda make: make.__name__[1:])


@rates
@signals
def test_integrated_loudness(make, rate):
    signal = make(rate, np.random.default_rng(rate))
    expected = reference.loudness(signal, rate)
    assert math.isfinite(expected)
    assert integrated_loudness(signal, rate) == pytest.approx(expected, rel=0, abs=CLOSE)


@rates
@pytest.mark.parametrize("blocks", [4, 4.5, 5, 5.499, 5.5, 5.501, 6.5, 7.5])
def test_short_signals(rate, blocks):
    """Around the lengths at which rounding half to even adds a block."""
    for more in (-1, 0, 1):
        frames = max(round(blocks * rate / 10) + more, math.ceil(0.4 * rate))
        signal = 0.1 * np.random.default_rng(frames).standard_normal((frames, 2))
        signal[-rate // 20 :] *= 5  # the last block counts
        assert integrated_loudness(signal, rate) == pytest.approx(
            reference.loudness(signal, rate), rel=0, abs=CLOSE
        )


@settings(max_examples=40)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, *RATES, 88200, 96000]),
    seconds=st.floats(0.4001, 2.5),
    level=st.floats(-60, 0),
    drop=st.floats(0, 60),
    seed=st.integers(0, 10**6),
)
def test_integrated_loudness_of_anything(rate, seconds, level, drop, seed):
    random = np.random.default_rng(seed)
    signal = 10 ** (level / 20) * random.standard_normal((math.ceil(seconds * rate), 2))
    signal[random.integers(len(signal)) :] *= 10 ** (-drop / 20)
    expected = reference.loudness(signal, rate)
    assert integrated_loudness(signal, rate) == pytest.approx(expected, rel=0, abs=CLOSE)


@rates
@pytest.mark.parametrize("level", [0.0, 1e-10, 1e-5])
def test_nothing_above_the_gate(rate, level):
    signal = level * np.random.default_rng(1).standard_normal((rate, 2))
    assert reference.loudness(signal, rate) == -math.inf
    assert integrated_loudness(signal, rate) == -math.inf


@rates
@pytest.mark.parametrize("gate", ["absolute", "relative"])
def test_gates_open_at_the_same_level(rate, gate):
    """A quiet part is raised until pyloudnorm's gate opens: ours is closed just below and open just above."""
    noise = np.random.default_rng(rate).standard_normal((2 * rate, 2))

    def signal_at(level):
        quiet = 10 ** (level / 20) * noise
        return quiet if gate == "absolute" else np.concatenate([0.1 * noise, quiet])

    def opens(level):
        expected = reference.loudness(signal_at(level), rate)
        return math.isfinite(expected) if gate == "absolute" else expected < threshold

    # A quiet part that counts lowers the loudness of the loud one.
    low, high = (-85.0, -60.0) if gate == "absolute" else (-45.0, -26.0)
    threshold = reference.loudness(signal_at(low), rate) - 0.5 if gate == "relative" else None
    assert (opens(low), opens(high)) == (False, True)
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (low, middle) if opens(middle) else (middle, high)
    for level in (low - 1e-3, low, high, high + 1e-3):
        expected = reference.loudness(signal_at(level), rate)
        ours = integrated_loudness(signal_at(level), rate)
        assert ours == expected or ours == pytest.approx(expected, rel=0, abs=CLOSE)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_types(dtype):
    signal = 0.3 * np.random.default_rng(4).uniform(-1, 1, (44100, 2))
    full = {"int16": 2.0**15, "int32": 2.0**31}.get(dtype, 1.0)
    typed = (signal * full).astype(dtype)
    assert integrated_loudness(typed, 44100) == pytest.approx(
        reference.loudness(typed.astype(float) / full, 44100), rel=0, abs=CLOSE
    )


def test_strided_signals():
    signal = 0.1 * np.random.default_rng(4).standard_normal((88200, 2))
    for view in (signal[::2], signal[:, ::-1], np.asfortranarray(signal)):
        expected = reference.loudness(view, 44100)
        assert integrated_loudness(view, 44100) == pytest.approx(expected, rel=0, abs=CLOSE)


def test_sine_at_full_scale():
    """The recommendation's own check: 997 Hz in one channel is -3.01 LUFS; pyloudnorm's filter gives -3.05."""
    tone = np.sin(2 * np.pi * 997 * np.arange(5 * 48000) / 48000)
    assert integrated_loudness(np.stack([tone, 0 * tone], axis=1), 48000) == pytest.approx(-3.05, abs=0.005)


def test_denormals_cost_nothing():
    """The filter's memory decays in digital silence: it is cut off instead of followed to its end."""
    signal = np.zeros((10 * 44100, 2))
    signal[:44100] = 0.1 * np.random.default_rng(6).standard_normal((44100, 2))
    assert integrated_loudness(signal, 44100) == pytest.approx(
        reference.loudness(signal, 44100), rel=0, abs=CLOSE
    )


@pytest.mark.parametrize("frames", [0, 1, 17639])
def test_too_short(frames):
    with pytest.raises(ValueError, match=f"^{frames} frames at 44100 Hz: .*400 ms .*17640$"):
        integrated_loudness(np.zeros((frames, 2)), 44100)


@pytest.mark.parametrize("shape", [(44100,), (44100, 1), (2, 44100), (44100, 2, 1)])
def test_not_stereo(shape):
    with pytest.raises(ValueError, match=r"signal has the shape .*; \(n, 2\) is needed"):
        integrated_loudness(np.zeros(shape), 44100)


def test_blocks_at_44100_hz():
    blocks = gating(10 * 44100, 44100)
    np.testing.assert_array_equal(blocks.edges[blocks.first], 4410 * np.arange(97))
    np.testing.assert_array_equal(blocks.edges[blocks.last], 4410 * (np.arange(97) + 4))


@pytest.mark.parametrize("rate", [11025, 22050, 32000, 44100, 44101, 47999, 48000])
def test_blocks_are_cut_as_the_contract_says(rate):
    """In floating point, in this order; not all edges are whole multiples of a tenth of a second."""
    for frames in (math.ceil(0.4 * rate), rate, 3 * rate + 17, 20 * rate + rate // 20):
        blocks = gating(frames, rate)
        count = int(np.round((frames / rate - 0.4) / (0.4 * 0.25)) + 1)
        starts = [int(0.4 * (j * 0.25) * rate) for j in range(count)]
        stops = [min(int(0.4 * (j * 0.25 + 1) * rate), frames) for j in range(count)]
        assert blocks.edges[blocks.first].tolist() == starts
        assert blocks.edges[blocks.last].tolist() == stops


@pytest.mark.parametrize("rate", [8000, *RATES, 192000])
def test_filter_is_pyloudnorms(rate):
    import pyloudnorm

    filters = pyloudnorm.Meter(rate)._filters
    expected = [
        np.concatenate([filters[name].b, filters[name].a[1:]]) for name in ("high_shelf", "high_pass")
    ]
    np.testing.assert_allclose(k_weighting(rate), expected, rtol=1e-14)


def test_examples():
    assert doctest.testmod(loudness).failed == 0


# Before and after HRIRs


def check_before_and_after(signal, hrirs, rate):
    before, after = loudness_before_and_after(signal, rate, Heads(hrirs))
    as_float = signal if signal.dtype == np.float64 else signal / 32768
    assert before == pytest.approx(reference.loudness(as_float, rate), rel=0, abs=CLOSE)
    assert after.shape == (len(hrirs),)
    for (left, right), ours in zip(hrirs, after, strict=True):
        theirs = reference.loudness(reference.convolve(as_float, left, right), rate)
        assert ours == pytest.approx(theirs, rel=0, abs=CLOSE_AFTER)
    return after


def some_hrirs(count, taps, seed=0):
    return [
        (head_response(taps + 11 * k, 3 * k, seed + 2 * k), head_response(taps, 5, seed + 2 * k + 1))
        for k in range(count)
    ]


@rates
@signals
def test_loudness_after_hrirs(make, rate):
    signal = make(rate, np.random.default_rng(rate))
    assert np.isfinite(check_before_and_after(signal, some_hrirs(2, 300), rate)).all()


@pytest.mark.parametrize("taps", [1, 2, 17, 384, 3000])
@rates
def test_loudness_after_hrirs_of_any_length(taps, rate):
    random = np.random.default_rng(taps)
    signal = _gated(rate, random)[: 2 * rate + 1234]
    hrirs = [(0.1 * random.standard_normal((taps, 2)), 0.1 * random.standard_normal((taps, 2)))]
    check_before_and_after(signal, hrirs, rate)


@settings(max_examples=25)
@given(
    rate=st.sampled_from(RATES),
    frames=st.integers(19200, 90_000),
    taps=st.sampled_from([1, 7, 64, 200, 500, 2500]),
    heads=st.sampled_from([1, 2, 5]),
    silence=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    dtype=st.sampled_from(["int16", "float64"]),
    seed=st.integers(0, 10**6),
)
def test_loudness_after_hrirs_of_anything(rate, frames, taps, heads, silence, dtype, seed):
    """Digital silence anywhere, HRIRs with unequal delays."""
    random = np.random.default_rng(seed)
    signal = 0.1 * random.standard_normal((frames, 2)) * random.uniform(0, 1, 2)
    start, stop = sorted(int(part * frames) for part in silence)
    if stop - start < 0.6 * frames:
        signal[start:stop] = 0.0
    if dtype == "int16":
        signal = np.rint(32767 * np.clip(signal, -1, 1)).astype(np.int16)
    hrirs = []
    for _ in range(heads):
        left, right = 0.1 * random.standard_normal((2, taps, 2))
        delay = int(random.integers(0, 100))
        hrirs.append((np.concatenate([np.zeros((delay, 2)), left]), right))
    check_before_and_after(signal, hrirs, rate)


def test_quiet_passage_beside_a_loud_one():
    """What follows the loud part is 120 dB below it: it stays below the gate, as when convolved."""
    random = np.random.default_rng(8)
    signal = random.standard_normal((4 * 44100, 2))
    signal[44100:] *= 1e-6
    check_before_and_after(signal, some_hrirs(1, 384), 44100)
    check_before_and_after(np.ascontiguousarray(signal[::-1]), some_hrirs(1, 384), 44100)


def test_silence_before_and_after():
    hrirs = [*some_hrirs(1, 100), (np.zeros((50, 2)), np.zeros((70, 2)))]
    before, after = loudness_before_and_after(np.zeros((44100, 2), np.int16), 44100, Heads(hrirs))
    assert (before, after.tolist()) == (-math.inf, [-math.inf, -math.inf])
    signal = music(1, 3)
    before, after = loudness_before_and_after(signal, 44100, Heads(hrirs))
    assert math.isfinite(before)
    assert math.isfinite(after[0])
    assert after[1] == -math.inf


def test_rendering_that_falls_under_the_gate():
    signal = music(1, 3)
    hrirs = [(1e-5 * left, 1e-5 * right) for left, right in some_hrirs(1, 100)]
    assert reference.loudness(reference.convolve(signal, *hrirs[0]), 44100) == -math.inf
    assert loudness_before_and_after(signal, 44100, Heads(hrirs))[1][0] == -math.inf


@pytest.mark.slow
def test_response_that_comes_after_the_end():
    """A delay longer than the signal: nothing arrives."""
    late = np.zeros((30_000, 2))
    late[-1] = 1.0
    signal = music(0.5, 3)
    _, after = loudness_before_and_after(signal, 44100, Heads([(late, late)]))
    assert after[0] == -math.inf
