"""At-mic stems: a song's stem as picked up by the microphones at a head position (``docs/contract.md``, section 2)."""

import contextlib
import functools
import os
import platform
import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from cadrender.errors import AudioError, CadrenderError
from cadrender.signals.base import Copy, Made, Signal, Sink, Taker, as_dtype, as_float
from cadrender.store import read_hrir, read_stem
from cadrender.store.digest import digest_of
from cadrender.store.levels import LevelBook, LevelFiles, head_key
from cadrender.store.manifest import Input, Manifest, check_unchanged
from cadrender.store.parts import read_part
from cadrender.store.writing import quantised

if TYPE_CHECKING:
    from cadrender.dsp.hrir import Heads
    from cadrender.dsp.render import Level

# Levels kept in this process: some 300 bytes each.
_MOST_LEVELS = 100_000

# Size and mtime of a file.
_State = tuple[int, int]
# An HRIR: file, samplerate, size, mtime. Size and mtime tell a changed file from the cached one.
_Hrir = tuple[Path, int, int, int]
_Pair = tuple[_Hrir, _Hrir]

_levels: "dict[tuple[Path, _State | None, _Pair], Level]" = {}
_measured: dict[Path, threading.Lock] = {}
_measured_lock = threading.Lock()


def _renew_locks() -> None:
    """Replace the locks after a fork: one held by another thread would stay locked in the child forever."""
    global _measured_lock
    _measured_lock = threading.Lock()
    _measured.clear()


os.register_at_fork(after_in_child=_renew_locks)


@dataclass(frozen=True)
class AtMic(Signal):
    """One stem of a song or excerpt at one head position.

    Attributes
    ----------
    stem : str
        ``mixture``, ``vocals``, ``drums``, ``bass`` or ``other``.
    source : pathlib.Path
        The stem's file.
    left_hrir, right_hrir : pathlib.Path
        The HRIRs of the left and right loudspeakers.
    frames, samplerate : int
        The stem's length, and its rate in hertz.
    subtype : str
    level_files : LevelFiles, optional
        Where its measured level is kept; default: in this process's memory only.
    measured_with : tuple of (pathlib.Path, pathlib.Path)
        HRIRs of other positions to measure at the same time: four cost little more than one.
    copy : Copy, optional
    """

    product: ClassVar[str] = "at-mic"
    unrecorded_counts: ClassVar[bool] = True
    stem: str
    source: Path
    left_hrir: Path
    right_hrir: Path
    frames: int
    samplerate: int
    subtype: str = "PCM_16"
    level_files: LevelFiles | None = field(default=None, compare=False)
    measured_with: tuple[tuple[Path, Path], ...] = field(default=(), compare=False, repr=False)
    copy: Copy | None = field(default=None, compare=False, repr=False)

    def parameters(self) -> dict[str, Any]:
        """None: it depends only on its inputs."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """The stem's file and the two HRIRs."""
        return {"source": self.source, "left_hrir": self.left_hrir, "right_hrir": self.right_hrir}

    def state(self) -> Hashable:
        """Size and mtime of the stem's file and the two HRIRs."""
        return tuple((file, size_and_time(file)) for file in self.inputs().values())

    def level(self, state: _State | None = None) -> "Level":
        """The stem's loudness before and after the HRIRs, measured once and kept.

        Parameters
        ----------
        state : (int, int), optional
            Size and mtime of the source, if known.

        Raises
        ------
        AudioError
            If the song or an HRIR cannot be used.
        """
        return self._level(state or size_and_time(self.source), _keys_of(self))

    @property
    def is_measured(self) -> bool:
        """Whether its level is known, without reading its source or measuring."""
        book = self.book()
        source = book.known_source(self.source)
        return source is not None and not book.missing(source, [head_keys(self)])

    def book(self) -> LevelBook:
        """This process's view of where its level is kept."""
        return (self.level_files or LevelFiles(self.source.parent, self.source.parent)).open()

    def _level(self, state: _State | None, keys: _Pair) -> "Level":
        from cadrender.dsp.render import Level

        known = _levels.get((self.source, state, keys))
        if known is None:
            known = _levels[self.source, state, keys] = Level(*self._known_level(state, keys))
            if len(_levels) > _MOST_LEVELS:
                _levels.pop(next(iter(_levels)))
        return known

    def _known_level(self, state: _State | None, keys: _Pair) -> tuple[float, float]:
        book, head = self.book(), _head_key(keys)
        source = book.look_at(self.source, state)
        if found := book.level(source, head):
            return found
        with _measuring(self.source):
            if found := book.level(source, head):  # measured by another thread meanwhile
                return found
            before, after = measure(self._with_others(book, source), source)
            if head not in after:
                raise AudioError(f"{self.left_hrir} or {self.right_hrir}: changed while it was being read")
            with contextlib.suppress(CadrenderError):  # each process then measures for itself
                book.add(source, before, after, keep=self.level_files is not None)
            return before, after[head]

    def _with_others(self, book: LevelBook, source: Input) -> list["AtMic"]:
        """The signals to measure together, itself included, in the same order for all."""
        found: dict[str, AtMic] = {}
        for left, right in self.measured_with:
            other = replace(self, left_hrir=left, right_hrir=right)
            with contextlib.suppress(CadrenderError):  # reported when that signal is read
                for key in _keys_of(other):
                    _hrir(*key)
                found[head_keys(other)] = other
        own = head_keys(self)
        found.setdefault(own, self)
        # Another process may just have measured its own level: then it is measured once more.
        wanted = {own, *book.missing(source, found)}
        return [other for head, other in found.items() if head in wanted]

    def read_whole(self) -> npt.NDArray[Any]:
        """The whole stem as stored, (frames, 2)."""
        return self._quantised(0, self.frames)

    def _quantised(self, start: int, frames: int) -> npt.NDArray[Any]:
        (part,) = self.read_together([self], start, frames)
        return part

    @staticmethod
    def read_together(
        signals: Sequence["AtMic"],
        start: int,
        frames: int,
        dtype: str | None = None,
        out: npt.NDArray[Any] | None = None,
        precision: str = "double",
    ) -> npt.NDArray[Any]:
        """Read the same part of several stems of a sample; they share the head's spectra.

        Parameters
        ----------
        signals : sequence of AtMic
            Of one sample and one subtype.
        start, frames : int
            The part; it must lie within the stems.
        dtype : {"int16", "float32", "float64"}, optional
            As for :meth:`cadrender.signals.base.Signal.read`; default: the stored type.
        out : ndarray, optional
            (stems, frames, 2), C-contiguous: filled and returned.
        precision : {"double", "single"}
            Of the arithmetic; with "single" about one 16-bit sample in some thousands is off by one step.

        Returns
        -------
        ndarray
            (stems, frames, 2).

        Raises
        ------
        AudioError
            If a song or an HRIR is unusable, or changes meanwhile.
        """
        from cadrender.dsp.parts import convolve_parts, history

        first = signals[0]
        keys = _keys_of(first)
        heads = _head(*keys)
        before = min(start, history(heads))
        parts, gains = [], []
        for slot, one in enumerate(signals):
            part, state = read_part(
                one.source, one.samplerate, one.frames, start - before, before + frames, slot
            )
            parts.append(part)
            gains.append(one._level(state, keys).gain)
        pcm16 = first.subtype == "PCM_16"
        if len({part.dtype for part in parts}) > 1:
            parts = [as_float(part) for part in parts]
        if pcm16:
            dtype = dtype or "int16"
            return convolve_parts(
                parts, before, frames, heads, gains, dtype=dtype, out=out, precision=precision
            )
        plain = convolve_parts(parts, before, frames, heads, gains, pcm16=False, precision=precision)
        stored = np.stack([quantised(row, first.subtype) for row in plain])
        if out is None:
            return stored if dtype is None else as_dtype(stored, dtype)
        out[:] = as_dtype(stored, out.dtype.name)
        return out

    @classmethod
    def make(cls, signals: Sequence[Self], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Render one stem for several heads; the source is read, weighted and transformed once."""
        first = signals[0]
        source = manifest.look_at(first.source)
        heads, hrirs = recorded_heads(signals, manifest)
        signal = read_source(first.source, first.frames, first.samplerate)
        levels, clipped = render_into(signal, first.samplerate, heads, sinks)
        check_unchanged(first.source, source)
        return [
            Made(
                {
                    "loudness_before": level.before,
                    "loudness_after": level.after,
                    "gain": level.gain,
                    "clipped": clips,
                },
                {"source": source, **pair},
            )
            for pair, level, clips in zip(hrirs, levels, clipped, strict=True)
        ]

    def _read(self, start: int, frames: int, dtype: str, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        """A part, computed in the requested type if the engine can."""
        if self.copy or dtype == "int32" or self.subtype != "PCM_16":
            return super()._read(start, frames, dtype, out)
        row = None if out is None else out[None, :frames]
        return self.read_together([self], start, frames, dtype, row)[0]

    @classmethod
    def shape(cls, signals: "Sequence[AtMic]") -> Hashable:
        """The number of heads, the state of their HRIR files, the rate, and whether the samples are int16."""
        hrirs = sorted({str(file) for one in signals for file in (one.left_hrir, one.right_hrir)})
        states = tuple(f"{file} {size_and_time(Path(file))}" for file in hrirs)
        return platform.machine(), len(signals), states, signals[0].samplerate, signals[0].subtype == "PCM_16"

    @classmethod
    def rehearse(cls, signals: "Sequence[AtMic]") -> None:
        """Render noise for the same heads."""
        from cadrender.dsp.render import at_mic

        first, heads = signals[0], heads_of(signals)
        frames = max(first.samplerate, 20 * heads.block()[1])
        noise = np.random.default_rng(0).integers(-1000, 1000, (frames, 2), dtype=np.int16)
        for _ in at_mic(noise, first.samplerate, heads, pcm16=first.subtype == "PCM_16")[1]:
            pass


def measure(signals: Sequence[AtMic], source: Input) -> tuple[float, dict[str, float]]:
    """Measure a stem before and after the HRIRs of several signals.

    Parameters
    ----------
    signals : sequence of AtMic
        All of one source.
    source : Input
        The source file, digested.

    Returns
    -------
    before : float
        LUFS of the stem.
    after : dict of str to float
        LUFS of its convolution with each pair of HRIRs, by :func:`head_keys`.

    Raises
    ------
    AudioError
        If it cannot be read, or changes meanwhile.
    """
    from cadrender.dsp.convolve import loudness_before_and_after

    first, keys = signals[0], tuple(map(_keys_of, signals))
    signal = read_source(first.source, first.frames, first.samplerate)
    before, after = loudness_before_and_after(signal, first.samplerate, _heads(keys))
    check_unchanged(first.source, source)
    return before, {_head_key(pair): float(level) for pair, level in zip(keys, after, strict=True)}


@contextlib.contextmanager
def _measuring(source: Path) -> Iterator[None]:
    """Let only one thread at a time measure a stem."""
    with _measured_lock:
        lock = _measured.setdefault(source, threading.Lock())
    with lock:
        yield


def read_source(file: Path, frames: int, samplerate: int) -> npt.NDArray[Any]:
    """Read a stem whose length is known.

    Raises
    ------
    AudioError
        If it cannot be read, or its length has changed.
    """
    signal = read_stem(file, samplerate)
    if len(signal) != frames:
        raise AudioError(f"{file}: {len(signal)} frames, and {frames} when it was looked at first")
    return signal


def render_into(
    signal: npt.NDArray[Any], samplerate: int, heads: "Heads", sinks: Sequence[Taker]
) -> "tuple[list[Level], list[int]]":
    """Render a stem into sinks, one per head.

    Returns
    -------
    levels : list of cadrender.dsp.render.Level
    clipped : list of int
        How many PCM values were clipped.
    """
    from cadrender.dsp.render import at_mic

    measured, pieces = at_mic(signal, samplerate, heads, pcm16=sinks[0].pcm16)
    clipped = [0] * len(sinks)
    for head, piece, clips in pieces:
        sinks[head].write(piece)
        clipped[head] += int(clips)
    return measured, clipped


def heads_of(signals: Sequence[AtMic]) -> "Heads":
    """The HRIRs of some signals, kept for the song's next stem.

    Raises
    ------
    AudioError
        If one cannot be used.
    """
    return _heads(tuple(map(_keys_of, signals)))


def recorded_heads(signals: Sequence[AtMic], manifest: Manifest) -> "tuple[Heads, list[dict[str, Input]]]":
    """The HRIRs of some signals, and for each signal its ``left_hrir`` and ``right_hrir`` as they are recorded.

    Raises
    ------
    AudioError
        If one cannot be used, or changes meanwhile.
    """
    keys = tuple(map(_keys_of, signals))
    hrirs = [
        {"left_hrir": _looked_at(*left, manifest), "right_hrir": _looked_at(*right, manifest)}
        for left, right in keys
    ]
    return _heads(keys), hrirs


def head_keys(one: AtMic) -> str:
    """The key of a signal's pair of HRIRs in a :class:`cadrender.store.levels.LevelBook`.

    Raises
    ------
    AudioError
        If one cannot be used.
    """
    return _head_key(_keys_of(one))


def _head_key(keys: _Pair) -> str:
    return head_key(*(_digest(*key) for key in keys))


def _hrir_key(file: Path, samplerate: int) -> _Hrir:
    try:
        status = file.stat()
    except OSError as error:
        read_hrir(file, samplerate)  # names the problem
        raise CadrenderError(f"{file}: {error.strerror or error}") from error
    return file, samplerate, status.st_size, status.st_mtime_ns


# What is kept of an HRIR is that of the file of the given size and mtime: it is looked at again after reading.


@functools.lru_cache(maxsize=512)
def _hrir(file: Path, samplerate: int, size: int, mtime_ns: int) -> npt.NDArray[np.float64]:
    taps = read_hrir(file, samplerate)
    _check_same(file, (size, mtime_ns))
    return taps


@functools.lru_cache(maxsize=1024)
def _looked_at(file: Path, samplerate: int, size: int, mtime_ns: int, manifest: Manifest) -> Input:
    seen = manifest.look_at(file)
    _check_same(file, (size, mtime_ns))
    return seen


@functools.lru_cache(maxsize=1024)
def _digest(file: Path, samplerate: int, size: int, mtime_ns: int) -> str:
    digest = digest_of(file)
    _check_same(file, (size, mtime_ns))
    return digest


def _check_same(file: Path, state: _State) -> None:
    if size_and_time(file) != state:
        raise AudioError(f"{file}: changed while it was being read")


@functools.lru_cache(maxsize=160)
def _head(left: _Hrir, right: _Hrir) -> "Heads":
    """A single head; its cached spectra take some 150 kB."""
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left), _hrir(*right))])


def _keys_of(one: AtMic) -> _Pair:
    return _hrir_key(one.left_hrir, one.samplerate), _hrir_key(one.right_hrir, one.samplerate)


@functools.lru_cache(maxsize=4)
def _heads(keys: tuple[_Pair, ...]) -> "Heads":
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left), _hrir(*right)) for left, right in keys])


def size_and_time(file: Path) -> tuple[int, int] | None:
    """Size and mtime of a file; None if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
