"""The engine against the reference: the same int16 samples, whatever the signal and the HRIRs."""

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.render import at_mic, levels
from cadrender.dsp.whole import suits
from tests import reference
from tests.roots import head_response, music, pcm16

RATE = 44100
SHORTEST = 17640


def engine(signal, hrirs, rate=RATE):
    """The engine's output for a stem: (heads, frames, 2) int16, and the clipped samples of each head."""
    heads = Heads(hrirs)
    gains = [level.gain for level in levels(signal, rate, heads)]
    out, clipped = together(convolve(signal, heads, gains), signal, len(hrirs))
    if suits(signal, heads):
        measured, pieces = at_mic(signal, rate, heads)
        at_once, clipped_at_once = together(pieces, signal, len(hrirs))
        np.testing.assert_array_equal(at_once, out)
        assert clipped_at_once == clipped
        np.testing.assert_allclose([level.gain for level in measured], gains, rtol=1e-10)
    else:
        assert len(hrirs) > 1
    return out, clipped


def together(pieces, signal, count):
    """The heads' pieces joined, and the clipped samples of each head."""
    out = np.full((count, len(signal), 2), 12345, np.int16)
    clipped, at = [0] * count, [0] * count
    for head, piece, clips in pieces:
        assert piece.dtype == np.int16
        out[head, at[head] : at[head] + len(piece)] = piece
        at[head] += len(piece)
        clipped[head] += clips
    assert at == [len(signal)] * count
    return out, clipped


def full_scale(signal):
    return {"int16": 2.0**15, "int32": 2.0**31}.get(signal.dtype.name, 1.0)


def check(signal, hrirs, rate=RATE):
    """Compare all heads with the reference; return its samples."""
    ours, clipped = engine(signal, hrirs, rate)
    as_float = signal.astype(np.float64) / full_scale(signal)
    all_theirs = []
    for head, (left, right) in enumerate(hrirs):
        _, theirs, clips, _, _ = reference.render_float(as_float, left, right, rate)
        differing = np.count_nonzero(ours[head] != theirs)
        assert differing == 0, f"head {head}: {differing} of {theirs.size} samples differ"
        assert clipped[head] == clips
        all_theirs.append(theirs)
    return np.array(all_theirs)


def noise_hrirs(count, taps, seed=0):
    random = np.random.default_rng(seed)
    return [tuple(0.3 / np.sqrt(taps) * random.standard_normal((2, taps, 2))) for _ in range(count)]


def measured_hrirs(count, taps=384, seed=0):
    """As measured: each with its own delays, no two of the same length."""
    return [
        (
            head_response(taps + 7 * k, 20 + 2 * k, seed + k),
            head_response(taps + 3 * k, 15 + k, seed + k + 99),
        )
        for k in range(count)
    ]


# Signals


def _music():
    return pcm16(music(2.0, 1))


def _noise():
    return np.random.default_rng(2).integers(-12000, 12000, (60_000, 2), dtype=np.int16)


def _entry_in_the_middle():
    """Digital silence, an entry, silence again for longer than any HRIR, and a last entry."""
    signal = np.zeros((150_000, 2), np.int16)
    signal[61_234:80_000] = _noise()[: 80_000 - 61_234]
    signal[141_000:] = _noise()[:9_000]
    return signal


def _clipping():
    """A square wave at full scale with noise on top: much of it clips after the HRIRs."""
    wave = 40_000 * np.sign(np.sin(2 * np.pi * 220 * np.arange(44_100) / RATE))
    return np.clip(wave[:, None] + _noise()[:44_100], -32768, 32767).astype(np.int16)


def _lowest_bits():
    """A tone and noise of a few steps: the quietest stem that still has a loudness."""
    return np.random.default_rng(3).integers(-16, 17, (44_100, 2), dtype=np.int16)


def _one_bit():
    """Nothing but -1, 0 and 1: below the absolute gate, and so written as zeros."""
    return np.random.default_rng(3).integers(-1, 2, (44_100, 2), dtype=np.int16)


def _one_bit_and_a_bang():
    """The same, with a loud passage that gives it a loudness."""
    signal = _one_bit()
    signal[20_000:26_000] = _noise()[:6_000]
    return signal


def _mono():
    return np.repeat(_noise()[:, :1], 2, axis=1)


def _left_only():
    return _noise() * np.array([1, 0], np.int16)


def _opposite():
    signal = _noise()[:, :1]
    return np.concatenate([signal, -signal], axis=1)


def _constant():
    return np.full((44_100, 2), 20_000, np.int16)


def _single_sample():
    signal = np.zeros((44_100, 2), np.int16)
    signal[22_222, 1] = -32768
    return signal


def _silence():
    return np.zeros((44_100, 2), np.int16)


SIGNALS = [
    _music,
    _noise,
    _entry_in_the_middle,
    _clipping,
    _lowest_bits,
    _one_bit,
    _one_bit_and_a_bang,
    _mono,
    _left_only,
    _opposite,
    _constant,
    _single_sample,
    _silence,
]


@pytest.mark.parametrize("make", SIGNALS, ids=lambda make: make.__name__[1:])
def test_signals(make):
    samples = check(make(), measured_hrirs(2))
    assert samples.any() == (make not in (_one_bit, _silence))


def test_clipped_samples_are_counted():
    _, clipped = engine(_clipping(), measured_hrirs(2))
    assert min(clipped) > 1000


@pytest.mark.parametrize("rate", [32000, 48000])
def test_other_rates(rate):
    check(_music(), measured_hrirs(2), rate)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_types(dtype):
    """16, 24 and 32 bits, and floating point that exceeds full scale."""
    signal: Any = 1.2 * np.random.default_rng(5).uniform(-1, 1, (50_000, 2))
    if dtype.startswith("int"):
        scale = {"int16": 2.0**15, "int32": 2.0**31}[dtype]
        signal = np.clip(signal * scale, -scale, scale - 1)
    signal = signal.astype(dtype)
    check(signal, measured_hrirs(2))
    if dtype == "int32":
        check(signal & ~0xFF, measured_hrirs(1))


# Lengths

TAPS = [1, 2, 3, 17, 64, 383, 384, 385, 820, 2048]


@pytest.mark.parametrize("taps", TAPS)
def test_hrir_lengths(taps):
    check(_music()[:50_001], noise_hrirs(2, taps, seed=taps))


@pytest.mark.slow
def test_hrirs_of_8192_taps():
    check(_music()[:20_001], noise_hrirs(1, 8192))


@pytest.mark.parametrize("taps", [1, 384, 2048])
def test_lengths_around_the_edges_of_blocks(taps):
    hrirs = noise_hrirs(1, taps, seed=taps)
    _, block = Heads(hrirs).block()
    signal = _noise()
    blocks = -(-SHORTEST // block)
    for frames in (
        SHORTEST,
        SHORTEST + 1,
        *(n * block + more for n in (blocks, 2 * blocks) for more in (-1, 0, 1)),
    ):
        if SHORTEST <= frames <= len(signal):
            check(signal[:frames], hrirs)


@pytest.mark.slow
def test_signals_shorter_than_the_hrir():
    """At a rate where 400 ms are few frames."""
    for frames in (3200, 3201, 3999, 4000, 4001):
        check(_noise()[:frames], noise_hrirs(1, 4000), rate=8000)


def test_batches_and_pieces_of_every_length():
    """Slightly below and above the size of a piece."""
    hrirs = measured_hrirs(3)
    for frames in (65_535, 65_536, 65_537, 131_073):
        signal = np.resize(_noise(), (frames, 2))
        check(signal, hrirs[:1])


def test_silence_that_begins_with_a_block():
    """The tail a response leaves in the silence after a block's last frame."""
    hrirs = noise_hrirs(1, 384)
    _, block = Heads(hrirs).block()
    for blocks in (8, 9, 16):
        signal = np.zeros((40 * block, 2), np.int16)
        signal[: blocks * block] = 9000
        signal[24 * block - 1] = -20_000
        check(signal, hrirs)


# Heads


@pytest.mark.parametrize("count", range(1, 18))
def test_numbers_of_heads(count):
    check(_noise()[:30_000], measured_hrirs(count, 100))


def test_heads_of_unequal_length_and_delay():
    random = np.random.default_rng(9)
    hrirs = []
    for taps, delay in ((384, 0), (1, 0), (1, 900), (700, 33), (64, 5000), (2, 1)):
        left, right = 0.2 * random.standard_normal((2, taps, 2))
        hrirs.append(
            (np.concatenate([np.zeros((delay, 2)), left]), np.concatenate([np.zeros((delay + 3, 2)), right]))
        )
    check(_music(), hrirs)


@pytest.mark.parametrize("delay", [1, 4, 1000])
def test_leading_zeros(delay):
    hrirs = [
        tuple(np.concatenate([np.zeros((delay, 2)), response]) for response in pair)
        for pair in noise_hrirs(2, 50)
    ]
    samples = check(_noise()[:20_000], hrirs)
    assert samples.any()
    assert not samples[:, :delay].any()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [17_000, 18_000, 25_000])
def test_delays_about_as_long_as_the_signal(delay):
    """Little or nothing arrives before the end."""
    signal, pair = _noise()[:18_000], noise_hrirs(1, 50)[0]
    late = np.zeros((18_000, 2))
    late[delay:] = reference.convolve(signal / 32768, *pair)[: max(0, 18_000 - delay)]
    gain = 10 ** ((reference.loudness(signal / 32768, RATE) - reference.loudness(late, RATE)) / 20)
    expected = reference.to_pcm16(late * gain)[0] if np.isfinite(gain) else np.zeros_like(signal)
    assert expected.any() == (delay < len(signal))
    samples, _ = engine(signal, [tuple(np.concatenate([np.zeros((delay, 2)), x]) for x in pair)])
    np.testing.assert_array_equal(samples[0], expected)


def test_trailing_zeros():
    padded = [
        tuple(np.concatenate([response, np.zeros((3000, 2))]) for response in pair)
        for pair in measured_hrirs(1)
    ]
    np.testing.assert_array_equal(check(_music(), padded), check(_music(), measured_hrirs(1)))


def test_identity_gives_the_samples_back():
    """The gain is 1 up to rounding, and the sums are whole up to rounding: not one sample may change."""
    identity = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    signal = np.random.default_rng(10).integers(-32768, 32768, (100_000, 2), dtype=np.int16)
    samples = check(signal, [identity])
    np.testing.assert_array_equal(samples[0], signal)
    heads = Heads([identity])
    (level,) = levels(signal, RATE, heads)
    assert level.gain == pytest.approx(1.0, abs=1e-12)


def test_swapped_ears():
    swap = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    signal = _noise()
    np.testing.assert_array_equal(check(signal, [swap])[0], signal[:, ::-1])


def test_whole_numbers_stay_whole():
    """Small integer responses at unit gain: every exact result is an integer."""
    random = np.random.default_rng(11)
    left, right = random.integers(-2, 3, (2, 40, 2)).astype(float)
    signal = random.integers(-100, 101, (30_000, 2), dtype=np.int16)
    expected = np.rint(reference.convolve(signal.astype(float), left, right))
    for count in (1, 5):
        pieces = [
            p.copy()
            for head, p, _ in convolve(signal, Heads([(left, right)] * count), [1.0] * count)
            if not head
        ]
        np.testing.assert_array_equal(np.concatenate(pieces), expected)


def test_zero_response():
    """A stem that is silent after the HRIRs is written as zeros."""
    nothing = np.zeros((384, 2))
    samples = check(_music(), [(nothing, nothing), *measured_hrirs(1), (nothing[:1], nothing)])
    assert [head.any() for head in samples] == [False, True, False]


def test_deaf_ear():
    left, right = measured_hrirs(1)[0]
    left[:, 0] = right[:, 0] = 0.0
    samples = check(_music(), [(left, right)])
    assert not samples[0, :, 0].any()
    assert samples[0, :, 1].any()


# Independence


def test_heads_do_not_disturb_each_other():
    signal, hrirs = _music(), measured_hrirs(9)
    together, _ = engine(signal, hrirs)
    for head in range(9):
        np.testing.assert_array_equal(engine(signal, hrirs[head : head + 1])[0][0], together[head])


def test_calls_do_not_disturb_each_other():
    """Long blocks, then short ones on the same plan, loud before silent, and back."""
    cases = [(_noise(), noise_hrirs(1, taps)) for taps in (300, 384, 350)]
    cases += [(_single_sample(), noise_hrirs(1, 300)), (_silence(), noise_hrirs(1, 384))]
    first = [engine(*case)[0] for case in cases]
    for case, expected in reversed(list(zip(cases, first, strict=True))):
        np.testing.assert_array_equal(engine(*case)[0], expected)


def whole(stream):
    return np.concatenate([piece.copy() for _, piece, _ in stream])


def test_streams_taken_in_turns():
    cases = [(np.resize(_noise(), (200_000 + k, 2)), Heads(noise_hrirs(1, 300 + 42 * k))) for k in range(3)]
    assert len({heads.block()[0] for _, heads in cases}) == 1
    assert len({heads.block()[1] for _, heads in cases}) == 3
    expected = [whole(convolve(signal, heads, [0.5])) for signal, heads in cases]
    streams = [convolve(signal, heads, [0.5]) for signal, heads in cases]
    parts: list[list[Any]] = [[], [], []]
    for pieces in zip(*streams, strict=True):
        for part, (_, piece, _) in zip(parts, pieces, strict=True):
            part.append(piece.copy())
    for part, samples in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(np.concatenate(part), samples)


def test_threads_do_not_disturb_each_other():
    cases = [(_noise()[: 40_000 + 7 * k], noise_hrirs(1, 300 + k)) for k in range(4)]
    expected = [engine(*case)[0] for case in cases]
    wrong: list[Any] = []

    def work(k):
        wrong.extend(k for _ in range(8) if not np.array_equal(engine(*cases[k])[0], expected[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_signal_is_left_as_it_was():
    signal = _music()
    signal.flags.writeable = False
    hrirs = measured_hrirs(2)
    for pair in hrirs:
        for response in pair:
            response.flags.writeable = False
    check(signal, hrirs)


# Floating point out


@pytest.mark.parametrize("count", [1, 5])
def test_float64(count):
    signal, hrirs = _music(), measured_hrirs(count)
    gains = np.linspace(0.5, 2.0, count)
    out: list[list[Any]] = [[] for _ in range(count)]
    for head, piece, clips in convolve(signal, Heads(hrirs), gains, pcm16=False):
        assert piece.dtype == np.float64 and clips == 0
        out[head].append(piece.copy())
    for head, (left, right) in enumerate(hrirs):
        expected = gains[head] * reference.convolve(signal / 32768, left, right)
        np.testing.assert_allclose(np.concatenate(out[head]), expected, rtol=0, atol=1e-14)


# Anything


@settings(max_examples=40)
@given(
    frames=st.integers(SHORTEST, 70_000),
    taps=st.sampled_from([1, 5, 33, 128, 384, 1500]),
    heads=st.integers(1, 6),
    level=st.sampled_from([3.0, 0.3, 0.003]),
    sparse=st.sampled_from([1.0, 0.3, 0.0005]),
    dtype=st.sampled_from(["int16", "int32", "float32", "float64"]),
    seed=st.integers(0, 10**6),
)
def test_anything(frames, taps, heads, level, sparse, dtype, seed):
    random = np.random.default_rng(seed)
    signal = level * random.standard_normal((frames, 2)) * (random.random((frames, 1)) < sparse)
    scale = {"int16": 2.0**15, "int32": 2.0**31}.get(dtype)
    if scale:
        signal = np.clip(np.rint(signal * scale), -scale, scale - 1)
    hrirs = []
    for _ in range(heads):
        delays = random.integers(0, 60, 2)
        hrirs.append(
            tuple(np.concatenate([np.zeros((d, 2)), 0.2 * random.standard_normal((taps, 2))]) for d in delays)
        )
    check(signal.astype(dtype), hrirs)
