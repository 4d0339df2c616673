"""What all catalogues share: a root's outputs of one product, and their records."""

from __future__ import annotations

import abc
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cadrender.catalogue.output import CONTAINERS, Batch, Output
from cadrender.errors import AudioError
from cadrender.store import AudioFormat, read_header
from cadrender.store.manifest import Contents, Manifest, Record, key_of

if TYPE_CHECKING:
    from cadrender.config import Settings
    from cadrender.signals.base import Signal


class Catalogue(abc.ABC):
    """The outputs of a root that belong to one list; a catalogue never writes.

    Attributes
    ----------
    unit, made : str
        What is counted, in the plural, and the verb for it: ``samples`` are ``rendered``.
    place : str
        The setting that says where its outputs are; empty if they are always in the root.
    settings : Settings
    manifest : Manifest
        Where its outputs are recorded.
    list_file : pathlib.Path
        The list of complete units.
    folders : tuple of pathlib.Path
        The folders of its outputs; never written to through a symbolic link inside.
    broken : dict
        Songs that a run could not make because their sources are unusable, each with a one-line reason.
    failures : dict
        One line per faulty song, by name; complete after :meth:`batches`.
    without_stems : int
        Number of songs that yield nothing because they have no stems; complete after :meth:`batches`.
    proven_by_contents : bool
        Whether unrecorded files are proven by making them again.
    follows : bool
        Whether its batches run as soon as what they need is complete, rather than after everything else.
    """

    unit: ClassVar[str]
    made: ClassVar[str]
    place: ClassVar[str] = ""
    proven_by_contents: ClassVar[bool] = False
    follows: ClassVar[bool] = False
    settings: Settings
    manifest: Manifest
    list_file: Path
    folders: tuple[Path, ...]
    failures: dict[str, str]

    @property
    def without_stems(self) -> int:  # noqa: D102 - see the class
        return 0

    @functools.cached_property
    def settled(self) -> set[Path]:
        """Files that were checked or made, and are known to be right."""
        return set()

    @functools.cached_property
    def recorded(self) -> Contents:
        """The contents of the manifest."""
        return self.manifest.load()

    @property
    def records(self) -> dict[tuple[str, str], Record]:
        """The manifest's records, by output key."""
        return self.recorded.records

    @functools.cached_property
    def broken(self) -> dict[str, str]:  # noqa: D102 - see the class
        return {}

    @functools.cached_property
    def _recorded_later(self) -> Contents:
        return self.manifest.load()

    def read_again(self) -> None:
        """Take into account what other processes have recorded meanwhile."""
        self.__dict__.pop("_recorded_later", None)

    def is_whole(self, output: Output[Signal]) -> bool:
        """Whether an output's file is complete and cannot have been damaged by a power cut.

        No file is read; one that would have to be, and has not been yet, does not count.
        """
        return output.is_complete() and (
            output.file in self.settled
            or _vouches_for(self.recorded, output)
            or _vouches_for(self._recorded_later, output)
        )

    def knows(self, output: Output[Signal]) -> bool:
        """Whether a file in an output's place may be used; it is read if a power cut may have damaged it."""
        if output.file in self.settled or _vouches_for(self.recorded, output):
            return True
        record = self.records.get(output.key)
        if record and record.path == output.name and self.recorded.proves(record, output.file):
            self.settled.add(output.file)
            return True
        return False

    @abc.abstractmethod
    def batches(self) -> list[Batch]:
        """All selected outputs, complete or not, in batches.

        Raises
        ------
        UsageError
            If metadata or an HRIR cannot be used.
        """

    def outputs(self) -> Iterator[Output[Signal]]:
        """All selected outputs, one by one."""
        for batch in self.batches():
            yield from batch.outputs

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files that list what is complete."""
        return (self.list_file,)

    @abc.abstractmethod
    def text(self, place: Path) -> str:
        """What one of the :attr:`lists` should contain now."""

    def orphans(self) -> list[tuple[Path, tuple[str, str]]]:
        """Recorded files made from songs that are no longer usable, and their keys."""
        return []

    def made_sources(self) -> dict[Path, Record]:
        """Sources that are recorded because they were made, too, and their records."""
        return {}

    def mismatch(self, outputs: Sequence[Output[Signal]]) -> str:
        """One line about files of a unit that do not hold their signals."""
        return f"not what {'its' if len(outputs) == 1 else 'their'} source holds"

    def present(self) -> Iterator[Path]:
        """All existing files in the outputs' folders."""
        return iter(())

    def incomplete(self, lacking: Mapping[str, int]) -> int:
        """Count the selected units that still lack files; `lacking` counts the files a run did not make."""
        return sum(count > 0 for count in lacking.values())

    @property
    def all_complete(self) -> bool:
        """Whether everything that the list should name is complete, so that a shard may write it."""
        return True

    def describe(self) -> list[str]:
        """A few lines about the catalogue, for the start of a run."""
        return []

    def format_of(
        self, product: str, name: str, asked: AudioFormat | None, usual: AudioFormat
    ) -> AudioFormat:
        """The format of an output: as requested, else as recorded, else the root's usual one."""
        record = self.records.get(key_of(product, f"{name}.wav"))
        present = AudioFormat(record.container, record.subtype) if record else usual
        return asked.over(present) if asked else present

    def usual_format(
        self, product: str, default: AudioFormat, places: Iterable[tuple[Path, str]] = ()
    ) -> AudioFormat:
        """The most common format of a product's records; without records, that of the first file found.

        Parameters
        ----------
        product : str
        default : AudioFormat
            Used if there is neither.
        places : iterable of (pathlib.Path, str)
            Folders and file name stems to look at.
        """
        found = Counter(
            (record.container, record.subtype)
            for (of, _), record in self.records.items()
            if of == product and record.container in CONTAINERS
        )
        if found:
            return AudioFormat(*found.most_common(1)[0][0])
        for folder, stem in places:
            if not folder.is_dir():
                continue
            for container in CONTAINERS:
                try:
                    header = read_header(folder / f"{stem}.{container}")
                except AudioError:
                    continue
                if header.subtype in ("PCM_16", "PCM_24", "FLOAT") and header.format == container.upper():
                    return AudioFormat(container, header.subtype)
        return default


def _vouches_for(recorded: Contents, output: Output[Signal]) -> bool:
    """Whether a manifest vouches for an output's file, without reading the file."""
    record = recorded.records.get(output.key)
    if record is None or record.path != output.name:
        return output.signal.unrecorded_counts and not recorded.doubts_unrecorded(output.file.parent)
    return record.subtype == output.signal.subtype and recorded.vouches_for(record, output.file)
