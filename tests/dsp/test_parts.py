"""Parts of stems: every kernel against its slow twin, every value against the whole file's."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.dsp import part_kernels, parts
from cadrender.dsp.convolve import convolve
from cadrender.dsp.grid import Grid
from cadrender.dsp.hrir import Heads
from cadrender.dsp.parts import convolve_parts, history
from tests import reference

LENGTHS = (1024, 2048, 4096)
RARE = ("int32", "float32", "float64")
DTYPES = ("int16", *RARE)
seeds = st.integers(0, 2**32 - 1)


# The kernels


def test_every_kernel_has_a_twin():
    public = {
        name
        for name, function in vars(part_kernels).items()
        if hasattr(function, "py_func")
        and function.py_func.__module__ == part_kernels.__name__
        and not name.startswith("_")
    }
    composed = {"forward", "inverse"}  # of kernels with a twin
    whole = {name for name in public if name.startswith("render_")}  # compared with whole files
    twins = {name for name in public if inspect.isfunction(getattr(reference, name, None))}
    assert public - composed - whole == twins


ROUNDING = {"double": 1e-13, "single": 1e-5}
FLOATS = {"double": "float64", "single": "float32"}


def rows(seed, count, length, precision):
    """Rows of noise, one channel each or, in single precision, two."""
    size = 2 * length if precision == "double" else 4 * length
    return list(np.random.default_rng(seed).standard_normal((count, size)).astype(FLOATS[precision]))


def compare(kernel, arrays, *arguments):
    """Run a kernel and its twin on copies of arrays, which come first."""
    ours, theirs = ([array.copy() for array in arrays] for _ in range(2))
    getattr(part_kernels, kernel)(*ours, *arguments)
    getattr(reference, kernel)(*theirs, *arguments)
    for a, b in zip(ours, theirs, strict=True):
        rounding = 1e-13 if a.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(a, b, rtol=0, atol=rounding * max(1.0, np.abs(b).max()))
        assert not np.array_equal(a, arrays[0])


@pytest.mark.parametrize("kernel", ["forward_eight", "forward_four", "inverse_eight", "inverse_four"])
@pytest.mark.parametrize(
    ("length", "precision"), [*((length, "double") for length in LENGTHS), (2048, "single")]
)
def test_passes(kernel, length, precision):
    passes, twiddles = parts.transform(length, precision)
    radix = {"eight": 8, "four": 4}[kernel.partition("_")[2]]
    for found, span, at in passes.tolist():
        if found == radix:
            compare(kernel, rows(length, 1, length, precision), length // 4, span, twiddles, at)


@pytest.mark.parametrize("dtype", ["int16", "float64"])
@pytest.mark.parametrize(
    ("kernel", "precision"), [("first_left", "double"), ("first_right", "double"), ("first_both", "single")]
)
def test_first_pass(kernel, precision, dtype):
    _, twiddles = parts.transform(1024, precision)
    draw = np.random.default_rng(5)
    a, b = (draw.integers(-32768, 32768, 2 * 1024 + 13).astype(dtype) for _ in range(2))
    a[:4], b[-4:] = [-32768, 32767, -1, 0], 32767
    (ours,) = rows(1, 1, 1024, precision)
    theirs = ours.copy()
    getattr(part_kernels, kernel)(a, 2, b, 13, 256, ours, twiddles)
    getattr(reference, kernel)(a, 2, b, 13, 256, theirs, twiddles)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=32768 * ROUNDING[precision])


@pytest.mark.parametrize("precision", ["double", "single"])
def test_tiles_and_multiply(precision):
    passes, twiddles = parts.transform(1024, precision)
    hrirs = np.random.default_rng(4).standard_normal(8 * 1024).astype(FLOATS[precision])
    soon = np.zeros(5000, np.float32), np.zeros(7, np.float32), np.zeros(9000, np.int16)
    at = int(passes[-1, 2])
    compare("forward_tiles", rows(3, 1, 1024, precision), 256, twiddles, at)
    if precision == "double":
        compare("multiply", rows(3, 2, 1024, precision), 256, twiddles, at, hrirs, *soon)
    else:
        compare("multiply_both", rows(3, 1, 1024, precision), 256, twiddles, at, hrirs, *soon)
    assert not any(array.any() for array in soon)


@pytest.mark.parametrize("length", [*LENGTHS, 8192, 16384, 65536])
def test_the_passes_together_are_a_transform(length):
    passes, twiddles = parts.transform(length)
    signal = np.random.default_rng(length).standard_normal((2, length, 2))
    z = np.empty(2 * length)
    a, b = signal.reshape(2, -1)
    part_kernels.first_right(a, 0, b, 0, length // 4, z, twiddles)
    part_kernels.forward(z, length // 4, passes, twiddles)
    part_kernels.forward_tiles(z, length // 4, twiddles, passes[-1, 2])
    expected = np.fft.fft(signal[0, :, 1] + 1j * signal[1, :, 1])[reference.bin_order(length, passes)]
    error = reference.unpacked(z) - expected
    assert np.linalg.norm(error) < 1e-15 * np.linalg.norm(expected)


@pytest.mark.parametrize("kernel", ["put_pcm", "put_both_pcm", "put_floats", "put_both_floats"])
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("gain", [1.0, 12.3])
def test_put(kernel, dtype, gain):
    if kernel.endswith("floats"):
        dtype = {"int16": "float32"}.get(dtype, dtype)
    left, right = 20000.0 * np.random.default_rng(2).standard_normal((2, 16 * 8))
    left[16:32] = [0.0, -0.0, 1e30, -1e30, 3 - 1e-11, -3 + 1e-11, 32767.5, -32768.5] * 2
    right[16:32] = [0.999, -0.999, 32766.9999, 32768.0, -32769.0, 5e-324, 7.0, -7.0] * 2
    if "both" in kernel:
        left = np.concatenate([left.reshape(-1, 8), right.reshape(-1, 8)], axis=1).reshape(-1)
        left = right = left.astype(np.float32)
    for frames in (0, 1, 7, 8, 9, 16, 37):
        ours, theirs = np.full((2, 2 * frames + 9), 77, dtype)
        for out, module in ((ours, part_kernels), (theirs, reference)):
            getattr(module, kernel)(left, right, 2, gain, out, 3, frames, np.empty(16, dtype))
        np.testing.assert_array_equal(ours, theirs)
        if kernel.endswith("pcm"):
            assert not np.signbit(ours[ours == 0]).any()
        assert (ours[:3] == 77).all() and (ours[3 + 2 * frames :] == 77).all()


@pytest.mark.parametrize(("start", "first", "last"), [(-6, 0, 10), (4, 4, 20), (30, 30, 40), (-50, 0, 0)])
def test_cut_window(start, first, last):
    source = np.arange(1, 41, dtype=np.int16)
    first, last = max(first, start), max(last, start)
    ours, theirs = np.full((2, 64), -1, np.int16)
    part_kernels.cut_window(source, start, first, last, ours)
    reference.cut_window(source, start, first, last, theirs)
    np.testing.assert_array_equal(ours, theirs)


# Parts of files


def noise_heads(taps, delay=0, seed=0, count=1):
    """Decaying noise at a level that hardly changes a signal's, after a delay."""
    draw = np.random.default_rng(seed)
    shape = np.exp(-5 * np.arange(taps) / taps)[:, None] / np.sqrt(taps)
    responses = draw.standard_normal((count, 2, taps, 2)) * shape
    return Heads([tuple(np.pad(each, ((0, 0), (delay, 0), (0, 0)))) for each in responses])


def samples(dtype, frames, seed, level=0.2):
    signal = np.clip(level * np.random.default_rng(seed).standard_normal((frames, 2)), -1.0, 1.0 - 2**-15)
    scale = {"int16": 2.0**15, "int32": 2.0**31}.get(dtype, 1.0)
    return (signal * scale).astype(dtype)


def whole(stems, heads, gains, head=0, pcm16=True):
    """The full-file way: every stem from its first to its last frame."""
    return np.stack(
        [
            np.concatenate(
                [piece for _, piece, _ in convolve(stem, heads.alone(head), [gain], pcm16=pcm16, keep=True)]
            )
            for stem, gain in zip(stems, gains, strict=True)
        ]
    )


def part_of(stems, start, frames, heads, gains, head=0, **options):
    """Frames ``start .. start + frames`` from the parts they need, and nothing else."""
    before = min(start, history(heads, head))
    pieces = [stem[start - before : start + frames].copy() for stem in stems]
    return convolve_parts(pieces, before, frames, heads, gains, head=head, **options)


def check(stems, start, frames, heads, gains, files, head=0, *, dtype="float32"):
    expected = files[:, start : start + frames]
    np.testing.assert_array_equal(part_of(stems, start, frames, heads, gains, head), expected)
    if stems[0].dtype == "int16":
        ours = part_of(stems, start, frames, heads, gains, head, dtype=dtype)
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, (expected / 32768.0).astype(dtype))


TAPS = (1, 2, 8, 9, 384, 641, 1025, 4096, 8192)


@pytest.mark.parametrize(
    ("taps", "dtype", "out"),
    [
        *((taps, "int16", "float32") for taps in TAPS),
        # Other types have their own kernels.
        *(
            pytest.param(taps, dtype, out, marks=pytest.mark.slow)
            for taps in TAPS
            for dtype, out in (("int16", "float64"), *((dtype, "float32") for dtype in RARE))
        ),
    ],
)
def test_parts_are_the_files(dtype, taps, out):
    delay = {8: 1, 384: 37, 641: 4}.get(taps, 0)
    heads = noise_heads(taps, delay, seed=taps)
    frames = 30_001
    stems = [samples(dtype, frames, seed) for seed in range(3)]
    gains = [0.7, 1.9, 0.05]
    files = whole(stems, heads, gains)
    draw = np.random.default_rng(taps)
    for start, count in (
        (0, 1),
        (0, taps),
        (delay // 2, 3),
        (1, 5000),
        (taps + delay, 2049),
        (frames - 1, 1),
        (frames - 7, 7),
        (0, frames),
        *((int(a), int(b)) for a, b in draw.integers(1, 15_000, (3, 2))),
    ):
        check(stems, start, count, heads, gains, files, dtype=out)


@given(
    stems=st.integers(1, 5),
    frames=st.integers(1, 9000),
    start=st.integers(0, 9000),
    count=st.integers(1, 9000),
    taps=st.sampled_from([1, 7, 383, 384, 1000]),
    delay=st.integers(0, 60),
    level=st.sampled_from([1e-4, 0.1, 3.0]),
    seed=seeds,
)
def test_any_part(stems, frames, start, count, taps, delay, level, seed):
    draw = np.random.default_rng(seed)
    start = min(start, frames - 1)
    count = min(count, frames - start)
    heads = noise_heads(taps, delay, seed)
    signals = [samples("int16", frames, seed + i, level) for i in range(stems)]
    for signal in signals:
        if draw.random() < 0.3:  # digital silence here and there, or everywhere
            a, b = sorted(draw.integers(0, frames + 1, 2))
            signal[a:b] = 0
    gains = draw.choice([0.0, 0.03, 1.0, 2.5, 40.0], stems)
    check(signals, start, count, heads, gains, whole(signals, heads, gains))


def test_an_independent_reference():
    """Against convolution in the time domain, not the engine's own whole-file rendering."""
    draw = np.random.default_rng(8)
    left, right = (0.3 * draw.standard_normal((300, 2)) * np.exp(-np.arange(300) / 60)[:, None] for _ in "LR")
    stem = samples("int16", 12_000, 3)
    expected, _ = reference.to_pcm16(0.8 * reference.convolve(stem / 32768, left, right))
    heads = Heads([(left, right)])
    for start, frames in ((0, 12_000), (5001, 1777), (11_990, 10)):
        ours = part_of([stem], start, frames, heads, [0.8])
        np.testing.assert_array_equal(ours[0], expected[start : start + frames])


def test_full_scale_is_clipped():
    heads = noise_heads(384)
    wave = np.where(np.arange(9000) // 50 % 2, 32767, -32768).astype(np.int16)
    stems = [np.stack([wave, wave], axis=1), np.full((9000, 2), -32768, np.int16)]
    files = whole(stems, heads, [3.0, 30.0])
    assert {-32768, 32767} <= set(files[0].ravel())
    check(stems, 777, 6001, heads, [3.0, 30.0], files)


def test_nothing_from_zeros():
    """Zero gains and silent stems: zeros, without a sign, whatever else is in the sample."""
    loud, silent = samples("int16", 6000, 1), np.zeros((6000, 2), np.int16)
    out = part_of([loud, silent, loud], 100, 5000, noise_heads(384), [1.0, 1.0, 0.0], dtype="float32")
    assert out[0].any()
    assert not out[1:].any() and not np.signbit(out[1:]).any()


@pytest.mark.slow
def test_nothing_from_hrirs_of_zeros():
    loud = samples("int16", 6000, 1)
    nothing = Heads([(np.zeros((64, 2)), np.zeros((64, 2)))])
    out = part_of([loud], 100, 5000, nothing, [1.0], pcm16=False)
    assert not out.any()


def test_a_quiet_stem_beside_a_loud_one():
    """Two stems may share a transform: the loud one's rounding errors stay below the quiet one's steps."""
    heads = noise_heads(384)
    stems = [samples("int16", 500, 1, level=2.0), samples("int16", 500, 2, level=1e-4)]
    for gains in ([1.0, 1.0], [0.01, 100.0], [100.0, 0.01]):
        check(stems, 0, 500, heads, gains, whole(stems, heads, gains))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_unquantised(dtype):
    """The values themselves: within rounding of the full-file way."""
    heads = noise_heads(384, 21)
    stems = [samples(dtype, 20_000, seed) for seed in range(2)]
    gains = [0.7, 1.9]
    files = whole(stems, heads, gains, pcm16=False)
    for start, frames in ((0, 20_000), (5, 1), (12_345, 6789)):
        ours = part_of(stems, start, frames, heads, gains, pcm16=False)
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, files[:, start : start + frames], rtol=0, atol=2e-15)


@pytest.mark.slow
def test_unquantised_as_float32():
    heads = noise_heads(384, 21)
    stems = [samples("int16", 20_000, seed) for seed in range(2)]
    for start, frames in ((0, 20_000), (5, 1), (12_345, 6789)):
        single, double = (
            part_of(stems, start, frames, heads, [0.7, 1.9], pcm16=False, dtype=dtype)
            for dtype in ("float32", "float64")
        )
        np.testing.assert_array_equal(single, double.astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_single_precision(dtype):
    """Errors of some 1e-7 of the level, for any source type; 16 bits differ by at most one step."""
    heads = noise_heads(384, 21)
    stems = [samples(dtype, 20_000, seed) for seed in range(3)]
    gains = [0.7, 1.9, 0.0]
    files = whole(stems, heads, gains, pcm16=False)
    for start, frames in ((0, 20_000), (5, 1), (12_345, 6789)):
        expected = files[:, start : start + frames]
        ours = part_of(stems, start, frames, heads, gains, pcm16=False, precision="single", dtype="float32")
        assert np.abs(ours - expected).max() < 2e-6
        assert np.sqrt(np.mean((ours - expected) ** 2)) < 2e-7 * np.sqrt(np.mean(files**2))
        assert not np.array_equal(ours, expected.astype(np.float32)) or frames == 1
        if dtype != "int16":
            continue
        steps = part_of(stems, start, frames, heads, gains, precision="single").astype(int)
        steps -= part_of(stems, start, frames, heads, gains)
        assert np.abs(steps).max() <= 1 and np.count_nonzero(steps) < 0.02 * steps.size


def test_any_head_of_several():
    heads = noise_heads(300, 12, count=3)
    stems = [samples("int16", 9000, seed) for seed in range(2)]
    for head in range(3):
        check(stems, 1111, 4321, heads, [0.5, 1.0], whole(stems, heads, [0.5, 1.0], head), head)


@pytest.mark.parametrize("length", [1024, 2048, 4096, 8192])
def test_every_length_gives_the_same(length, monkeypatch):
    heads = noise_heads(384)
    monkeypatch.setattr(parts, "window", lambda *_: Grid(length, length - 384))
    stems = [samples("int16", 30_000, seed) for seed in range(3)]
    check(stems, 100, 29_000, heads, [0.5, 1.0, 2.0], whole(stems, heads, [0.5, 1.0, 2.0]))


def test_more_before_than_needed_changes_nothing():
    heads = noise_heads(100)
    stem = samples("int16", 5000, 1)
    ours = convolve_parts([stem], 3000, 1500, heads, [1.0])
    np.testing.assert_array_equal(ours, part_of([stem], 3000, 1500, heads, [1.0]))


def test_past_the_end_there_are_zeros_to_come():
    """Frames missing after a part's last one count as zeros."""
    heads = noise_heads(100)
    stem = samples("int16", 5000, 1)
    longer = np.concatenate([stem, np.zeros((500, 2), np.int16)])
    ours = convolve_parts([stem], 0, 5500, heads, [1.0])
    np.testing.assert_array_equal(ours, whole([longer], heads, [1.0]))
    assert ours[0, 5000:5099].any() and not ours[0, 5099:].any()


def test_out_is_filled():
    heads = noise_heads(100)
    stem = samples("int16", 5000, 1)
    memory = np.full((4, 3000, 2), 9.0, np.float32)
    out = memory[1:3]
    assert convolve_parts([stem, stem], 0, 3000, heads, [1.0, 0.5], out=out) is out
    expected = convolve_parts([stem, stem], 0, 3000, heads, [1.0, 0.5], dtype="float32")
    np.testing.assert_array_equal(out, expected)
    assert (memory[0] == 9.0).all() and (memory[3] == 9.0).all()
    assert convolve_parts([stem], 0, 0, heads, [1.0]).shape == (1, 0, 2)


def test_samples_that_do_not_begin_on_a_cache_line():
    heads = noise_heads(100)
    stem = samples("int16", 5000, 1)
    raw = b"\0" * 6 + stem.tobytes()
    view = np.frombuffer(raw, np.int16, offset=6).reshape(-1, 2)
    np.testing.assert_array_equal(convolve_parts([view], 0, 5000, heads, [1.0]), whole([stem], heads, [1.0]))


def test_threads_share_nothing():
    """Several concurrent threads, of the same and of other shapes, get the results of a single one."""
    heads = noise_heads(384, count=2)
    stems = [samples("int16", 40_000, seed) for seed in range(5)]
    jobs = [(start, 9000 + 777 * start % 4000, start % 2) for start in range(0, 20_000, 997)]
    gains = [0.5, 0.6, 0.7, 0.8, 0.9]
    expected = [part_of(stems, start, frames, heads, gains, head) for start, frames, head in jobs]
    failures = []

    def work(offset):
        for i in range(3 * len(jobs)):
            start, frames, head = jobs[(i + offset) % len(jobs)]
            ours = part_of(stems, start, frames, heads, gains, head)
            if not np.array_equal(ours, expected[(i + offset) % len(jobs)]):
                failures.append((offset, i))

    threads = [threading.Thread(target=work, args=(5 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("taps", [384, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_helper_shares_a_large_part(taps, busy):
    """Or nothing of it, if busy."""
    heads = noise_heads(taps, 37)
    stem = samples("int16", 90_000, 1)
    expected = whole([stem], heads, [0.8])[:, 5001:85_000]
    memory = np.full((1, 80_999, 2), 77, np.int16)
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        token = parts.helpers.set(pool)
        try:
            if busy:
                pool.submit(release.wait)
            part_of([stem], 5001, 79_999, heads, [0.8], out=memory[:, :79_999])
            if busy:
                assert not release.is_set()
        finally:
            release.set()
            parts.helpers.reset(token)
    np.testing.assert_array_equal(memory[:, :79_999], expected)
    assert (memory[:, 79_999:] == 77).all()


def int16(*shape):
    return np.zeros(shape, np.int16)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], 0, 5, [1.0]), {}, "no parts"),
        (([int16(9, 2).astype(np.uint8)], 0, 5, [1.0]), {}, "uint8: one of int16, int32, float32, float64"),
        (([int16(9, 2).astype(">i2")], 0, 5, [1.0]), {}, ">i2: one of"),
        (([int16(9, 2), np.zeros((9, 2))], 0, 5, [1.0, 1.0]), {}, "types int16 and float64"),
        (([int16(9)], 0, 5, [1.0]), {}, r"shape \(9,\)"),
        (([int16(2, 9).T], 0, 5, [1.0]), {}, "C-contiguous"),
        (([int16(9, 2)], 0, 5, [1.0, 2.0]), {}, "1 finite factors"),
        (([int16(9, 2)], 0, 5, [-1.0]), {}, "none negative"),
        (([int16(9, 2)], 0, 5, [np.nan]), {}, "finite"),
        (([int16(9, 2)], 0, 5, [1.0]), {"dtype": "int32"}, "int32: one of int16, float32, float64"),
        (([int16(9, 2)], 0, 5, [1.0]), {"dtype": "int16", "pcm16": False}, "int16: one of float32, float64"),
        (([int16(9, 2)], 0, 5, [1.0]), {"precision": "half"}, "precision 'half': double or single"),
        (([int16(9, 2)], 0, 5, [1.0]), {"out": int16(1, 6, 2)}, r"out of shape \(1, 6, 2\)"),
        (([int16(9, 2)], 0, 5, [1.0]), {"out": int16(2, 5, 1).T}, "C-contiguous"),
        (([int16(9, 2)], 0, 5, [1.0]), {"out": int16(1, 5, 2), "dtype": "float32"}, "out is int16"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    given, before, frames, gains = arguments
    with pytest.raises(ValueError, match=message):
        convolve_parts(given, before, frames, noise_heads(5), gains, **options)
