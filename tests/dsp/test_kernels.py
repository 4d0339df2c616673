"""Every kernel against its slow twin, on random and awkward input."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cadrender.dsp import fft, kernels
from cadrender.dsp.loudness import k_weighting, k_weighting_responses
from tests import reference

SIGN = np.tile([1.0, -1.0], 4)
DTYPES = ("int16", "int32", "float32", "float64")
seeds = st.integers(0, 2**32 - 1)


def random_samples(dtype, shape, seed):
    """Samples of a type, some of them zero, extreme or denormal."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "i":
        limits = np.iinfo(dtype)
        out = random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        odd = np.array([0, 1, -1, limits.min, limits.max], dtype)
    else:
        out = random.standard_normal(shape).astype(dtype)
        odd = np.array([0.0, -0.0, 1e-40, 5e-324, 1e30], dtype)
    return np.where(random.random(shape) < 0.1, random.choice(odd, shape), out)


def random_spectra(random, blocks, half):
    """Spectra of two real channels per block, in the layout of the plans."""
    rows = random.standard_normal((blocks, 2, 2 * half))
    spectra = np.full((blocks, 2, half + fft.ROW_PADDING), np.nan, complex)
    spectra[..., : half + 1] = np.fft.rfft(rows)
    spectra[..., half + 1 :] = 0.0
    return spectra.view(np.float64)


def random_heads(random, heads, half):
    """Four spectra of real responses per head, in the layout of `Heads`."""
    spectra = np.fft.rfft(random.standard_normal((heads, 4, 2 * half)))
    out = np.zeros((heads, 8, half + fft.ROW_PADDING))
    out[:, 0::2, : half + 1] = spectra.real
    out[:, 1::2, : half + 1] = spectra.imag
    return out


def test_every_kernel_has_a_twin():
    public = {
        name
        for name, function in vars(kernels).items()
        if hasattr(function, "py_func") and function.py_func.__module__ == kernels.__name__
    }
    public = {name for name in public if not name.startswith("_")}
    parts = {"begin_with", "keep_end", "copy"}  # of kernels with a twin
    assert public - parts == {name for name in public if inspect.isfunction(getattr(reference, name, None))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frames", [0, 1, 7, 8, 9, 64, 100])
def test_deinterleave(dtype, frames):
    source = random_samples(dtype, 2 * (frames + 5), frames)
    scale = 1 / 32768 if dtype == "int16" else 0.3
    ours, theirs = np.full((2, 2, frames + 20), np.nan)
    kernels.deinterleave(source, 3, frames, scale, ours[0], 2, ours[1], 9)
    reference.deinterleave(source, 3, frames, scale, theirs[0], 2, theirs[1], 9)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=30)
@given(
    frames=st.integers(1, 300),
    start=st.integers(0, 320),
    block=st.integers(1, 30).map(lambda n: 4 * n),
    blocks=st.integers(1, 4),
    silent=st.booleans(),
    seed=seeds,
)
def test_cut_blocks(dtype, frames, start, block, blocks, silent, seed):
    source = random_samples(dtype, 2 * frames, seed)
    if silent:
        source[2 * start : 2 * (start + block * blocks)] = 0
    ours, theirs = np.random.default_rng(seed).standard_normal((1, 2 * blocks, block + 16)).repeat(2, axis=0)
    found = kernels.cut_blocks(source, start, frames, block, 0.25, ours)
    assert found == reference.cut_blocks(source, start, frames, block, 0.25, theirs)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("place", [0, 1, 62, 63])
def test_cut_blocks_hears_a_single_sample(place):
    source = np.zeros(64, np.int16)
    rows = np.empty((2, 48))
    assert kernels.cut_blocks(source, 0, 32, 32, 1.0, rows)
    source[place] = -1
    assert not kernels.cut_blocks(source, 0, 32, 32, 1.0, rows)


@settings(max_examples=40)
@given(
    pieces=st.lists(st.integers(0, 700), min_size=1, max_size=4),
    start=st.integers(0, 9),
    samplerate=st.sampled_from([8000, 32000, 44100, 48000, 192000]),
    seed=seeds,
)
def test_k_weight(pieces, start, samplerate, seed):
    """Piece after piece, of any lengths: the filter resumes where it stopped."""
    random = np.random.default_rng(seed)
    signal = random.standard_normal((2, start + sum(pieces)))
    signal[1] *= 1e-3
    biquads, responses = k_weighting(samplerate), k_weighting_responses(samplerate)
    ours, theirs = np.full((2, 2, 9 + sum(pieces)), np.nan)
    states = np.zeros((2, 2, 6))
    at = 0
    for frames in pieces:
        kernels.k_weight(signal, start + at, frames, biquads, responses, states[0], ours, 9 + at)
        at += frames
    reference.k_weight(signal, start, sum(pieces), biquads, responses, states[1], theirs, 9)
    # The high pass has two poles within half a percent of 1, at 192 kHz a tenth of that: it magnifies rounding errors
    # by the square of the rate.
    tolerance = 1e-9 * max(1.0, samplerate / 44100) ** 2
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
    np.testing.assert_allclose(states[0], states[1], rtol=0, atol=tolerance)


def test_k_weight_of_a_long_run():
    """Longer than four of the longest quarters, after a loud start."""
    signal = np.random.default_rng(5).standard_normal((2, 40_000)) * np.geomspace(1, 1e-9, 40_000)
    biquads, responses = k_weighting(44100), k_weighting_responses(44100)
    ours, theirs = np.zeros((2, 2, 40_000))
    kernels.k_weight(signal, 0, 40_000, biquads, responses, np.zeros((2, 6)), ours, 0)
    reference.k_weight(signal, 0, 40_000, biquads, responses, np.zeros((2, 6)), theirs, 0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_k_weight_hides_nothing(value):
    """NaN stays in its channel, and everything after it is NaN."""
    signal = np.ones((2, 500))
    signal[0, 100] = value
    out = np.zeros((2, 500))
    kernels.k_weight(
        signal, 0, 500, k_weighting(44100), k_weighting_responses(44100), np.zeros((2, 6)), out, 0
    )
    assert np.isfinite(out[0, :100]).all()
    assert not np.isfinite(out[0, 100:]).any()
    assert np.isfinite(out[1]).all()


@pytest.mark.parametrize("frames", [0, 1, 7, 8, 9, 15, 16, 17, 1000])
def test_energy(frames):
    signal = np.random.default_rng(frames).standard_normal((2, frames + 8))
    expected = reference.energy(signal, 3, 3 + frames)
    assert kernels.energy(signal, 3, 3 + frames) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(np.nan, np.nan), (np.inf, np.inf), (-np.inf, np.inf), (1e200, np.inf), (1e-200, 0)],
)
@pytest.mark.parametrize("place", [0, 8, 20])
def test_energy_of_awkward_numbers(value, expected, place):
    signal = np.zeros((2, 21))
    signal[1, place] = value
    np.testing.assert_equal(kernels.energy(signal, 0, 21), expected)
    assert kernels.energy(signal, 0, place) == 0.0


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    seed=seeds,
)
def test_segment_energies(lengths, cuts, seed):
    """A signal in pieces with arbitrary boundaries."""
    edges = np.concatenate([[0], np.cumsum(lengths)])
    signal = np.random.default_rng(seed).standard_normal((2, edges[-1]))
    ours, theirs = np.zeros((2, len(lengths)))
    segment = start = 0
    for cut in [*cuts, int(edges[-1])]:
        frames = min(cut, int(edges[-1]) - start)
        piece = np.ascontiguousarray(signal[:, start : start + frames])
        segment = kernels.segment_energies(piece, start, frames, edges, segment, ours)
        reference.segment_energies(piece, start, frames, edges, segment, theirs)
        start += frames
    assert segment == len(lengths)
    np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-13)


@given(
    chunk=st.integers(1, 6).map(lambda n: 8 * n),
    lengths=st.lists(st.integers(0, 100), min_size=1, max_size=4),
    seed=seeds,
)
def test_cut_chunks(chunk, lengths, seed):
    edges = chunk + np.concatenate([[0], np.cumsum(lengths)])
    random = np.random.default_rng(seed)
    signal = random.standard_normal((2, edges[-1] + 3))
    chunks = -(-max(lengths) // chunk)
    ours, theirs = random.standard_normal((1, len(lengths) + 1, 1 + chunks, 2, 2 * chunk)).repeat(2, axis=0)
    kernels.cut_chunks(signal, edges, chunk, ours)
    reference.cut_chunks(signal, edges, chunk, theirs)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("chunk", "frames"), [(8, 0), (8, 3), (8, 8), (8, 100), (64, 10), (64, 64)])
def test_keep_history(chunk, frames):
    signal = np.random.default_rng(1).standard_normal((2, chunk + frames))
    expected = signal.copy()
    kernels.keep_history(signal, chunk, frames)
    reference.keep_history(expected, chunk, frames)
    np.testing.assert_array_equal(signal[:, :chunk], expected[:, :chunk])


@pytest.mark.parametrize("value", [1.0, -1e-300, 5e-324, np.nan, np.inf])
def test_is_silent(value):
    signal = np.zeros((2, 30))
    signal[0, 3] = -0.0
    assert kernels.is_silent(signal, 0, 30) is True
    signal[1, 20] = value
    for start, stop in ((0, 30), (20, 21), (0, 20), (21, 30)):
        assert kernels.is_silent(signal, start, stop) == reference.is_silent(signal, start, stop)


@pytest.mark.parametrize("half", [8, 64, 120])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("lengths", [[16], [0, 1, 64, 65, 300]])
def test_correlate(half, heads, lengths):
    random = np.random.default_rng(half)
    edges = half + np.concatenate([[0], np.cumsum(lengths)])
    chunks = -(-max(lengths) // half)
    spectra = random_spectra(random, (len(lengths) + 1) * (1 + chunks), half)
    spectra = spectra.reshape(len(lengths) + 1, 1 + chunks, 2, -1)
    weights = random_heads(random, heads, half)
    ours, theirs = np.full((2, len(lengths), heads), np.nan)
    kernels.correlate(spectra, SIGN, weights, edges, half, ours)
    reference.correlate(spectra, SIGN, weights, edges, half, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("half", [8, 40, 64, 72, 200])
@pytest.mark.parametrize(
    ("step", "blocks", "first", "count"), [(1, 1, 0, 1), (1, 3, 1, 4), (3, 2, 2, 3), (2, 1, 4, 1)]
)
def test_apply_hrirs(half, step, blocks, first, count):
    random = np.random.default_rng(half)
    spectra = random_spectra(random, step * blocks, half)
    heads = random_heads(random, first + count, half)
    ours, theirs = np.zeros((2, count * blocks, 2 * (2 * half + fft.ROW_PADDING)))
    kernels.apply_hrirs(spectra, step, blocks, heads, first, count, ours)
    reference.apply_hrirs(spectra, step, blocks, heads, first, count, theirs)
    size = 4 * half
    np.testing.assert_allclose(ours[:, :size], theirs[:, :size], rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(("start", "stop"), [(0, 8), (8, 48), (16, 16), (0, 48)])
def test_row_energies(start, stop):
    rows = np.random.default_rng(2).standard_normal((5, 56))
    rows[3, 20] = np.nan
    rows[4, 20] = np.inf
    ours, theirs = np.full((2, 5), -1.0)
    kernels.row_energies(rows, start, stop, ours)
    reference.row_energies(rows, start, stop, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def overlap_add_case(random, heads, blocks, block, overlap, first, scale):
    rows = scale * random.standard_normal((heads * blocks, block + overlap + 24))
    carry = scale * random.standard_normal((heads, overlap))
    return rows, carry, (first + heads + 1, 16 + blocks * block)


cases = {
    "heads": st.integers(1, 3),
    "blocks": st.integers(1, 4),
    "block": st.integers(1, 6).map(lambda n: 8 * n),
    "part": st.integers(0, 6),
    "first": st.integers(0, 2),
    "seed": seeds,
}


@given(**cases, level=st.sampled_from([1.0, 1000.0, 30_000.0, 1e9]))
def test_overlap_add_int16(heads, blocks, block, part, first, seed, level):
    random = np.random.default_rng(seed)
    overlap = 8 * min(part, block // 8)
    rows, carry, shape = overlap_add_case(random, heads, blocks, block, overlap, first, level)
    wanted = random.integers(0, blocks * block + 1, shape[0])
    results = []
    for kernel in (kernels.overlap_add_int16, reference.overlap_add_int16):
        out, clipped, ends = np.full(shape, 77, np.int16), np.zeros(shape[0], np.int64), carry.copy()
        kernel(rows.copy(), blocks, 2 * (block // 2), ends, first, out, 16, wanted, clipped)
        results.append((out, clipped, ends))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@given(**cases)
def test_overlap_add_float64(heads, blocks, block, part, first, seed):
    overlap = 8 * min(part, block // 8)
    rows, carry, shape = overlap_add_case(
        np.random.default_rng(seed), heads, blocks, block, overlap, first, 1.0
    )
    results = []
    for kernel in (kernels.overlap_add_float64, reference.overlap_add_float64):
        out, ends = np.full(shape, np.nan), carry.copy()
        kernel(rows.copy(), blocks, block, ends, first, out, 16)
        results.append((out, ends))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


TINY = np.finfo(float).tiny
ROUNDING = {
    -0.0: 0,
    0.999: 0,
    -0.999: 0,
    1.0: 1,
    -1.0: -1,
    5e-324: 0,
    -TINY: 0,
    124 - 1e-11: 124,
    -124 + 1e-11: -124,
    124 - 1e-8: 123,
    -124 + 1e-8: -123,
    123.5: 123,
    -123.5: -123,
    32767.0: 32767,
    32767.999: 32767,
    32768.0: 32767,
    1e300: 32767,
    np.inf: 32767,
    -32768.0: -32768,
    -32768.999: -32768,
    -1e300: -32768,
    -np.inf: -32768,
}


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize(("value", "expected"), ROUNDING.items())
def test_truncation_and_clipping(place, value, expected):
    row = np.zeros((1, 24))
    row[0, 8 + place] = value
    out, clipped = np.zeros((1, 16), np.int16), np.zeros(1, np.int64)
    kernels.overlap_add_int16(row, 1, 16, np.zeros((1, 8)), 0, out, 0, np.array([16]), clipped)
    assert out[0, 8 + place] == expected
    assert clipped[0] == (value > 32767.0 + kernels.SNAP or value < -32768.0 - kernels.SNAP)
    assert np.count_nonzero(out) == (expected != 0)
