"""Checks on user arrays: lossless conversions are made, anything else raises a one-line error."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[Any]
"""A signal of one of :data:`SIGNAL_TYPES`."""

Floats = npt.NDArray[np.float64]

SIGNAL_TYPES = ("int16", "int32", "float32", "float64")
"""Types of signals: integers are fractions of their full scale, floats have full scale 1."""

FLOAT_TYPES = ("float32", "float64")


def checked_signal(name: str, array: npt.ArrayLike, types: Sequence[str] = SIGNAL_TYPES) -> Samples:
    """A stereo signal as the kernels need it: C-contiguous, in native byte order.

    Parameters
    ----------
    name : str
        Argument name for messages.
    array : array_like
        (n, 2) of one of `types`, in any byte order and memory layout. float16 becomes float32. Other types are
        refused: the full scale of int64, for example, is unknown.
    types : sequence of str
        The accepted types.

    Returns
    -------
    ndarray
        (n, 2).

    Raises
    ------
    TypeError
        If the array has another type.
    ValueError
        If it has another shape, or holds NaN or infinite values.
    """
    given = type(array).__name__
    try:
        signal = np.asarray(array)
    except ValueError as error:
        raise TypeError(
            f"{name} is a {given} of no one shape; an array of {_named(types)} is needed"
        ) from error
    kind: np.dtype[Any] = signal.dtype.newbyteorder("=")
    if kind == np.float16 and "float32" in types:
        kind = np.dtype(np.float32)
    if kind.name not in types:
        raise TypeError(f"{name} has the dtype {signal.dtype}; {_named(types)} is needed")
    if signal.ndim != 2 or signal.shape[1] != 2:
        raise ValueError(f"{name} has the shape {signal.shape}; (n, 2) is needed")
    signal = np.require(signal, kind, ["C", "W"])  # kernels are compiled only for writable arrays
    if kind.kind == "f" and not np.isfinite(signal).all():
        raise ValueError(f"{name} holds NaN or infinite values; finite ones are needed")
    return signal


def checked_hrir(name: str, array: npt.ArrayLike) -> Floats:
    """A loudspeaker's HRIR as float64, (taps, 2); see :func:`checked_signal`."""
    hrir = checked_signal(name, array, FLOAT_TYPES)
    if not len(hrir):
        raise ValueError(f"{name} has the shape {hrir.shape}; at least one tap is needed")
    return hrir.astype(np.float64, copy=False)


def is_finite(value: object) -> TypeGuard[float]:
    """Whether a value is a finite real number."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def checked_samplerate(samplerate: float) -> int:
    """A sample rate in hertz.

    Raises
    ------
    ValueError
        If it is not a whole positive number.
    """
    if not is_finite(samplerate) or int(samplerate) != samplerate:
        raise ValueError(f"samplerate {samplerate!r} is not a whole number of hertz")
    if samplerate < 1:
        raise ValueError(f"samplerate {samplerate!r} is not a positive number of hertz")
    return int(samplerate)


def checked_dtype(dtype: npt.DTypeLike, types: Sequence[str] = ("int16", "float64")) -> str:
    """The name of an output type.

    Raises
    ------
    ValueError
        If it is not in `types`.
    """
    try:
        name = np.dtype(dtype).name if dtype is not None else ""
    except TypeError:
        name = ""
    if name not in types:
        choice = (
            f"neither {types[0]!r} nor {types[1]!r}" if len(types) == 2 else f"none of {', '.join(types)}"
        )
        raise ValueError(f"dtype {dtype!r} is {choice}")
    return name


def _named(types: Sequence[str]) -> str:
    return f"{', '.join(types[:-1])} or {types[-1]}"
