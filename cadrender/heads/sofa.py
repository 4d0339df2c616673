"""Reading SOFA files (AES69): the listener, microphones, directions and impulse responses.

The conventions SimpleFreeFieldHRIR, and GeneralFIR with the same fields, are supported. Directions are those of the
source relative to the listener: ``ListenerPosition``, ``ListenerView`` and ``ListenerUp`` are taken into account, as
some databases turn the head and not the loudspeaker.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.contract import shown

if TYPE_CHECKING:
    import h5py

Floats = npt.NDArray[np.float64]

CONVENTIONS = ("SimpleFreeFieldHRIR", "GeneralFIR")

MOST_TAPS = 2**20  # as for HRIR files
_SIDES = {"left": "left", "l": "left", "right": "right", "r": "right"}
_OFF_CENTRE = 1e-6  # metres from the median plane from which a microphone is on one side


@dataclass(frozen=True)
class Receiver:
    """A microphone of a SOFA file.

    Attributes
    ----------
    number : int
        Its place in the file, from 0.
    description : str
        Its ``ReceiverDescriptions``; empty if there are none.
    side : str
        ``left`` or ``right``; empty if unknown.
    """

    number: int
    description: str
    side: str

    @property
    def name(self) -> str:
        """The description without its side, such as ``BTE_fr`` for ``BTE_fr left``."""
        words = re.findall(r"[^\W_]+|[\W_]+", self.description)
        kept = "".join(word for word in words if word.casefold() not in _SIDES)
        return re.sub(r"[\s_-]+", "_", kept).strip("_,;:()/ ")

    def __str__(self) -> str:
        parts = (self.side, shown(self.description) if self.description else "")
        return " ".join(filter(None, (str(self.number), *parts)))


@dataclass(frozen=True)
class Sofa:
    """A SOFA file without its impulse responses (see `read_responses`).

    Attributes
    ----------
    file : pathlib.Path
    convention : str
        Such as ``SimpleFreeFieldHRIR 1.0``.
    listener : str
        ``ListenerShortName``; empty if there is none.
    samplerate : float
        In hertz.
    receivers : tuple of Receiver
    taps : int
    azimuths, elevations : ndarray
        (measurements,) float64, in degrees, of the source relative to the listener; left is negative:
        -180 < azimuth <= 180.
    distances : ndarray
        (measurements,) float64, in metres.
    delays : ndarray
        (measurements, receivers) float64: ``Data.Delay`` in samples.
    """

    file: Path
    convention: str
    listener: str
    samplerate: float
    receivers: tuple[Receiver, ...]
    taps: int
    azimuths: Floats
    elevations: Floats
    distances: Floats
    delays: Floats


def read_sofa(file: Path) -> Sofa:
    """Read a SOFA file without its impulse responses.

    Raises
    ------
    MetadataError
        If the file is missing, damaged, not a SOFA file, of another convention, or contradicts itself.
    UsageError
        If h5py is not installed.
    """
    with _opened(file) as data:
        name = _check_convention(data, file)
        responses = _dataset(data, "Data.IR", file)
        if responses.ndim != 3 or responses.dtype.kind not in "fiu" or 0 in responses.shape:
            raise MetadataError(
                f"{file}: Data.IR is {responses.dtype} of the shape {responses.shape}; expected real numbers of the "
                "shape (measurements, receivers, samples)"
            )
        measurements, receivers, taps = responses.shape
        if taps > MOST_TAPS:
            raise MetadataError(f"{file}: Data.IR has {taps} samples; an HRIR has {MOST_TAPS} at most")
        delays = _numbers(data, "Data.Delay", file, (1, 1)) if "Data.Delay" in data else np.zeros((1, 1))
        if (delays < 0).any() or (delays > MOST_TAPS).any():
            raise MetadataError(f"{file}: Data.Delay is not from 0 to {MOST_TAPS} samples")
        return Sofa(
            file=file,
            convention=f"{name} {_attribute(data, 'SOFAConventionsVersion')}".strip(),
            listener=_attribute(data, "ListenerShortName").strip(),
            samplerate=_samplerate(data, file),
            receivers=_receivers(data, file, receivers),
            taps=taps,
            delays=_broadcast(delays, "Data.Delay", file, (measurements, receivers)),
            **_directions(data, file, measurements),
        )


def read_responses(sofa: Sofa, measurements: Sequence[int], receivers: Sequence[int]) -> Floats:
    """Read impulse responses.

    Parameters
    ----------
    sofa : Sofa
    measurements, receivers : sequence of int
        Their numbers.

    Returns
    -------
    ndarray
        (len(measurements), len(receivers), taps) float64.

    Raises
    ------
    MetadataError
        If they cannot be read or hold NaN or infinite values.
    """
    # HDF5 needs ascending indices, and all at once: it decompresses many measurements together.
    rows, places = np.unique(measurements, return_inverse=True)
    with _opened(sofa.file) as data:
        values = _dataset(data, "Data.IR", sofa.file)[rows]
    responses: Floats = values[:, list(receivers)].astype(np.float64)[places]
    for measurement, response in zip(measurements, responses, strict=True):
        if not np.isfinite(response).all():
            raise MetadataError(
                f"{sofa.file}: Data.IR holds NaN or infinite values (measurement {measurement})"
            )
    return responses


@contextlib.contextmanager
def _opened(file: Path) -> "Iterator[h5py.File]":
    try:
        import h5py
    except ImportError as error:
        raise UsageError(f"SOFA files need h5py ({error}): pip install 'cadrender[sofa]'") from error
    try:
        with file.open("rb"):  # for the system's error message
            pass
        if not h5py.is_hdf5(file):
            raise MetadataError(f"{file}: not a SOFA file (which is an HDF5 file)")
        with h5py.File(file, "r") as data:
            yield data
    except OSError as error:
        if error.filename is not None and error.strerror:
            raise MetadataError(f"{file}: cannot read the file: {error.strerror}") from error
        raise MetadataError(f"{file}: damaged: {_line(error)}") from error
    # h5py's exceptions depend on which byte is damaged.
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, MemoryError, OverflowError) as error:
        raise MetadataError(f"{file}: damaged: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_convention(data: "h5py.File", file: Path) -> str:
    if _attribute(data, "Conventions") != "SOFA":
        raise MetadataError(f"{file}: not a SOFA file: an HDF5 file without the attribute Conventions = SOFA")
    name = _attribute(data, "SOFAConventions")
    if name not in CONVENTIONS:
        raise MetadataError(
            f"{file}: unsupported convention {shown(name)}; supported: {', '.join(CONVENTIONS)}"
        )
    kind = _attribute(data, "DataType")
    if kind != "FIR":
        raise MetadataError(f"{file}: DataType is {shown(kind)}; expected FIR")
    return name


def _attribute(item: Any, name: str) -> str:
    """A text attribute; empty if there is none."""
    value = item.attrs.get(name, "")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip("\0") if isinstance(value, str) else ""


def _dataset(data: "h5py.File", name: str, file: Path) -> Any:
    item = data.get(name)
    if not hasattr(item, "shape"):
        raise MetadataError(f"{file}: has no {name}")
    return item


def _numbers(data: "h5py.File", name: str, file: Path, shape: tuple[int, ...] = ()) -> Floats:
    """A variable as float64, with at least as many dimensions as `shape`."""
    item = _dataset(data, name, file)
    if item.dtype.kind not in "fiu" or item.size > 2**28:
        raise MetadataError(
            f"{file}: {name} is {item.dtype} of the shape {item.shape}; expected real numbers"
        )
    values: Floats = np.asarray(item[()], dtype=np.float64)
    if not np.isfinite(values).all():
        raise MetadataError(f"{file}: {name} holds NaN or infinite values")
    return values.reshape((1,) * (len(shape) - values.ndim) + values.shape)


def _broadcast(values: Floats, name: str, file: Path, shape: tuple[int, ...]) -> Floats:
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise MetadataError(
            f"{file}: {name} has the shape {values.shape}; expected {shape} or one for all"
        ) from None


def _samplerate(data: "h5py.File", file: Path) -> float:
    rates = np.unique(_numbers(data, "Data.SamplingRate", file))
    units = _attribute(data["Data.SamplingRate"], "Units").casefold()
    if units not in ("", "hertz", "hz"):
        raise MetadataError(f"{file}: Data.SamplingRate is in {shown(units)}; expected hertz")
    if len(rates) != 1 or not 1000 <= rates[0] <= 1_000_000:
        listed = ", ".join(f"{rate:g}" for rate in rates[:5]) or "empty"
        raise MetadataError(
            f"{file}: Data.SamplingRate is {listed}; expected one rate from 1000 to 1000000 Hz"
        )
    return float(rates[0])


def _receivers(data: "h5py.File", file: Path, count: int) -> tuple[Receiver, ...]:
    descriptions = _descriptions(data, count)
    sides = [""] * count
    if "ReceiverPosition" in data:
        places = _numbers(data, "ReceiverPosition", file, (1, 1))
        if len(places) == count and places.shape[1] == 3:
            # (receivers, 3), or (receivers, 3, measurements)
            places = np.moveaxis(places.reshape(count, 3, -1), 1, 2)
            lefts = _cartesian(places, data["ReceiverPosition"], file, "ReceiverPosition")[..., 1]
            if (np.abs(lefts) > _OFF_CENTRE).any():
                sides = [_side_of(left) for left in lefts]
    if not any(sides):
        words = [re.findall(r"[^\W_]+", text.casefold()) for text in descriptions]
        sides = [next((_SIDES[word] for word in said if word in _SIDES), "") for said in words]
    return tuple(Receiver(*parts) for parts in zip(range(count), descriptions, sides, strict=True))


def _side_of(left: Floats) -> str:
    if (left > _OFF_CENTRE).all():
        return "left"
    return "right" if (left < -_OFF_CENTRE).all() else ""


def _descriptions(data: "h5py.File", count: int) -> list[str]:
    """``ReceiverDescriptions``, an array of characters or of strings."""
    item = data.get("ReceiverDescriptions")
    texts: list[str] = []
    if hasattr(item, "shape") and item.dtype.kind in "SO" and item.size <= 2**20:
        values = np.asarray(item[()])
        rows = [b"".join(row) for row in values] if values.dtype == "S1" and values.ndim == 2 else values
        texts = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            for value in np.ravel(np.asarray(rows, dtype=object))
        ]
    texts = [" ".join(text.replace("\0", " ").split()) for text in texts]
    return texts if len(texts) == count else [""] * count


def _directions(data: "h5py.File", file: Path, measurements: int) -> dict[str, Floats]:
    """Where the source is, relative to the listener."""
    source = _points(data, "SourcePosition", file, measurements)
    view = np.array([[1.0, 0.0, 0.0]])
    up = np.array([[0.0, 0.0, 1.0]])
    if "ListenerPosition" in data:
        source = source - _points(data, "ListenerPosition", file, measurements)
    if "ListenerView" in data:
        view = _points(data, "ListenerView", file, measurements)
        if "ListenerUp" in data:
            up = _points(data, "ListenerUp", file, measurements, like="ListenerView")
    view = _unit(view, file, "ListenerView")
    across = np.cross(up, view)
    if "ListenerUp" in data and np.linalg.norm(across, axis=-1).min() < 1e-6:
        # A common mistake: the view is spherical, and "up", which has its type, is still the Cartesian (0, 0, 1).
        up = _numbers(data, "ListenerUp", file, (1, 1))
        across = np.cross(up, view)
    across = _unit(across, file, "ListenerUp")  # to the left
    ahead = (source * view).sum(-1)
    left = (source * across).sum(-1)
    above = (source * np.cross(view, across)).sum(-1)
    distances = np.sqrt((source**2).sum(-1))
    if distances.min() < 1e-6:
        raise MetadataError(f"{file}: SourcePosition {int(distances.argmin())} is the listener's own")
    azimuths = np.degrees(np.arctan2(-left, ahead))
    azimuths[azimuths <= -180] += 360
    elevations = np.degrees(np.arcsin(np.clip(above / distances, -1, 1)))
    return {"azimuths": azimuths, "elevations": elevations, "distances": distances}


def _points(data: "h5py.File", name: str, file: Path, measurements: int, like: str | None = None) -> Floats:
    """Cartesian points, (measurements, 3)."""
    values = _broadcast(_numbers(data, name, file, (1, 1)), name, file, (measurements, 3))
    typed = data[name] if _attribute(data[name], "Type") or like is None else data[like]
    return _cartesian(values, typed, file, name)


def _cartesian(values: Floats, typed: Any, file: Path, name: str) -> Floats:
    """Convert points (..., 3) to Cartesian ones from the type of the variable `typed`."""
    kind, units = (_attribute(typed, key).casefold() for key in ("Type", "Units"))
    if kind == "cartesian":
        return values
    if kind != "spherical":
        raise MetadataError(f"{file}: {name}:Type is {shown(kind)}; expected cartesian or spherical")
    if units and not units.startswith("degree"):
        raise MetadataError(f"{file}: {name}:Units is {shown(units)}; expected degree, degree, metre")
    azimuth, elevation = np.radians(values[..., 0]), np.radians(values[..., 1])
    radius = values[..., 2]
    if name != "ListenerPosition":
        radius = np.where(radius == 0, 1.0, radius)  # a direction without a distance
    return np.stack(
        [
            radius * np.cos(elevation) * np.cos(azimuth),
            radius * np.cos(elevation) * np.sin(azimuth),
            radius * np.sin(elevation),
        ],
        axis=-1,
    )


def _unit(vectors: Floats, file: Path, name: str) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    if lengths.min() < 1e-6:
        raise MetadataError(f"{file}: {name} has no direction, or that of ListenerView")
    units: Floats = vectors / lengths
    return units
