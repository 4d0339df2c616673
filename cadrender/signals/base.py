"""What all signals share; section 11 of ``docs/contract.md``."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from cadrender.errors import CadrenderError

if TYPE_CHECKING:
    from cadrender.signals.stored import Stored
    from cadrender.store.manifest import Inputs, Manifest

DTYPES = ("int16", "int32", "float32", "float64")

# Bytes of whole signals kept for the next read of a part.
_KEPT_BYTES = 256 << 20

# Whole signals made at a time: each takes the memory of its five stems, too.
_AT_A_TIME = 2


class NotReadyError(CadrenderError):
    """An input of a signal does not exist yet, but is being made by the same run."""


class Taker(Protocol):
    """Takes a signal piece by piece."""

    @property
    def pcm16(self) -> bool:
        """Whether it takes int16 rather than float64 with full scale 1."""

    def write(self, piece: npt.NDArray[Any]) -> None:
        """Take the next (n, 2) frames."""


class Sink(Taker, Protocol):
    """A signal's destination: :class:`cadrender.store.writing.AudioWriter` or similar."""

    @property
    def folder(self) -> Path | None:
        """Where large temporary files may go; default: the system's temporary folder."""

    def restart(self) -> None:
        """Discard what was written and start again."""


@dataclass(frozen=True)
class Made:
    """What was learned in making a signal.

    Attributes
    ----------
    levels : dict
        Loudness in LUFS, gains, clipped PCM values.
    inputs : Inputs
        The files it was made from.
    on_the_way : int
        Number of at-mic signals that had to be rendered for it because they were not on disk.
    notes : tuple of str
        Remarks for the user.
    """

    levels: dict[str, float]
    inputs: Inputs
    on_the_way: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copy:
    """A file that holds a signal's samples for as long as neither it nor the signal's inputs change.

    Attributes
    ----------
    file : pathlib.Path
    state : (int, int)
        Its size and mtime.
    of : tuple
        The signal's :meth:`Signal.state`.
    """

    file: Path
    state: tuple[int, int]
    of: Hashable


class Signal:
    """A stereo signal that can be read in parts; its samples are those its file would hold.

    A frozen dataclass of paths and numbers, so it can be sent to another process.

    Attributes
    ----------
    product : str
        ``at-mic``, ``target``, ``amplified``, ``excerpt`` or ``song``.
    frames : int or None
        Its length; None if known only once it has been made.
    samplerate : int
        Its rate in hertz.
    subtype : str
        How its samples are quantised: ``PCM_16``, ``PCM_24`` or ``FLOAT``.
    waits : bool
        Whether its at-mic stems are made by the same run, and waited for if missing.
    copy : Copy, optional
        A file to read it from instead of making it.
    remade_to_verify : bool
        Whether it is verified by making it again, which is quicker than digesting its inputs.
    scratch : int
        Bytes on disk per frame while it is being made.
    unrecorded_counts : bool
        Whether a file of the right format counts even if no manifest lists it.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    product: ClassVar[str]
    remade_to_verify: ClassVar[bool] = False
    scratch: ClassVar[int] = 0
    unrecorded_counts: ClassVar[bool] = False
    channels: ClassVar[int] = 2
    frames: int | None
    samplerate: int
    subtype: str
    waits: bool = False
    copy: Copy | None = None

    @property
    def cost(self) -> int:
        """The cost of making it: its frames, or an estimate if unknown."""
        return self.frames or 0

    def read(
        self,
        start: int = 0,
        frames: int = -1,
        dtype: str = "int16",
        out: npt.NDArray[Any] | None = None,
    ) -> npt.NDArray[Any]:
        """Read a part, as ``soundfile.read`` would from the file.

        Parameters
        ----------
        start : int
            The first frame; negative numbers count from the end.
        frames : int
            Number of frames; -1 for all to the end. A read past the end is cut short.
        dtype : {"int16", "int32", "float32", "float64"}
            Integers are fractions of their full scale, floats have full scale 1. Ignored if `out` is given.
        out : ndarray, optional
            (n, 2), C-contiguous, writeable, of one of these types in native byte order: filled from the beginning; the
            filled part is returned.

        Returns
        -------
        ndarray
            (frames, 2).

        Raises
        ------
        ValueError, TypeError
            If `dtype` or `out` is none of these, or a FLOAT signal is read as integers.
        CadrenderError
            If the signal cannot be made.
        """
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise TypeError(f"out is a {type(out).__name__}; an array is needed")
            if out.ndim != 2 or out.shape[1] != 2 or not (out.flags.c_contiguous and out.flags.writeable):
                raise ValueError(f"out has the shape {out.shape}; a C-contiguous, writeable (n, 2) is needed")
            if not out.dtype.isnative:
                raise ValueError(f"out has the dtype {out.dtype.str!r}; the native byte order is needed")
            dtype = out.dtype.name
            frames = len(out) if frames < 0 else min(frames, len(out))
        name = np.dtype(dtype).name if dtype is not None else "None"
        if name not in DTYPES:
            raise ValueError(f"dtype {name!r} is none of {', '.join(DTYPES)}")
        if self.subtype == "FLOAT" and name.startswith("int"):
            raise ValueError(f"dtype {name!r}: a FLOAT signal is read as float32 or float64")
        if self.frames is None:
            raise ValueError("the length of the signal is not known")
        start, end, _ = slice(start, None).indices(self.frames)
        left = max(0, end - start)
        return self._read(start, left if frames < 0 else min(frames, left), name, out)

    def _read(self, start: int, frames: int, dtype: str, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        """A part that lies within the signal, in the requested type."""
        part = self._copied(start, frames)
        part = as_dtype(self._quantised(start, frames) if part is None else part, dtype)
        if out is None:
            return part
        out[:frames] = part
        return out[:frames]

    def _copied(self, start: int, frames: int) -> npt.NDArray[Any] | None:
        """A part as stored, from its copy; None if there is none, or not any more."""
        from cadrender.store.parts import read_part

        if self.copy is None or self.copy.of != self.state():
            return None
        try:
            part, state = read_part(self.copy.file, self.samplerate, self.frames or 0, start, frames)
        except CadrenderError:
            return None
        return part if state == self.copy.state else None

    def state(self) -> Hashable:
        """Size and mtime of everything that it is made from."""
        raise NotImplementedError

    def _quantised(self, start: int, frames: int) -> npt.NDArray[Any]:
        """A part as stored: int16, the upper 24 bits of int32, or float32."""
        raise NotImplementedError

    def parameters(self) -> dict[str, Any]:
        """Everything the samples depend on, except inputs and format, as JSON values."""
        raise NotImplementedError

    def inputs(self) -> Mapping[str, Path | Stored]:
        """What the signal is made from, by role: files, and at-mic stems that may or may not be stored."""
        raise NotImplementedError

    def beside(self, levels: Mapping[str, float]) -> dict[str, str]:
        """The text files that accompany its file, by suffix, given its measured levels."""
        return {}

    @classmethod
    def make(cls, signals: Sequence[Self], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Make several signals that share work, each into its sink: the fast way to the samples of `read`.

        Raises
        ------
        CadrenderError
            If they cannot be made.
        """
        raise NotImplementedError

    @classmethod
    def shape(cls, signals: Sequence[Self]) -> Hashable:
        """Everything that determines what :meth:`make` has to compile and plan; None for nothing."""
        return None

    @classmethod
    def rehearse(cls, signals: Sequence[Self]) -> None:
        """Compile and plan what :meth:`make` needs; the results stay in the user's cache."""


class Kept:
    """A bounded cache of the last whole signals, as stored, for signals read in parts.

    Few are made at a time, since each takes several times its own memory.
    """

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._limit = limit
        self._arrays: OrderedDict[Hashable, npt.NDArray[Any]] = OrderedDict()
        self._renew_lock()
        os.register_at_fork(after_in_child=self._renew_lock)  # another thread may hold it

    def _renew_lock(self) -> None:
        self._lock = Lock()
        self._making: dict[Hashable, Lock] = {}
        self._slots = Semaphore(_AT_A_TIME)

    def _found(self, key: Hashable) -> npt.NDArray[Any] | None:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def get(self, key: Hashable, make: Callable[[], npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The array for a key, made by one thread if necessary; read-only."""
        if (array := self._found(key)) is not None:
            return array
        with self._lock:
            making = self._making.setdefault(key, Lock())
        with making:
            if (array := self._found(key)) is not None:
                return array
            try:
                with self._slots:
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


def as_dtype(stored: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Convert stored samples to another type, as soundfile does."""
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


def as_float(signal: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """A signal of any type as float64 with full scale 1."""
    if signal.dtype.kind == "i":
        return signal / 2.0 ** (8 * signal.dtype.itemsize - 1)
    return signal.astype(np.float64)
