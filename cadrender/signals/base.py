"""What all signals have in common; section 11 of ``docs/contract.md``."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from cadrender.errors import CadrenderError

if TYPE_CHECKING:
    from cadrender.store.manifest import Inputs, Manifest

DTYPES = ("int16", "int32", "float32", "float64")

# Bytes of whole signals that are kept for the next read of a part.
_KEPT_BYTES = 256 << 20


class NotReadyError(CadrenderError):
    """What a signal is made from is not there yet, and is being made by the same run."""


class Sink(Protocol):
    """What a signal is made into: `cadrender.store.writing.AudioWriter` and its like."""

    pcm16: bool
    folder: Path | None
    """Where large temporary files may go; the system's place for them by default."""

    def restart(self) -> None:
        """Drop what was written, and begin again."""

    def write(self, piece: np.ndarray) -> None:
        """Take the next frames: (n, 2) int16 where ``pcm16``, else float64 with full scale 1."""


@dataclass(frozen=True)
class Made:
    """What there is to say of a signal that was made.

    Attributes
    ----------
    levels : dict
        Loudness in LUFS, gains, clipped PCM values.
    inputs : Inputs
        The files that it was made from.
    on_the_way : int
        At-mic signals that had to be rendered for it because they were not on disk.
    notes : tuple of str
        What was found meanwhile, and is worth knowing.
    """

    levels: dict
    inputs: Inputs
    on_the_way: int = 0
    notes: tuple[str, ...] = ()


class Signal:
    """A stereo signal of which any part can be read; the samples are those that its file would hold.

    A frozen dataclass of paths and numbers, so that it can travel to another process.

    Attributes
    ----------
    product : str
        ``at-mic``, ``target``, ``amplified``, ``excerpt`` or ``song``.
    frames : int or None
        Its length; None where that is known only when it has been made.
    samplerate : int
        Its rate in hertz.
    subtype : str
        How its samples are quantised: ``PCM_16``, ``PCM_24`` or ``FLOAT``.
    remade_to_verify : bool
        Whether it is compared with its inputs by making it again, which is quicker than digesting them.
    scratch : int
        Bytes on disk for each of its frames while it is being made.
    unrecorded_counts : bool
        Whether a file of the right format that no manifest knows is taken for it.
    """

    product: ClassVar[str]
    remade_to_verify: ClassVar[bool] = False
    scratch: ClassVar[int] = 0
    unrecorded_counts: ClassVar[bool] = False
    channels: ClassVar[int] = 2
    frames: int | None
    samplerate: int
    subtype: str

    @property
    def cost(self) -> int:
        """Its frames, or about as many where they are not known: what making it costs."""
        return self.frames

    def read(
        self, start: int = 0, frames: int = -1, dtype: str = "int16", out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read a part, as ``soundfile.read`` reads it from the file.

        Parameters
        ----------
        start : int
            The first frame; negative numbers count from the end.
        frames : int
            How many; -1 for all to the end. A read past the end gives what is there.
        dtype : {"int16", "int32", "float32", "float64"}
            Integers are fractions of their full scale, floats have full scale 1. Ignored where `out` is given.
        out : ndarray, optional
            (n, 2), C-contiguous, of one of these types: filled from the beginning, and returned, or the part of it
            that was filled.

        Returns
        -------
        ndarray
            (frames, 2).

        Raises
        ------
        ValueError
            If `dtype` or `out` is none of these, or integers are asked for of a FLOAT signal.
        CadrenderError
            If the signal cannot be made, for the reasons for which its file could not.
        """
        if out is not None:
            if out.ndim != 2 or out.shape[1] != 2 or not out.flags.c_contiguous:
                raise ValueError(f"out has the shape {out.shape}; a C-contiguous (n, 2) is needed")
            dtype = out.dtype.name
            frames = len(out) if frames < 0 else min(frames, len(out))
        dtype = getattr(np.dtype(dtype), "name", dtype) if dtype is not None else "None"
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r} is none of {', '.join(DTYPES)}")
        if self.subtype == "FLOAT" and dtype.startswith("int"):
            raise ValueError(f"dtype {dtype!r}: a FLOAT signal is read as float32 or float64")
        start, end, _ = slice(start, None if frames < 0 else start + frames).indices(self.frames)
        return self._read(start, max(0, end - start), dtype, out)

    def _read(self, start: int, frames: int, dtype: str, out: np.ndarray | None) -> np.ndarray:
        """A part that lies within the signal, in the type that is asked for."""
        part = as_dtype(self._quantised(start, frames), dtype)
        if out is None:
            return part
        out[:frames] = part
        return out[:frames]

    def _quantised(self, start: int, frames: int) -> np.ndarray:
        """A part as it is stored: int16, the upper 24 bits of int32, or float32."""
        raise NotImplementedError

    def parameters(self) -> dict:
        """All that the samples depend on beside their inputs and format, as JSON values."""
        raise NotImplementedError

    def inputs(self) -> Mapping[str, Path | Signal]:
        """What the signal is made from, by role: stored files, and signals that may be stored or not."""
        raise NotImplementedError

    def beside(self, levels: Mapping[str, float]) -> dict[str, str]:
        """The text files that belong to its file, by suffix: how that file is to be read.

        Parameters
        ----------
        levels : mapping
            What was measured when it was made: see :class:`Made`.
        """
        return {}

    @staticmethod
    def make(signals: Sequence[Signal], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Make several signals that share work, each into its sink: the fast way to the samples of `read`.

        Raises
        ------
        CadrenderError
            If they cannot be made.
        """
        raise NotImplementedError

    @staticmethod
    def shape(signals: Sequence[Signal]) -> object:
        """Stand for all that decides what must be compiled and planned for :meth:`make`; None for nothing."""
        return None

    @staticmethod
    def rehearse(signals: Sequence[Signal]) -> None:
        """Compile and plan what :meth:`make` needs; it is kept in the user's cache."""


class Kept:
    """Whole signals as they are stored, the last ones used, in bounded memory; for signals read in parts."""

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._limit = limit
        self._arrays: OrderedDict[object, np.ndarray] = OrderedDict()
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)  # another thread may hold it

    def _renew_lock(self) -> None:
        self._lock = Lock()
        self._making: dict[object, Lock] = {}

    def _found(self, key: object) -> np.ndarray | None:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def get(self, key: object, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made by one thread if it is not there; arrays are not to be changed."""
        if (array := self._found(key)) is not None:
            return array
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            if (array := self._found(key)) is not None:
                return array
            try:
                array = make()
                array.flags.writeable = False
                with self._lock:
                    self._arrays[key] = array
                    while (
                        sum(each.nbytes for each in self._arrays.values()) > self._limit
                        and len(self._arrays) > 1
                    ):
                        self._arrays.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return array


def as_dtype(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Convert samples as they are stored to another type, as soundfile does."""
    if stored.dtype == dtype:
        return stored.copy() if not stored.flags.writeable else stored
    if stored.dtype.kind == "f":
        return stored.astype(dtype)
    bits = 8 * stored.dtype.itemsize
    if dtype == "int16":
        return (stored >> 16).astype(np.int16)
    if dtype == "int32":
        return stored.astype(np.int32) << 16
    return np.multiply(stored, np.dtype(dtype).type(2.0 ** (1 - bits)), dtype=dtype)


def as_float(signal: np.ndarray) -> np.ndarray:
    """A signal of any type as float64 with full scale 1."""
    if signal.dtype.kind == "i":
        return signal / 2.0 ** (8 * signal.dtype.itemsize - 1)
    return signal.astype(np.float64)
