"""Outputs: signals with a destination; and batches of outputs made together because they share work."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from cadrender.signals.base import Made, Signal, Sink
from cadrender.store import AudioFormat, is_complete
from cadrender.store.manifest import Manifest, key_of

CONTAINERS = ("wav", "flac")

# State of a file: inode, mtime, size.
State = tuple[int, int, int]

S = TypeVar("S", bound=Signal, covariant=True)


@dataclass(frozen=True)
class Output(Generic[S]):
    """A signal with a destination.

    Attributes
    ----------
    signal : Signal
    folder : pathlib.Path
        Its product's folder.
    name : str
        Its path in that folder, and in the manifest, with ``/``.
    container : str
        ``wav`` or ``flac``.
    unit : str
        The sample, target, excerpt or song it belongs to; these are counted.
    """

    signal: S
    folder: Path
    name: str
    container: str
    unit: str

    @functools.cached_property
    def file(self) -> Path:
        """Its destination."""
        return self.folder / self.name

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
        """Whether its file exists with the right length and format; False while the length is unknown."""
        return self.signal.frames is not None and is_complete(
            self.file, self.signal.frames, self.signal.samplerate, self.audio_format
        )

    def of_length(self, frames: int) -> Output[S]:
        """The same output, with a previously unknown length."""
        return replace(self, signal=replace(self.signal, frames=frames))

    def beside(self, levels: Mapping[str, float]) -> dict[Path, str]:
        """The text files that accompany it, with their contents; see :meth:`cadrender.signals.base.Signal.beside`."""
        return {self.file.with_suffix(suffix): text for suffix, text in self.signal.beside(levels).items()}

    def in_other_containers(self) -> Iterator[Path]:
        """Where it would be with another container."""
        return (self.file.with_suffix(f".{each}") for each in CONTAINERS if each != self.container)


@dataclass(frozen=True)
class Batch:
    """Outputs made together; paths and numbers only, so it can be sent to another process.

    Attributes
    ----------
    song : str
        For messages; batches that need each other are divided into shards by song.
    outputs : tuple of Output
        All of one signal class, recorded in one manifest.
    manifest : Manifest
        Where they are recorded.
    stale : tuple of State or None
        For each output, the file that existed when the batch was planned and is to be replaced; None for none.
    needs : tuple of (Output, State or None)
        Outputs of other batches of the same run that must be made first, likewise.
    obsolete : tuple of (pathlib.Path, pathlib.Path)
        An output's file, and one to remove once it is in place, such as one with another container.
    together : bool
        Whether all outputs are made again if one of them is out of date.
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
        """Frames times outputs: the cost of the batch."""
        return sum(output.signal.cost for output in self.outputs)

    @property
    def name(self) -> str:
        """An identifier for the batch: its first output."""
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
        """Everything that determines what must be compiled and planned; None for nothing."""
        signals = [output.signal for output in self.outputs]
        return type(signals[0]).shape(signals)

    def rehearse(self) -> None:
        """Compile and plan it."""
        signals = [output.signal for output in self.outputs]
        type(signals[0]).rehearse(signals)


def state_of(file: Path) -> State | None:
    """A file's current state; None if it is missing."""
    try:
        status = file.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
