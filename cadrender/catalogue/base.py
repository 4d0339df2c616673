"""What all catalogues have in common: what a root can give of one product, and what is recorded of it."""

from __future__ import annotations

import abc
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cadrender.catalogue.output import CONTAINERS, Batch, Output
from cadrender.errors import AudioError
from cadrender.store import AudioFormat, read_header
from cadrender.store.manifest import Contents, Manifest, Record, key_of

if TYPE_CHECKING:
    from cadrender.config import Settings


class Catalogue(abc.ABC):
    """The outputs of a root that one list names; nothing is ever written here.

    Attributes
    ----------
    unit, made : str
        What is counted, in the plural, and what happens to it: ``samples`` are ``rendered``.
    settings : Settings
    manifest : Manifest
        Where its outputs are recorded.
    list_file : pathlib.Path
        The list of what is complete.
    folders : tuple of pathlib.Path
        Below which its outputs lie; never written to through a symbolic link inside.
    broken : dict
        The songs that a run could not make because their sources cannot be used, each with the one line that says why.
    failures : dict
        The one line that says what is wrong with a song, by its name; complete once :meth:`batches` was called.
    without_stems : int
        Songs of which nothing can be made because they have no stems; likewise.
    proven_by_contents : bool
        Whether files that are not recorded are proven by making them again.
    follows : bool
        Whether its batches come as soon as what they need is complete, rather than after everything else.
    """

    unit: ClassVar[str]
    made: ClassVar[str]
    proven_by_contents: ClassVar[bool] = False
    follows: ClassVar[bool] = False
    without_stems: int = 0
    settings: Settings
    manifest: Manifest
    list_file: Path
    folders: tuple[Path, ...]
    failures: dict[str, str]

    @functools.cached_property
    def settled(self) -> set[Path]:
        """Files that were looked at, or made, and are known to be what they should be."""
        return set()

    @functools.cached_property
    def recorded(self) -> Contents:
        """What the manifest holds."""
        return self.manifest.load()

    @property
    def records(self) -> dict[tuple[str, str], Record]:
        """The records of the manifest, by the outputs' keys."""
        return self.recorded.records

    @functools.cached_property
    def broken(self) -> dict[str, str]:  # noqa: D102 - see the class
        return {}

    @functools.cached_property
    def _recorded_later(self) -> Contents:
        return self.manifest.load()

    def read_again(self) -> None:
        """Believe what other processes have recorded meanwhile, too."""
        self.__dict__.pop("_recorded_later", None)

    def is_whole(self, output: Output) -> bool:
        """Whether an output's file is complete, and what a power cut may have spoilt is not taken for it.

        No file is read for it; one that had to be, and was not yet, does not count.
        """
        return output.is_complete() and (
            output.file in self.settled
            or _vouches_for(self.recorded, output)
            or _vouches_for(self._recorded_later, output)
        )

    def knows(self, output: Output) -> bool:
        """Whether a file in an output's place may be used: it is read where a power cut may have spoilt it."""
        if output.file in self.settled or _vouches_for(self.recorded, output):
            return True
        record = self.records.get(output.key)
        if record and record.path == output.name and self.recorded.proves(record, output.file):
            self.settled.add(output.file)
            return True
        return False

    @abc.abstractmethod
    def batches(self) -> list[Batch]:
        """All that is selected, complete or not, in batches.

        Raises
        ------
        UsageError
            If metadata or an HRIR cannot be used.
        """

    def outputs(self) -> Iterator[Output]:
        """All that is selected, one by one."""
        for batch in self.batches():
            yield from batch.outputs

    @property
    def lists(self) -> tuple[Path, ...]:
        """The files that list what is complete."""
        return (self.list_file,)

    @abc.abstractmethod
    def text(self, place: Path) -> str:
        """What one of the :attr:`lists` should hold now."""

    def orphans(self) -> list[tuple[Path, tuple[str, str]]]:
        """Files that were made of songs that cannot be used any more, as far as they are recorded, and their keys."""
        return []

    def present(self) -> Iterator[Path]:
        """All files that are there where the outputs go."""
        return iter(())

    def incomplete(self, lacking: Mapping[str, int]) -> int:
        """Count the selected units that still lack files; `lacking` says how many of those that were to be made."""
        return sum(count > 0 for count in lacking.values())

    @property
    def all_complete(self) -> bool:
        """Whether all that the list should name is complete: then a shard may write it."""
        return True

    def describe(self) -> list[str]:
        """A few lines on what there is, for the beginning of a run."""
        return []

    def format_of(
        self, product: str, name: str, asked: AudioFormat | None, usual: AudioFormat
    ) -> AudioFormat:
        """The format of an output: as asked for, else as it is recorded, else the usual one of the root."""
        if asked is not None:
            return asked
        record = self.records.get(key_of(product, f"{name}.wav"))
        return AudioFormat(record.container, record.subtype) if record else usual

    def usual_format(
        self, product: str, default: AudioFormat, places: Iterable[tuple[Path, str]] = ()
    ) -> AudioFormat:
        """The commonest format of a product's records; without records, that of the first file found.

        Parameters
        ----------
        product : str
        default : AudioFormat
            Where there is neither.
        places : iterable of (pathlib.Path, str)
            Folders and stems of file names to look at.
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


def _vouches_for(recorded, output):
    """Whether what is recorded vouches for an output's file, as far as that can be told without reading it."""
    record = recorded.records.get(output.key)
    if record is None or record.path != output.name:
        return output.signal.unrecorded_counts and not recorded.doubts_unrecorded(output.file.parent)
    return record.subtype == output.signal.subtype and recorded.vouches_for(record, output.file)
