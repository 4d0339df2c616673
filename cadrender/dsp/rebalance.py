"""Rebalanced targets: the gain mixer of the challenge (section 7 of ``docs/contract.md``)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cadrender.dsp.arrays import Floats, Samples, checked_dtype, checked_samplerate, checked_signal, is_finite
from cadrender.dsp.mix import BLOCK, MixMeter, mix_float64, mix_int16
from cadrender.stems import MIXTURE, VDBO

SILENCE = -80.0
"""LUFS that stands in for minus infinity when a target is brought to its level."""


class BlockSource(Protocol):
    """A signal that is read block by block."""

    def read(self, start: int, out: Samples) -> None:
        """Fill ``out`` (2 * frames,) with interleaved stereo, starting at frame ``start``."""


class ArraySource:
    """A signal in memory, (frames, 2), as a :class:`BlockSource`."""

    def __init__(self, signal: Samples) -> None:
        self._flat = signal.reshape(-1)

    def read(self, start: int, out: Samples) -> None:
        """Copy the frames from ``start`` on."""
        out[:] = self._flat[2 * start : 2 * start + len(out)]


@dataclass(frozen=True)
class MixLevel:
    """The loudness of a rebalanced sum, and the gain that brings it to the mixture's level.

    Attributes
    ----------
    before : float
        LUFS of the weighted sum; minus infinity for silence.
    mixture : float
        LUFS of the at-mic mixture; minus infinity for silence.
    """

    before: float
    mixture: float

    @property
    def gain_db(self) -> float:
        """The gain of the sum in dB; silence counts as -80 LUFS for both."""
        before, mixture = (SILENCE if math.isinf(lufs) else lufs for lufs in (self.before, self.mixture))
        return mixture - before

    @property
    def gain(self) -> float:
        """The linear factor."""
        return 10.0 ** (self.gain_db / 20.0)

    @property
    def after(self) -> float:
        """LUFS of the target (before it is clipped); minus infinity for silence."""
        return self.before + self.gain_db


def linear(gains_db: Sequence[float]) -> Floats:
    """Linear factors of decibels."""
    return np.array([10.0 ** (gain / 20.0) for gain in gains_db])


class StemBlocks:
    """Signals side by side, block by block; can be iterated over repeatedly.

    Each iteration yields ``block``, (sources, 2 * BLOCK) interleaved, and the number of frames filled. Signals are
    kept for the next iteration if memory is given, and read again otherwise.

    Parameters
    ----------
    sources : sequence of BlockSource
    frames : int
        Their length.
    dtype : dtype
        Their type.
    memory : ndarray, optional
        :meth:`bytes_needed` bytes to keep them in.
    """

    def __init__(
        self,
        sources: Sequence[BlockSource],
        frames: int,
        dtype: npt.DTypeLike,
        memory: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        self._sources, self._frames = sources, frames
        shape = (1 if memory is None else -(-frames // BLOCK), len(sources), 2 * BLOCK)
        if memory is None:
            self._blocks: Samples = np.empty(shape, dtype)
        else:
            needed = self.bytes_needed(len(sources), frames, dtype)
            self._blocks = memory[:needed].view(dtype).reshape(shape)
        self._kept = 0

    @staticmethod
    def bytes_needed(sources: int, frames: int, dtype: npt.DTypeLike) -> int:
        """Bytes needed to keep signals."""
        return sources * -(-frames // BLOCK) * 2 * BLOCK * np.dtype(dtype).itemsize

    def __iter__(self) -> Iterator[tuple[Samples, int]]:
        for number, start in enumerate(range(0, self._frames, BLOCK)):
            count = min(BLOCK, self._frames - start)
            block = self._blocks[number % len(self._blocks)]
            if number >= self._kept:
                for source, row in zip(self._sources, block, strict=True):
                    source.read(start, row[: 2 * count])
                if len(self._blocks) > 1:
                    self._kept = number + 1
            yield block, count


class KeptSum:
    """A weighted sum kept while it is measured; iterated over like a one-row :class:`StemBlocks`.

    Parameters
    ----------
    frames : int
        Its length.
    memory : ndarray
        :meth:`bytes_needed` bytes to keep it in.
    """

    def __init__(self, frames: int, memory: npt.NDArray[np.uint8]) -> None:
        self._frames = frames
        self._row = memory[: self.bytes_needed(frames)].view(np.float64)[None]

    @staticmethod
    def bytes_needed(frames: int) -> int:
        """Bytes needed to keep a sum."""
        return 2 * -(-frames // 4) * 4 * 8

    def place(self, start: int) -> Floats:
        """The sum's memory starting at frame `start`."""
        return self._row[0, 2 * start :]

    def __iter__(self) -> Iterator[tuple[Floats, int]]:
        for start in range(0, self._frames, BLOCK):
            yield self._row[:, 2 * start : 2 * (start + BLOCK)], min(BLOCK, self._frames - start)


def mix_levels(
    stems: StemBlocks,
    mixture: StemBlocks,
    frames: int,
    samplerate: int,
    weights: Floats,
    kept: KeptSum | None = None,
) -> list[MixLevel]:
    """Measure weighted sums of stems, and their mixture.

    Parameters
    ----------
    stems, mixture : StemBlocks
    frames : int
        Their length.
    samplerate : int
        In hertz.
    weights : ndarray
        (sums, stems): linear factors.
    kept : KeptSum, optional
        Filled with the sum; only if there is just one.

    Raises
    ------
    ValueError
        If the signals are shorter than 400 ms.
    """
    meter = MixMeter(frames, samplerate, weights)
    start = 0
    for (block, count), (target, _) in zip(stems, mixture, strict=True):
        meter.feed(block, target, count, None if kept is None else kept.place(start))
        start += count
    loudness, sums = meter.loudness()
    return [MixLevel(before, loudness) for before in sums]


def rebalance(
    stems: Mapping[str, npt.ArrayLike],
    gains_db: Mapping[str, float],
    mixture: npt.ArrayLike,
    samplerate: int,
    dtype: str = "int16",
) -> Samples:
    """Make the rebalanced target of a scene.

    Each at-mic stem is scaled by its gain, and their sum is brought to the loudness of the at-mic mixture.

    Parameters
    ----------
    stems : mapping of str to array_like
        The at-mic signals of vocals, drums, bass and other, (frames, 2): int16, int32 (fractions of their full
        scale), float32 or float64 (full scale 1).
    gains_db : mapping of str to float
        Gain of each stem in dB.
    mixture : array_like
        The at-mic mixture, (frames, 2).
    samplerate : int
        In hertz.
    dtype : {"int16", "float64"}
        int16 is clipped and truncated toward zero as the challenge does; float64 is neither.

    Returns
    -------
    ndarray
        (frames, 2).

    Raises
    ------
    TypeError
        If an array has another type; the byte order and memory layout do not matter.
    ValueError
        If a stem or a gain is missing or unknown, shapes differ, the signals are shorter than 400 ms, a value is
        not finite, or `dtype` is neither of the two.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(1)
    >>> stems = {name: random.integers(-4000, 4000, (44100, 2), dtype=np.int16) for name in VDBO}
    >>> gains = {"vocals": 6, "drums": 0, "bass": -3, "other": 0}
    >>> rebalance(stems, gains, sum(stems.values()), 44100).shape
    (44100, 2)
    """
    dtype = checked_dtype(dtype)
    samplerate = checked_samplerate(samplerate)
    for what, given in (("stems", stems), ("gains_db", gains_db)):
        if not isinstance(given, Mapping):
            raise TypeError(f"{what} is a {type(given).__name__}; a mapping of {', '.join(VDBO)} is needed")
        if set(given) != set(VDBO):
            raise ValueError(f"{what} of {', '.join(sorted(map(str, given)))}; expected {', '.join(VDBO)}")
    arrays = {**{stem: stems[stem] for stem in VDBO}, MIXTURE: mixture}
    signals = {name: checked_signal(name, array) for name, array in arrays.items()}
    frames = len(signals[MIXTURE])
    for name, signal in signals.items():
        if len(signal) != frames:
            raise ValueError(f"{name} has the shape {signal.shape}; {signals[MIXTURE].shape} is needed")
    for stem in VDBO:
        if not is_finite(gains_db[stem]):
            raise ValueError(f"gains_db[{stem!r}] is {gains_db[stem]!r}; a finite number of dB is needed")
    common = common_dtype([signal.dtype for signal in signals.values()])
    *sources, target = (ArraySource(_as(signal, common)) for signal in signals.values())
    weights = linear([gains_db[stem] for stem in VDBO])
    blocks = StemBlocks(sources, frames, common)
    (level,) = mix_levels(blocks, StemBlocks([target], frames, common), frames, samplerate, weights[None])
    out = np.empty((frames, 2), dtype)
    make = mix_int16 if dtype == "int16" else mix_float64
    at = 0
    for block, count in blocks:
        make(block, count, weights, level.gain, out[at : at + count])
        at += count
    return out


def common_dtype(dtypes: Sequence[npt.DTypeLike]) -> np.dtype[Any]:
    """The type in which signals are mixed: their own if they share one, else float64."""
    first = np.dtype(dtypes[0])
    return first if all(np.dtype(dtype) == first for dtype in dtypes) else np.dtype("float64")


def _as(signal: Samples, dtype: np.dtype[Any]) -> Samples:
    """Convert a signal to a type; integers become fractions of their full scale."""
    if signal.dtype == dtype:
        return np.ascontiguousarray(signal)
    scale = 2.0 ** (1 - 8 * signal.dtype.itemsize) if signal.dtype.kind == "i" else 1.0
    return signal * np.float64(scale)
