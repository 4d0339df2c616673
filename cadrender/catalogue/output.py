"""Outputs: signals with a place; and batches of outputs that are made together because they share work."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from cadrender.signals.base import Made, Signal, Sink
from cadrender.store import AudioFormat, is_complete
from cadrender.store.manifest import Manifest, key_of

CONTAINERS = ("wav", "flac")

# A file as it was seen: inode, time of the last change, size.
State = tuple[int, int, int]

S = TypeVar("S", bound=Signal, covariant=True)


@dataclass(frozen=True)
class Output(Generic[S]):
    """A signal with a place.

    Attributes
    ----------
    signal : Signal
    file : pathlib.Path
        Its place.
    name : str
        Its path in the manifest: relative to its product's folder, with ``/``.
    container : str
        ``wav`` or ``flac``.
    unit : str
        The sample, target, excerpt or song that it belongs to; these are counted.
    """

    signal: S
    file: Path
    name: str
    container: str
    unit: str

    @property
    def key(self) -> tuple[str, str]:
        """The key of its record in the manifest."""
        return key_of(self.signal.product, self.name)

    @property
    def audio_format(self) -> AudioFormat:
        """Container and subtype."""
        return AudioFormat(self.container, self.signal.subtype)

    @property
    def bytes(self) -> int:
        """Its size on disk; an upper bound for FLAC."""
        return 44 + self.signal.cost * self.audio_format.bytes_per_frame

    def is_complete(self) -> bool:
        """Whether its file exists with the right length and format; False while the length is not known."""
        return self.signal.frames is not None and is_complete(
            self.file, self.signal.frames, self.signal.samplerate, self.audio_format
        )

    def of_length(self, frames: int) -> Output[S]:
        """The same, with a length that was not known before."""
        return replace(self, signal=replace(self.signal, frames=frames))

    def beside(self, levels: Mapping[str, float]) -> dict[Path, str]:
        """The text files that accompany it, with their contents; see :meth:`cadrender.signals.base.Signal.beside`."""
        return {self.file.with_suffix(suffix): text for suffix, text in self.signal.beside(levels).items()}

    def in_other_containers(self) -> Iterator[Path]:
        """Where it would be with another container."""
        return (self.file.with_suffix(f".{each}") for each in CONTAINERS if each != self.container)


@dataclass(frozen=True)
class Batch:
    """Outputs that are made together; paths and numbers only, so that it can travel to another process.

    Attributes
    ----------
    song : str
        For messages; batches that need each other are divided into shards by song.
    outputs : tuple of Output
        All of one class of signals, recorded in one manifest.
    manifest : Manifest
        Where they are recorded.
    stale : tuple of State or None
        For each output, the file that existed when the batch was planned and is to be replaced; None for none.
    needs : tuple of (Output, State or None)
        Outputs of other batches of the same run that must be made first, likewise.
    obsolete : tuple of (pathlib.Path, pathlib.Path)
        An output's file, and one to remove once it is in place, such as one with another container.
    together : bool
        Whether all outputs are made again if one of them is not current.
    """

    song: str
    outputs: tuple[Output[Signal], ...]
    manifest: Manifest
    stale: tuple[State | None, ...] = ()
    needs: tuple[tuple[Output[Signal], State | None], ...] = ()
    obsolete: tuple[tuple[Path, Path], ...] = ()
    together: bool = False

    @property
    def frame_scenes(self) -> int:
        """Frames times outputs: what the batch costs."""
        return sum(output.signal.cost for output in self.outputs)

    @property
    def name(self) -> str:
        """An identifier of the batch: its first output."""
        return self.outputs[0].name

    def having(self, outputs: Sequence[Output[Signal]]) -> Batch:
        """The batch with only some of its outputs."""
        known = dict(zip((output.file for output in self.outputs), self.stale, strict=False))
        stale = tuple(known.get(output.file) for output in outputs)
        return replace(self, outputs=tuple(outputs), stale=stale)

    def make(self, outputs: Sequence[Output[Signal]], sinks: Sequence[Sink]) -> list[Made]:
        """Make some of its outputs, each into its sink."""
        signals = [output.signal for output in outputs]
        return type(signals[0]).make(signals, sinks, self.manifest)

    def shape(self) -> Hashable:
        """Everything that decides what must be compiled and planned; None for nothing."""
        signals = [output.signal for output in self.outputs]
        return type(signals[0]).shape(signals)

    def rehearse(self) -> None:
        """Compile and plan it."""
        signals = [output.signal for output in self.outputs]
        type(signals[0]).rehearse(signals)


def state_of(file: Path) -> State | None:
    """A file as it is now; None if it is missing."""
    try:
        status = file.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
