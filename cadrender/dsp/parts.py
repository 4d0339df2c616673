"""Any part of a sample's at-mic stems, at one to two times the cost of reading it from stored files.

The loudness of whole stems is known, and with it each one's gain; what remains is convolving the part and the
few frames before it. One compiled loop, free of the GIL, takes a sample's stems from interleaved PCM to the
caller's array, in windows sized to suit the part; see :mod:`cadrender.dsp.part_kernels`.

Values are those of :func:`cadrender.dsp.convolve.convolve` over the whole stem: identical if truncated to 16
bits, otherwise equal to about 1e-15 of full scale.
"""

import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from cadrender.dsp import part_kernels
from cadrender.dsp.arrays import Floats, Samples
from cadrender.dsp.fft import pyfftw
from cadrender.dsp.grid import Grid
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import full_scale

# Nanoseconds per pair of windows, all included, measured (AVX-512); longer ones are extrapolated. Only the ratios
# matter: they determine the length.
_WINDOW_NS = {1024: 5670, 2048: 12700, 4096: 29200, 8192: 62900, 16384: 146000}
_LENGTHS = tuple(1 << e for e in range(10, 21))

_RENDER = {
    ("double", True): part_kernels.render_pcm,
    ("double", False): part_kernels.render_floats,
    ("single", True): part_kernels.render_both_pcm,
    ("single", False): part_kernels.render_both_floats,
}
# Smallest part, in frames, that a helper may share, and into how many pieces it is then divided.
_WORTH_HELP = 1 << 16
_PIECES = 8

helpers: ContextVar[Executor | None] = ContextVar("helpers", default=None)
"""The executor that may share the work of a large part of a single stem; none by default."""

_TYPES = ("int16", "int32", "float32", "float64")
_LIKE = {np.dtype(name): np.empty(0, name) for name in ("int16", "float64")}


def history(heads: Heads, head: int = 0) -> int:
    """Frames before a part on which its first frame depends."""
    return heads.delays[head] + heads.trimmed_taps - 1


def convolve_parts(
    parts: Sequence[Samples],
    before: int,
    frames: int,
    heads: Heads,
    gains: npt.ArrayLike,
    *,
    head: int = 0,
    pcm16: bool = True,
    dtype: npt.DTypeLike | None = None,
    out: Samples | None = None,
    precision: str = "double",
) -> Samples:
    """Apply one head's HRIRs and each stem's gain to parts of some stems.

    Parameters
    ----------
    parts : sequence of ndarray
        For each stem (n, 2), interleaved stereo, all int16, int32, float32 or float64: its frames from
        ``start - before`` on. Missing frames count as zeros, like those before a stem's first frame and after its
        last.
    before : int
        Frames of each part before the first wanted one: ``min(start, history(heads, head))`` or more.
    frames : int
        Number of frames wanted.
    heads : Heads
        The HRIRs.
    gains : array_like
        (stems,): linear factors, not negative. A gain of 0 gives zeros.
    head : int
        Index of the head.
    pcm16 : bool
        Whether values are clipped to 16 bits and truncated toward zero.
    dtype : str or dtype, optional
        int16, float32 or float64; with `pcm16` the latter two are int16 / 32768. Default: that of `out`, or int16
        with `pcm16` and float64 without.
    out : ndarray, optional
        (stems, frames, 2), C-contiguous: filled and returned.
    precision : str
        "double", or "single": three fifths of the time, with errors of 2e-7 of the signal's level (root mean square);
        enough for training, but the samples differ from the files'.

    Returns
    -------
    ndarray
        (stems, frames, 2).

    Raises
    ------
    ValueError
        If shapes, types or gains do not fit.
    """
    parts = list(parts)
    if not parts:
        raise ValueError("no parts: at least one stem is needed")
    source = _source_type(parts)
    factors = np.array(gains, np.float64)
    if factors.shape != (len(parts),) or not all(0.0 <= factor < math.inf for factor in factors.tolist()):
        raise ValueError(f"gains {factors}: {len(parts)} finite factors, none negative, are needed")
    if out is None:
        out = np.empty((len(parts), frames, 2), dtype or (np.int16 if pcm16 else np.float64))
    _check_out(out, (len(parts), frames, 2), dtype, pcm16)
    if frames == 0:
        return out
    if (precision, pcm16) not in _RENDER:
        raise ValueError(f"precision {precision!r}: double or single is needed")
    grid = window(heads, len(parts), frames)
    passes, twiddles = transform(grid.length, precision)
    unit = (32768.0 if pcm16 else 1.0) / (full_scale(source) * grid.length)
    if source != np.int16:  # compiling kernels for rare types takes longer than any music
        parts, source = [part.astype(np.float64) for part in parts], np.dtype(np.float64)
    addresses = np.array([part.__array_interface__["data"][0] for part in parts], np.int64)
    like, lengths = _LIKE[source], np.array([len(part) for part in parts], np.int64)
    scales, hrirs = factors * unit, spectra(heads, head, grid.length, precision)
    rows = out.reshape(len(parts), -1)

    def render(begin: int, end: int) -> None:
        _RENDER[precision, pcm16](
            addresses,
            like,
            lengths,
            before - heads.delays[head] + begin,
            scales,
            grid.length,
            grid.block,
            passes,
            twiddles,
            hrirs,
            rows[:, 2 * begin : 2 * end],
        )

    pool = helpers.get() if len(parts) == 1 and frames >= _WORTH_HELP else None
    if pool is None:
        render(0, frames)
    else:
        pair = 2 * grid.block  # blocks are taken in pairs
        _share(pool, render, frames, max(pair, frames // _PIECES // pair * pair))
    return out


def _share(pool: Executor, render: Callable[[int, int], None], frames: int, step: int) -> None:
    """Render ``step`` frames at a time, in this thread and in one of the pool's if one is free."""
    begins = iter(range(0, frames, step))  # whoever is done takes the next

    def work() -> None:
        for begin in begins:
            render(begin, min(begin + step, frames))

    other = pool.submit(work)
    try:
        work()
    finally:  # never leave while another thread writes to the caller's memory
        if not other.cancel():
            other.result()


def _source_type(parts: Sequence[Samples]) -> np.dtype[Any]:
    """The common type of all parts."""
    dtype = parts[0].dtype
    if dtype not in _TYPES:
        raise ValueError(f"parts of type {dtype}: one of {', '.join(_TYPES)} is needed")
    for part in parts:
        if part.dtype != dtype:
            raise ValueError(f"parts of types {dtype} and {part.dtype}: one type for all is needed")
        if part.ndim != 2 or part.shape[1] != 2 or not (part.flags.c_contiguous and part.flags.aligned):
            raise ValueError(f"a part of shape {part.shape}: C-contiguous, aligned (frames, 2) is needed")
    return dtype


def _check_out(out: Samples, shape: tuple[int, ...], dtype: npt.DTypeLike | None, pcm16: bool) -> None:
    accepted = ("int16", "float32", "float64") if pcm16 else ("float32", "float64")
    if out.dtype not in accepted:
        raise ValueError(f"dtype {out.dtype}: one of {', '.join(accepted)} is needed")
    if dtype is not None and out.dtype != dtype:
        raise ValueError(f"out is {out.dtype}, but dtype is {np.dtype(dtype)}")
    if out.shape != shape or not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError(f"out of shape {out.shape}: C-contiguous, writeable {shape} is needed")


def window(heads: Heads, stems: int, frames: int) -> Grid:
    """The fastest windows for a part of ``frames`` frames; the block is their last frames."""
    return _window(-(-(heads.trimmed_taps - 1) // 8) * 8, stems, frames)


@functools.lru_cache(maxsize=1024)
def _window(overlap: int, stems: int, frames: int) -> Grid:
    def cost(grid: Grid) -> float:
        longest = max(_WINDOW_NS)
        one = _WINDOW_NS.get(grid.length, _WINDOW_NS[longest] * (grid.length / longest) ** 1.2)
        return -(-stems * grid.blocks(frames) // 2) * one

    return min((Grid(n, n - overlap) for n in _LENGTHS if n > overlap), key=cost)


def _radices(length: int) -> list[int]:
    """The radices of all passes but the last (8): eights, then at least one four."""
    bits = length.bit_length() - 6
    eights = next(n for n in range(bits // 3, -1, -1) if (bits - 3 * n) % 2 == 0)
    return [8] * eights + [4] * ((bits - 3 * eights) // 2 + 1)


@functools.cache
def transform(length: int, precision: str = "double") -> tuple[npt.NDArray[np.int64], Samples]:
    """The passes of a transform.

    Returns
    -------
    passes : ndarray
        (passes, 3) int64: radix, span, and first twiddle factor, in registers.
    twiddles : ndarray
        The factors ``exp(-2 pi i q n / span)`` of each pass: for every eight ``n``, for each ``q`` but 0, eight real
        parts and eight imaginary parts; in single precision each group of eight appears twice.
    """
    passes, factors, at, span = [], [], 0, length
    for radix in _radices(length):
        turns = np.outer(np.arange(1, radix), np.arange(span // radix)) / span
        w = np.exp(-2j * np.pi * turns).reshape(radix - 1, -1, 8).transpose(1, 0, 2)
        passes.append((radix, span // 4, at))
        factors.append(np.stack([w.real, w.imag], axis=2).reshape(-1, 8))
        at += len(factors[-1])
        span //= radix
    twiddles = np.concatenate(factors)
    if precision == "single":
        twiddles = np.tile(twiddles, 2)
    return np.array(passes), aligned(twiddles, precision)


def aligned(values: Floats, precision: str = "double") -> Samples:
    """A flat copy aligned to a cache line."""
    out: Samples = pyfftw.empty_aligned(
        values.size, {"double": "float64", "single": "float32"}[precision], n=64
    )
    out[:] = values.reshape(-1)
    return out


def spectra(heads: Heads, head: int, length: int, precision: str = "double") -> Samples:
    """One head's spectra for :func:`cadrender.dsp.part_kernels.multiply`; cached with the heads."""
    return heads.once(
        (f"parts, {precision}", head), length, lambda: _spectra(heads.response(head), length, precision)
    )


def _spectra(response: Floats, length: int, precision: str) -> Samples:
    """Of (4, taps) responses: left channel to left ear, right to left, left to right, right to right."""
    passes, twiddles = transform(length)
    registers = length // 4
    nothing = np.zeros(2 * length)
    z = np.empty(2 * length)
    out = np.empty((length // 8, 4, 2, 8))
    for i, taps in enumerate(response):
        signal = np.zeros((length, 2))
        signal[: len(taps), 0] = taps
        part_kernels.first_left(signal.reshape(-1), 0, nothing, 0, registers, z, twiddles)
        part_kernels.forward(z, registers, passes, twiddles)
        part_kernels.forward_tiles(z, registers, twiddles, passes[-1, 2])
        out[:, i] = z.reshape(-1, 2, 8)
    if precision == "single":
        out = np.concatenate([out[:, [0, 1]], out[:, [3, 2]]], axis=3)
    return aligned(out, precision)
