"""Rebalanced targets against NumPy and pyloudnorm."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import reference
from cadrender.dsp import rebalance as remix
from cadrender.dsp.mix import ALONE, BLOCK, MixMeter, mix_float64, mix_int16, to_int16
from cadrender.dsp.rebalance import (
    ArraySource,
    KeptSum,
    MixLevel,
    StemBlocks,
    common_dtype,
    linear,
    mix_levels,
    rebalance,
)
from cadrender.stems import VDBO
from tests.roots import music, pcm16

RATE = 44100
SECONDS = 1.3
GAINS = [
    (0, 0, 0, 0),
    (10, 0, 0, 0),
    (0, -10, 6, 0),
    (3, 10, -6, 0),
    (-10, -10, -10, -6),
    (2.5, 0, -0.25, 0),
]


def stems_of(seconds=SECONDS, seed=1, level=0.2):
    return {stem: pcm16(music(seconds, seed + k, level)) for k, stem in enumerate(VDBO)}


def mixture_of(stems, factor=0.7):
    """An at-mic mixture: not the sum of its stems."""
    return pcm16(factor * sum(stem.astype(float) for stem in stems.values()) / 32768)


def gains(*values):
    return dict(zip(VDBO, values, strict=True))


def assert_equal_to_the_reference(stems, gains_db, mixture, samplerate=RATE):
    ours = rebalance(stems, gains_db, mixture, samplerate)
    assert ours.dtype == np.int16
    np.testing.assert_array_equal(ours, reference.remix(stems, gains_db, mixture, samplerate))
    return ours


@pytest.mark.parametrize("values", GAINS)
def test_every_sample_is_the_references(values):
    stems = stems_of()
    target = assert_equal_to_the_reference(stems, gains(*values), mixture_of(stems))
    assert np.abs(target).max() > 1000


@pytest.mark.parametrize("silent", [(stem,) for stem in VDBO] + [("drums", "bass", "other")])
def test_silent_stems(silent):
    stems = stems_of()
    mixture = mixture_of(stems)
    for stem in silent:
        stems[stem][:] = 0
    assert_equal_to_the_reference(stems, gains(6, -3, 0, 10), mixture)


def test_a_silent_mixture_counts_as_80_lufs():
    stems = stems_of()
    silence = np.zeros_like(stems["bass"])
    target = assert_equal_to_the_reference(stems, gains(0, 3, 0, 0), silence)
    assert 0 < np.abs(target).max() < 40


def test_silent_stems_count_as_80_lufs():
    # Below the gate, yet not nothing: raised by as much as the mixture is louder than -80 LUFS.
    random = np.random.default_rng(5)
    quiet = {stem: random.integers(-1, 2, (RATE, 2)).astype(np.int16) for stem in VDBO}
    mixture = pcm16(music(1.0, 9))
    assert reference.loudness(sum(quiet.values()) / 32768, RATE) == -math.inf
    target = assert_equal_to_the_reference(quiet, gains(0, 0, 0, 0), mixture)
    assert np.abs(target).max() > 100
    nothing = {stem: np.zeros_like(mixture) for stem in VDBO}
    assert not assert_equal_to_the_reference(nothing, gains(10, 10, 10, 0), mixture).any()
    assert not assert_equal_to_the_reference(nothing, gains(0, 0, 0, 0), np.zeros_like(mixture)).any()


def test_an_entry_in_the_middle_of_silence():
    stems = stems_of(3.0)
    for stem in stems.values():
        stem[: len(stem) // 2] = 0
    assert_equal_to_the_reference(stems, gains(-6, 0, 3, 0), mixture_of(stems))


def test_clipping():
    random = np.random.default_rng(3)
    sparse = np.zeros((2 * RATE, 2), np.int16)
    sparse[::997] = 32767
    sparse[500::997] = -32768
    stems = {stem: np.roll(sparse, k, 0) for k, stem in enumerate(VDBO)}
    loud = random.integers(-32768, 32768, sparse.shape).astype(np.int16)
    target = assert_equal_to_the_reference(stems, gains(10, 10, 10, 6), loud)
    assert target.max() == 32767 and target.min() == -32768


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 30, 31, 1001])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float64"])
def test_clipped_samples_are_counted(frames, dtype):
    random = np.random.default_rng(frames)
    block = np.zeros((4, 2 * frames + 8), np.int16)
    block[:, : 2 * frames] = random.integers(-32768, 32768, (4, 2 * frames))
    block[:, 2 * frames :] = 32767  # no part of the signal
    block[:, 2 * frames - 1] = 32767
    weights = linear([-3, -14, 0.3, -6])
    expected, clipped = reference.to_pcm16(np.tensordot(weights, block[:, : 2 * frames] / 32768, 1))
    scaled = {"int16": block, "int32": block.astype(np.int32) << 16, "float64": block / 32768}[dtype]
    out = np.empty((frames, 2), np.int16)
    assert mix_int16(scaled, frames, weights, 1.0, out) == clipped > 0
    np.testing.assert_array_equal(out.reshape(-1), expected)


@pytest.mark.parametrize("frames", [1, 3, 4, 31, 1001])
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_a_sum_of_one(frames, dtype):
    row = np.random.default_rng(frames).integers(-32768, 32768, (1, 2 * frames)).astype(np.int16)
    row[0, -1] = -32768
    expected, clipped = reference.to_pcm16(1.7 * row[0] / 32768)
    out = np.empty((frames, 2), np.int16)
    scaled = row if dtype == "int16" else row / 32768
    weights = np.array([1.0, np.nan, np.nan, np.nan])
    assert mix_int16(scaled, frames, weights, 1.7, out) == clipped > 0
    np.testing.assert_array_equal(out.reshape(-1), expected)
    unquantised = np.empty((frames, 2))
    mix_float64(scaled, frames, weights, 1.7, unquantised)
    np.testing.assert_array_equal(unquantised.reshape(-1), 1.7 * row[0] / 32768)


def test_the_last_frames_are_rounded_as_those_before_them():
    """One to three frames at the end are mixed one by one, the others eight numbers at a time."""
    random = np.random.default_rng(1)
    weights = random.uniform(0.1, 3, 4)
    for _ in range(200):
        block = random.uniform(-1, 1, (4, 8))
        three, four = np.empty((3, 2)), np.empty((4, 2))
        mix_float64(block, 3, weights, 0.7, three)
        mix_float64(block, 4, weights, 0.7, four)
        np.testing.assert_array_equal(three, four[:3])


def test_equal_loudness_and_no_gains_give_the_sum_itself():
    stems = stems_of(level=0.1)
    total = sum(stems.values())
    target = assert_equal_to_the_reference(stems, gains(0, 0, 0, 0), total)
    np.testing.assert_array_equal(target, total)


@pytest.mark.parametrize("gain", [-10, -6, -3, 0, 3, 6, 10, 0.1, 7.7])
def test_a_lone_stem_comes_back_whatever_its_gain(gain):
    # The level undoes the gain. Exact arithmetic gives the stem; floating point may truncate 123.99999999 to 123.
    stems = {stem: np.zeros((RATE, 2), np.int16) for stem in VDBO}
    stems["other"] = pcm16(music(1.0, 4))
    target = rebalance(stems, gains(0, 0, 0, gain), stems["other"], RATE)
    np.testing.assert_array_equal(target, stems["other"])
    slow = reference.remix(stems, gains(0, 0, 0, gain), stems["other"], RATE)
    assert np.abs(target.astype(int) - slow).max() <= 1


@pytest.mark.parametrize("frames", [17640, 17641, 17643, 2 * BLOCK, 2 * BLOCK + 2, 2 * BLOCK + 4411])
def test_lengths_around_block_edges(frames):
    stems = {stem: pcm[:frames] for stem, pcm in stems_of(1.0).items()}
    assert_equal_to_the_reference(stems, gains(3, 0, -3, 0), mixture_of(stems))


@pytest.mark.parametrize("samplerate", [48000, 32000, 16000])
def test_other_rates(samplerate):
    stems = stems_of()
    assert_equal_to_the_reference(stems, gains(0, -6, 0, 6), mixture_of(stems), samplerate)


@given(
    frames=st.integers(17640, 60000),
    values=st.tuples(*4 * [st.sampled_from([-10, -6, -3, 0, 3, 6, 10])]),
    levels=st.tuples(*5 * [st.sampled_from([0, 1, 3, 400, 9000, 32767])]),
    seed=st.integers(0, 2**32 - 1),
)
def test_noise_of_any_level(frames, values, levels, seed):
    random = np.random.default_rng(seed)
    *noises, mixture = (random.integers(-level, level + 1, (frames, 2)).astype(np.int16) for level in levels)
    if sum(level > 0 for level in levels[:4]) == 1 and np.array_equal(mixture, sum(noises)):
        return
    assert_equal_to_the_reference(dict(zip(VDBO, noises, strict=True)), gains(*values), mixture)


@pytest.mark.slow
def test_other_types_of_samples_give_the_same():
    stems = stems_of()
    mixture = mixture_of(stems)
    expected = rebalance(stems, gains(0, 3, 6, -3), mixture, RATE)
    for convert in (
        lambda x: x.astype(np.int32) << 16,
        lambda x: (x / 32768).astype(np.float32),
        lambda x: x / 32768,
    ):
        converted = {stem: convert(pcm) for stem, pcm in stems.items()}
        np.testing.assert_array_equal(
            rebalance(converted, gains(0, 3, 6, -3), convert(mixture), RATE), expected
        )
        mixed = {**stems, "drums": converted["drums"]}
        np.testing.assert_array_equal(rebalance(mixed, gains(0, 3, 6, -3), mixture, RATE), expected)


def test_float64_is_neither_clipped_nor_truncated():
    stems = stems_of(level=0.9)
    mixture = pcm16(music(SECONDS, 77, 1.0))
    target = rebalance(stems, gains(10, 10, 0, 0), mixture, RATE, dtype="float64")
    weighted = sum(stems[s] / 32768 * 10 ** (g / 20) for s, g in zip(VDBO, (10, 10, 0, 0), strict=True))
    levels = [reference.loudness(x, RATE) for x in (weighted, mixture / 32768)]
    np.testing.assert_allclose(target, weighted * 10 ** ((levels[1] - levels[0]) / 20), rtol=0, atol=1e-12)
    assert reference.loudness(target, RATE) == pytest.approx(levels[1], abs=1e-9)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(dtype="int32"), "int32"),
        (dict(gains_db={"vocals": 0}), "vocals, drums, bass, other"),
        (dict(gains_db=gains(0, 0, 0, 0) | {"lead": 1}), "lead"),
        (dict(stems={"vocals": np.zeros((RATE, 2))}), "vocals, drums, bass, other"),
        (dict(mixture=np.zeros((RATE, 1), np.int16)), "mixture"),
        (dict(mixture=np.zeros(RATE, np.int16)), "mixture"),
        (dict(mixture=np.zeros((RATE + 1, 2), np.int16)), str(RATE)),
        (dict(samplerate=200_000), "400 ms"),
    ],
)
def test_bad_arguments_are_named(change, named):
    stems = {stem: np.zeros((RATE, 2), np.int16) for stem in VDBO}
    good = dict(stems=stems, gains_db=gains(0, 0, 0, 0), mixture=stems["bass"], samplerate=RATE)
    with pytest.raises(ValueError, match=named):
        rebalance(**(good | change))


@pytest.mark.parametrize("sums", [1, 2, 3, 4])
@pytest.mark.parametrize("samplerate", [44100, 48000, 32000])
def test_loudness_of_several_sums(sums, samplerate):
    random = np.random.default_rng(sums)
    frames = samplerate + 4321
    swell = (np.sin(np.arange(frames) / 9000) ** 2)[:, None]
    stems = (random.standard_normal((4, frames, 2)) * 3000 * swell).astype(np.int16)
    mixture = (random.standard_normal((frames, 2)) * 5000 * swell).astype(np.int16)
    weights = random.uniform(0.1, 3, (sums, 4))
    meter = MixMeter(frames, samplerate, weights)
    sources = StemBlocks([ArraySource(stem) for stem in stems], frames, np.int16)
    for (block, count), (target, _) in zip(
        sources, StemBlocks([ArraySource(mixture)], frames, np.int16), strict=True
    ):
        block[:, 2 * count :] = 999  # values past the end do not count
        meter.feed(block, target, count)
    loudness, measured = meter.loudness()
    assert loudness == pytest.approx(reference.loudness(mixture / 32768, samplerate), abs=1e-10)
    for row, lufs in zip(weights, measured, strict=True):
        weighted = np.tensordot(row, stems / 32768, 1)
        assert lufs == pytest.approx(reference.loudness(weighted, samplerate), abs=1e-10)


@pytest.mark.parametrize("frames", [17640, 17641, BLOCK - 1, BLOCK, BLOCK + 2, 3 * BLOCK + 7])
@pytest.mark.parametrize("dtype", ["int16", "float64"])
def test_the_sum_is_kept_while_it_is_measured(frames, dtype):
    random = np.random.default_rng(frames)
    signals = random.integers(-32768, 32768, (5, frames, 2)).astype(np.int16)
    scaled = signals if dtype == "int16" else signals / 32768
    *sources, mixture = (ArraySource(signal) for signal in scaled)
    weights = linear([-3, -14, 0.3, -6])
    memory = np.full(KeptSum.bytes_needed(frames) + 64, 123, np.uint8)
    kept = KeptSum(frames, memory)
    stems, plain = StemBlocks(sources, frames, dtype), StemBlocks([mixture], frames, dtype)
    (level,) = mix_levels(stems, plain, frames, RATE, weights[None], kept)
    assert [level] == mix_levels(stems, plain, frames, RATE, weights[None])
    expected = np.tensordot(weights, signals[:4] / 32768, 1)
    for _ in range(2):
        blocks = [block[0, : 2 * count] for block, count in kept]
        np.testing.assert_allclose(np.concatenate(blocks), expected.reshape(-1), rtol=0, atol=4e-15)
        assert [len(block) for block in blocks[:-1]] == [2 * BLOCK] * (len(blocks) - 1)
    assert (memory[-64:] == 123).all()
    for make, kind in ((mix_int16, np.int16), (mix_float64, np.float64)):
        again, from_kept = np.empty((2, frames, 2), kind)
        at = 0
        for (block, count), (whole, _) in zip(stems, kept, strict=True):
            make(block, count, weights, 0.7, again[at : at + count])
            make(whole, count, ALONE, 0.7, from_kept[at : at + count])
            at += count
        np.testing.assert_array_equal(from_kept, again)  # to the last bit


def test_a_long_silence_leaves_no_denormal_numbers():
    frames = 40 * BLOCK
    meter = MixMeter(frames, RATE, np.ones((1, 4)))
    block, target = np.zeros((4, 2 * BLOCK)), np.zeros((1, 2 * BLOCK))
    block[:, 0] = target[:, 0] = 1.0
    for _ in range(40):
        meter.feed(block, target, BLOCK)
        block[:] = target[:] = 0.0
    assert not meter._states.any()


def test_levels():
    assert MixLevel(-20.0, -26.0).gain == pytest.approx(10 ** (-6 / 20))
    assert MixLevel(-20.0, -26.0).after == -26.0
    assert MixLevel(-math.inf, -26.0).gain_db == 54.0
    assert MixLevel(-26.0, -math.inf).gain_db == -54.0
    assert MixLevel(-math.inf, -math.inf).gain == 1.0
    assert MixLevel(-math.inf, -26.0).after == -math.inf
    np.testing.assert_allclose(linear([0, 20, -6]), [1, 10, 10**-0.3])


def test_stems_are_read_once_where_there_is_memory_and_else_each_time():
    class Counting(ArraySource):
        def __init__(self, signal):
            super().__init__(signal)
            self.reads = 0

        def read(self, start, out):
            self.reads += 1
            super().read(start, out)

    frames = 2 * BLOCK + 5
    signals = np.random.default_rng(1).integers(-99, 99, (3, frames, 2)).astype(np.int16)
    for memory, reads in ((None, 6), (np.empty(10_000_000, np.uint8), 3)):
        sources = [Counting(signal) for signal in signals]
        stems = StemBlocks(sources, frames, np.int16, memory)
        for _ in range(2):
            read = np.concatenate([block[:, : 2 * count] for block, count in map(_copied, stems)], axis=1)
            np.testing.assert_array_equal(read, signals.reshape(3, -1))
        assert [source.reads for source in sources] == 3 * [reads]


def _copied(item):
    return item[0].copy(), item[1]


def test_types():
    assert common_dtype(["int16", "int16"]) == np.int16
    assert common_dtype(["int16", "int32"]) == np.float64
    pcm, clipped = to_int16(np.array([[1.0, -1.0], [0.99999, -1.1], [-0.5 / 32768, 123.5 / 32768]]))
    np.testing.assert_array_equal(pcm, [[32767, -32768], [32767, -32768], [0, 123]])
    assert clipped == 3


def test_the_example_in_the_docstring_runs():
    import doctest

    assert doctest.testmod(remix).failed == 0
