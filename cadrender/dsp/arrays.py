"""Checks of the arrays that users hand in: what can be converted without loss is, everything else is one line."""

import numpy as np

SIGNAL_TYPES = ("int16", "int32", "float32", "float64")
"""Types of signals: integers are fractions of their full scale, floats have full scale 1."""

FLOAT_TYPES = ("float32", "float64")


def checked_signal(name: str, array: object, types: tuple[str, ...] = SIGNAL_TYPES) -> np.ndarray:
    """A stereo signal as the kernels take it: C-contiguous, in the machine's byte order.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    array : array_like
        (n, 2) of one of `types`, in any byte order and memory layout. float16 becomes float32. Other types are
        refused: nobody can tell the full scale of int64, say.
    types : tuple of str
        What is accepted.

    Returns
    -------
    ndarray
        (n, 2).

    Raises
    ------
    TypeError
        If the array has another type.
    ValueError
        If its shape is another one, or it holds NaN or infinite values.
    """
    given = type(array).__name__
    try:
        array = np.asarray(array)
    except ValueError as error:
        raise TypeError(
            f"{name} is a {given} of no one shape; an array of {_named(types)} is needed"
        ) from error
    kind = array.dtype.newbyteorder("=")
    if kind == np.float16 and "float32" in types:
        kind = np.dtype(np.float32)
    if kind.name not in types:
        raise TypeError(f"{name} has the dtype {array.dtype}; {_named(types)} is needed")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} has the shape {array.shape}; (n, 2) is needed")
    array = np.require(array, kind, ["C", "W"])  # a kernel is compiled for writable arrays only
    if kind.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; finite ones are needed")
    return array


def checked_hrir(name: str, array: object) -> np.ndarray:
    """A loudspeaker's HRIR as float64, (taps, 2); see :func:`checked_signal`."""
    array = checked_signal(name, array, FLOAT_TYPES)
    if not len(array):
        raise ValueError(f"{name} has the shape {array.shape}; at least one tap is needed")
    return array.astype(np.float64, copy=False)


def checked_samplerate(samplerate: object) -> int:
    """A sample rate in hertz.

    Raises
    ------
    ValueError
        If it is not a whole positive number.
    """
    if isinstance(samplerate, bool) or samplerate != samplerate or int(samplerate) != samplerate:
        raise ValueError(f"samplerate {samplerate!r} is not a whole number of hertz")
    if samplerate < 1:
        raise ValueError(f"samplerate {samplerate!r} is not a positive number of hertz")
    return int(samplerate)


def checked_dtype(dtype: object, types: tuple[str, ...] = ("int16", "float64")) -> str:
    """The name of an output type.

    Raises
    ------
    ValueError
        If it is none of `types`.
    """
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = dtype
    if name not in types:
        choice = (
            f"neither {types[0]!r} nor {types[1]!r}" if len(types) == 2 else f"none of {', '.join(types)}"
        )
        raise ValueError(f"dtype {dtype!r} is {choice}")
    return name


def _named(types) -> str:
    return f"{', '.join(types[:-1])} or {types[-1]}"
