"""At-mic stems: one stem of a song, as the microphones at one head position pick it up.

See section 2 of ``docs/contract.md``.
"""

import contextlib
import functools
import os
import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cadrender.errors import AudioError, CadrenderError
from cadrender.signals.base import Made, Signal, Sink, as_dtype, as_float
from cadrender.store import read_hrir, read_stem
from cadrender.store.digest import digest_of
from cadrender.store.levels import LevelBook, LevelFiles, head_key
from cadrender.store.manifest import Input, Manifest, check_unchanged
from cadrender.store.parts import read_part
from cadrender.store.writing import quantised

if TYPE_CHECKING:
    from cadrender.dsp.render import Level

# Levels that are remembered in this process: some 300 bytes each.
_MOST_LEVELS = 100_000

_levels: dict[tuple, "Level"] = {}
_measured: dict[Path, threading.Lock] = {}
_measured_lock = threading.Lock()


def _renew_locks() -> None:
    """A fork while another thread holds a lock would leave it held in the child for ever."""
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
        The HRIRs of the left and of the right loudspeaker.
    frames, samplerate : int
        The stem's length, and its rate in hertz.
    subtype : str
    level_files : LevelFiles, optional
        Where its level is kept once it has been measured; in this process's memory alone by default.
    measured_with : tuple of (pathlib.Path, pathlib.Path)
        HRIRs of positions at which the stem is measured when it is measured for this one: four cost little more than
        one.
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

    def parameters(self) -> dict:
        """Nothing: all that counts are the inputs."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """The stem's file and the two HRIRs."""
        return {"source": self.source, "left_hrir": self.left_hrir, "right_hrir": self.right_hrir}

    def level(self, state: tuple[int, int] | None = None):
        """How loud the stem is before and after the HRIRs: measured once, then kept.

        Parameters
        ----------
        state : (int, int), optional
            Size and time of the source where it is known.

        Returns
        -------
        cadrender.dsp.render.Level

        Raises
        ------
        AudioError
            If the song or an HRIR cannot be used.
        """
        return self._level(state or size_and_time(self.source), _keys_of(self))

    @property
    def is_measured(self) -> bool:
        """Whether its level is known as far as can be told without reading its source or measuring."""
        book = self.book()
        source = book.known_source(self.source)
        return source is not None and not book.missing(source, [head_keys(self)])

    def book(self) -> LevelBook:
        """Where its level is kept, as this process knows it."""
        return (self.level_files or LevelFiles(self.source.parent, self.source.parent)).open()

    def _level(self, state: tuple[int, int] | None, keys: tuple) -> "Level":
        from cadrender.dsp.render import Level

        known = _levels.get((self.source, state, keys))
        if known is None:
            known = _levels[self.source, state, keys] = Level(*self._known_level(state))
            if len(_levels) > _MOST_LEVELS:
                _levels.pop(next(iter(_levels)))
        return known

    def _known_level(self, state: tuple[int, int] | None) -> tuple[float, float]:
        book, head = self.book(), head_keys(self)
        source = book.look_at(self.source, state)
        if found := book.level(source, head):
            return found
        with _measuring(self.source):
            if found := book.level(source, head):  # by another thread meanwhile
                return found
            wanted = self._with_others(book, source)
            levels = measure(list(wanted.values()), source)
            before = levels[0][0]
            after = {head: level for head, (_, level) in zip(wanted, levels, strict=True)}
            book.add(source, before, after, keep=self.level_files is not None)
            return before, after[head]

    def _with_others(self, book: LevelBook, source: Input) -> dict[str, "AtMic"]:
        """What is to be measured together with it, and itself, by the keys of the heads; in the same order for all."""
        found = {}
        for left, right in self.measured_with:
            other = replace(self, left_hrir=left, right_hrir=right)
            with contextlib.suppress(CadrenderError):  # who reads that one will be told
                for key in _keys_of(other):
                    _hrir(*key)
                found[head_keys(other)] = other
        found.setdefault(head_keys(self), self)
        return {head: found[head] for head in book.missing(source, found)}

    def read_whole(self) -> np.ndarray:
        """All of it as it is stored, (frames, 2)."""
        return self._quantised(0, self.frames)

    def _quantised(self, start, frames):
        (part,) = self.read_together([self], start, frames)
        return part

    @staticmethod
    def read_together(
        signals: Sequence["AtMic"],
        start: int,
        frames: int,
        dtype: str | None = None,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Read the same part of several stems of one sample; they share the head's spectra.

        Parameters
        ----------
        signals : sequence of AtMic
            Of one sample and one subtype.
        start, frames : int
            The part; it must lie within the stems.
        dtype : {"int16", "float32", "float64"}, optional
            As :meth:`cadrender.signals.base.Signal.read` has it; as they are stored by default.
        out : ndarray, optional
            (stems, frames, 2), C-contiguous: filled and returned.

        Returns
        -------
        ndarray
            (stems, frames, 2).

        Raises
        ------
        AudioError
            If a song or an HRIR cannot be used, or changes meanwhile.
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
            return convolve_parts(parts, before, frames, heads, gains, dtype=dtype or "int16", out=out)
        plain = convolve_parts(parts, before, frames, heads, gains, pcm16=False)
        stored = np.stack([quantised(row, first.subtype) for row in plain])
        if dtype is None and out is None:
            return stored
        converted = as_dtype(stored, out.dtype.name if out is not None else dtype)
        if out is None:
            return converted
        out[:] = converted
        return out

    @staticmethod
    def make(signals: Sequence["AtMic"], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Render one stem for several heads; its source is read, weighted and transformed once."""
        first = signals[0]
        source = manifest.look_at(first.source)
        signal = read_source(first.source, first.frames, first.samplerate)
        levels, clipped = render_into(signal, first.samplerate, heads_of(signals), sinks)
        check_unchanged(first.source, source)
        return [
            Made(
                {
                    "loudness_before": level.before,
                    "loudness_after": level.after,
                    "gain": level.gain,
                    "clipped": clips,
                },
                {
                    "source": source,
                    "left_hrir": look_at_hrir(one.left_hrir, one.samplerate, manifest),
                    "right_hrir": look_at_hrir(one.right_hrir, one.samplerate, manifest),
                },
            )
            for one, level, clips in zip(signals, levels, clipped, strict=True)
        ]

    def _read(self, start, frames, dtype, out):
        """Straight to the type that is asked for where the engine has it."""
        if dtype == "int32" or self.subtype != "PCM_16":
            return super()._read(start, frames, dtype, out)
        row = None if out is None else out[None, :frames]
        return self.read_together([self], start, frames, dtype, row)[0]

    @staticmethod
    def shape(signals: Sequence["AtMic"]) -> object:
        """How many heads, their HRIRs as they are on disk, the rate, and whether the samples are int16."""
        hrirs = sorted({str(file) for one in signals for file in (one.left_hrir, one.right_hrir)})
        states = tuple(f"{file} {size_and_time(Path(file))}" for file in hrirs)
        return platform.machine(), len(signals), states, signals[0].samplerate, signals[0].subtype == "PCM_16"

    @staticmethod
    def rehearse(signals: Sequence["AtMic"]) -> None:
        """Render noise for the same heads."""
        from cadrender.dsp.render import at_mic

        first, heads = signals[0], heads_of(signals)
        frames = max(first.samplerate, 20 * heads.block()[1])
        noise = np.random.default_rng(0).integers(-1000, 1000, (frames, 2), dtype=np.int16)
        for _ in at_mic(noise, first.samplerate, heads, pcm16=first.subtype == "PCM_16")[1]:
            pass


def measure(signals: Sequence[AtMic], source: Input) -> list[tuple[float, float]]:
    """Measure a stem before and after the HRIRs of several signals.

    Parameters
    ----------
    signals : sequence of AtMic
        All of one source.
    source : Input
        What its file was when it was digested.

    Returns
    -------
    list of (float, float)
        LUFS of the stem and of what each head receives of it.

    Raises
    ------
    AudioError
        If it cannot be read, or changes meanwhile.
    """
    from cadrender.dsp.convolve import loudness_before_and_after

    first = signals[0]
    signal = read_source(first.source, first.frames, first.samplerate)
    before, after = loudness_before_and_after(signal, first.samplerate, heads_of(signals))
    check_unchanged(first.source, source)
    return [(before, float(one)) for one in after]


@contextlib.contextmanager
def _measuring(source):
    """Let one thread at a time measure a stem."""
    with _measured_lock:
        lock = _measured.setdefault(source, threading.Lock())
    with lock:
        yield


def read_source(file: Path, frames: int, samplerate: int) -> np.ndarray:
    """Read a stem whose length is known.

    Raises
    ------
    AudioError
        If it cannot be read, or is no longer as long as it was when its header was read first.
    """
    signal = read_stem(file, samplerate)
    if len(signal) != frames:
        raise AudioError(f"{file}: {len(signal)} frames, and {frames} when it was looked at first")
    return signal


def render_into(signal: np.ndarray, samplerate: int, heads, sinks: Sequence[Sink]) -> tuple[list, list[int]]:
    """Render a stem into sinks, one for each head.

    Returns
    -------
    levels : list of cadrender.dsp.render.Level
    clipped : list of int
        PCM values that had to be clipped.
    """
    from cadrender.dsp.render import at_mic

    measured, pieces = at_mic(signal, samplerate, heads, pcm16=sinks[0].pcm16)
    clipped = [0] * len(sinks)
    for head, piece, clips in pieces:
        sinks[head].write(piece)
        clipped[head] += int(clips)
    return measured, clipped


def heads_of(signals: Sequence[AtMic]):
    """The HRIRs of some signals as :class:`cadrender.dsp.hrir.Heads`; kept for the next stem of the song.

    Raises
    ------
    AudioError
        If one cannot be used.
    """
    return _heads(tuple(_keys_of(one) for one in signals))


def head_keys(one: AtMic) -> str:
    """The key of a signal's pair of HRIRs in a book of levels.

    Raises
    ------
    AudioError
        If one cannot be used.
    """
    return head_key(*(_digest(*key) for key in _keys_of(one)))


def look_at_hrir(file: Path, samplerate: int, manifest: Manifest):
    """What a manifest says of an HRIR; kept, since each belongs to many signals."""
    return _looked_at(*_hrir_key(file, samplerate), manifest)


def _hrir_key(file, samplerate):
    """Size and time are there to tell a changed file from the one remembered."""
    try:
        status = file.stat()
    except OSError as error:
        read_hrir(file, samplerate)  # says what is wrong
        raise CadrenderError(f"{file}: {error.strerror or error}") from error
    return file, samplerate, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=512)
def _hrir(file, samplerate, size, mtime_ns):
    return read_hrir(file, samplerate)


@functools.lru_cache(maxsize=1024)
def _looked_at(file, samplerate, size, mtime_ns, manifest):
    return manifest.look_at(file)


@functools.lru_cache(maxsize=1024)
def _digest(file, samplerate, size, mtime_ns):
    return digest_of(file)


@functools.lru_cache(maxsize=160)
def _head(left, right):
    """A single head; the spectra that are kept with it take some 150 kB."""
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left), _hrir(*right))])


def _keys_of(one):
    return _hrir_key(one.left_hrir, one.samplerate), _hrir_key(one.right_hrir, one.samplerate)


@functools.lru_cache(maxsize=4)
def _heads(keys):
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left), _hrir(*right)) for left, right in keys])


def size_and_time(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
