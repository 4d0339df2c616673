"""Which outputs of a catalogue are out of date, and why: by size and mtime, then by digest. Nothing is written here."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import Batch, Output, State, state_of
from cadrender.errors import AudioError, CadrenderError
from cadrender.metadata.writing import holds
from cadrender.pipeline.shards import Shard
from cadrender.signals.base import Signal
from cadrender.signals.stored import Stored
from cadrender.store import read_header, read_stem
from cadrender.store.audio import exact_dtype
from cadrender.store.durable import this_mount
from cadrender.store.manifest import Contents, Input, Inputs, Manifest, Record, new_id, relative_name

if TYPE_CHECKING:
    from cadrender.pipeline.dask import Cluster
    from cadrender.pipeline.events import Event
    from cadrender.pipeline.run import Summary


@dataclass(frozen=True)
class Reason:
    """Why an output is out of date.

    Attributes
    ----------
    kind : str
        ``missing``, ``incomplete`` (another length, or not an audio file), ``damaged`` (by a power cut),
        ``unrecorded``, ``format``, ``parameters``, ``input`` (an input has changed), ``together`` (a file made
        together with it is out of date) or ``asked`` (requested again).
    cause : pathlib.Path, optional
        The input that changed.
    replaces : bool
        Whether a complete file exists, to be kept until the new one is complete.
    """

    kind: str
    cause: Path | None = None
    replaces: bool = False


@dataclass
class Share:
    """A plan's part of one catalogue.

    Attributes
    ----------
    catalogue : Catalogue
    units : dict
        Number of outputs each unit lacks; 0 if it is complete.
    selected : list of Output
        All outputs that were checked.
    reasons : dict
        File to Reason, for outputs that are out of date.
    touched : list of Record
        New records of files whose inputs changed only in mtime or name, or that had to be proven.
    unsynced : list of (pathlib.Path, str)
        Current files not known to be on disk, with the ids of their records.
    batches : list of Batch
        What to make, the most expensive songs first.
    """

    catalogue: Catalogue
    units: Counter[str] = field(default_factory=Counter)
    selected: list[Output[Signal]] = field(default_factory=list)
    reasons: dict[Path, Reason] = field(default_factory=dict)
    touched: list[Record] = field(default_factory=list)
    unsynced: list[tuple[Path, str]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    @property
    def current(self) -> int:
        """Units that are complete."""
        return sum(not lacks for lacks in self.units.values())

    @property
    def todo(self) -> list[Output[Signal]]:
        """The outputs that are out of date."""
        return [output for output in self.selected if output.file in self.reasons]


@dataclass
class Plan:
    """The work of one run; created by :func:`make_plan`.

    Attributes
    ----------
    shares : list of Share
        One for each catalogue.
    shard : Shard, optional
        This run's part of the work.
    """

    shares: list[Share]
    shard: Shard | None = None

    def __repr__(self) -> str:
        parts = [f"{len(each.todo)} files of {each.catalogue.unit}" for each in self.shares]
        return f"<Plan: {', '.join(parts)} to make>"

    @property
    def failures(self) -> list[str]:
        """Why songs cannot be used, one line each."""
        lines = (line for share in self.shares for line in share.catalogue.failures.values())
        return list(dict.fromkeys(lines))

    @property
    def batches(self) -> list[Batch]:
        """The batches to make."""
        return self.in_turn(1)

    @property
    def todo(self) -> list[Output[Signal]]:
        """The outputs to make."""
        return [output for share in self.shares for output in share.todo]

    @property
    def bytes(self) -> int:
        """Bytes to write; an upper bound for FLAC."""
        return sum(output.bytes for output in self.todo)

    @property
    def frame_scenes(self) -> int:
        """Frames to write."""
        return sum(output.signal.cost for output in self.todo)

    @property
    def unstored(self) -> int:
        """Number of at-mic signals that are not on disk and will be rendered on the way."""
        parts = {}
        for output in self.todo:
            for value in output.signal.inputs().values():
                if isinstance(value, Stored) and not output.signal.waits:
                    parts[value.files] = value
        return sum(part.find() is None for part in parts.values())

    def in_turn(self, jobs: int) -> list[Batch]:
        """The batches to make, in the order in which `jobs` processes start them.

        A batch that needs others comes soon after them, while their files are in the page cache, with as many batches
        in between as there are other processes, so that what it needs is probably done when it starts. One that starts
        too early is postponed to the end.
        """
        order: list[Batch] = []
        for share in self.shares:
            if not share.catalogue.follows or not order:
                order += share.batches
                continue
            places = {output.file: place for place, batch in enumerate(order) for output in batch.outputs}
            following: dict[int, list[Batch]] = {}
            for batch in share.batches:
                needed = [places[need.file] for need, _ in batch.needs if need.file in places]
                place = min(max(needed) + jobs - 1, len(order) - 1) if needed else -1
                following.setdefault(place, []).append(batch)
            order = following.pop(-1, []) + [
                each for place, batch in enumerate(order) for each in (batch, *following.get(place, ()))
            ]
        return order

    def run(
        self,
        jobs: int | None = None,
        *,
        on_event: Callable[[Event], None] = lambda event: None,
        cluster: Cluster | None = None,
    ) -> Summary:
        """Make what is out of date, and write the lists of what is complete.

        Parameters
        ----------
        jobs : int, optional
            Processes; default: all usable CPUs.
        on_event : callable
            Called with each :class:`cadrender.pipeline.events.Event` as it happens.
        cluster : Cluster, optional
            Where to do the work; default: processes on this machine.

        Raises
        ------
        CadrenderError
            If nothing more can be written (disk full, read-only); the lists are written first if possible.
        """
        from cadrender.pipeline.run import run

        return run(self, jobs, on_event, cluster)

    def check_space(self, jobs: int = 1) -> None:
        """Compare what will be written with the free space of the disk.

        Parameters
        ----------
        jobs : int
            Number of processes; each may need temporary files besides its outputs.

        Raises
        ------
        CadrenderError
            If it does not fit.
        """
        rendered = 20 if self.unstored else 0
        scratch = [
            rendered * batch.outputs[0].signal.cost
            + sum(output.signal.scratch * output.signal.cost for output in batch.outputs)
            for batch in self.batches
        ]
        needed = self.bytes + sum(sorted(scratch, reverse=True)[:jobs])
        for share in self.shares:
            if share.reasons:
                check_free(share.catalogue.folders[0], needed)


def make_plan(
    *catalogues: Catalogue,
    again: Collection[Path] = (),
    only: Collection[Path] | None = None,
    damaged: Collection[Path] = (),
    shard: Shard | None = None,
    by_song: bool = False,
    shard_songs: Collection[str] | None = None,
) -> Plan:
    """Find what is missing or out of date.

    Parameters
    ----------
    *catalogues : Catalogue
        Later ones may need what earlier ones make.
    again : collection of pathlib.Path
        Files to make again in any case.
    only : collection of pathlib.Path, optional
        Consider only these files.
    damaged : collection of pathlib.Path
        Sources from which nothing may be made.
    shard : Shard, optional
        Plan only this part of the work; default: all.
    by_song : bool
        Whether a shard takes whole songs, as it always does with several catalogues.
    shard_songs : collection of str, optional
        The shard's songs; default: chosen here.

    Raises
    ------
    UsageError
        If metadata or an HRIR cannot be used.
    """
    by_song = by_song or len(catalogues) > 1 or shard_songs is not None
    making: dict[Path, _Making] = {}
    shares, mine = [], shard_songs
    for catalogue in catalogues:
        batches = catalogue.batches()
        if shard and by_song:
            mine = shard.songs(batches) if mine is None else mine
            batches = [batch for batch in batches if batch.song in mine]
        elif shard:
            batches = shard.of(batches)
        shares.append(_look_at(catalogue, batches, set(again), only, set(damaged), making))
    return Plan(shares, shard)


# An output to be made, and the file that it replaces.
_Making = tuple[Output[Signal], State | None]


def _look_at(
    catalogue: Catalogue,
    batches: Sequence[Batch],
    again: set[Path],
    only: Collection[Path] | None,
    damaged: set[Path],
    making: dict[Path, _Making],
) -> Share:
    """Find the outputs that are out of date; those to be made are added to `making`."""
    share, planned = Share(catalogue), []
    check = Check(catalogue, contents=_contents(batches))
    for batch in batches:
        outputs: list[Output[Signal]] = []
        stale: list[State | None] = []
        needs: dict[Path, _Making] = {}
        obsolete = list(batch.obsolete)
        looked_at = []
        for output in batch.outputs:
            if only is not None and output.file not in only:
                continue
            needed = [making[file] for file in _files(output.signal) if file in making]
            reason = check.reason(output)
            if reason is None and output.file in again:
                reason = Reason("asked", replaces=True)
            if reason is None and needed:
                reason = Reason("input", needed[0][0].file, replaces=True)
            looked_at.append((output, reason, needed))
        all_of_them = batch.together and any(reason for _, reason, _ in looked_at)
        for output, reason, needed in looked_at:
            if reason is None and all_of_them:
                reason = Reason("together", replaces=True)
            share.selected.append(output)
            share.units[output.unit] += reason is not None
            if reason is None:
                catalogue.settled.add(output.file)
                continue
            if wrong := _wrong_input(output.signal, again, damaged, making):
                catalogue.failures[output.name] = (
                    f"{output.file}: not made: {wrong} is wrong, and cannot be made again"
                )
                continue
            share.reasons[output.file] = reason
            outputs.append(output)
            stale.append(state_of(output.file))
            needs |= {need[0].file: need for need in needed}
            obsolete += [(output.file, other) for other in check.obsolete(output)]
        if outputs:
            planned.append(
                replace(
                    batch,
                    outputs=tuple(outputs),
                    stale=tuple(stale),
                    needs=tuple(needs.values()),
                    obsolete=tuple(obsolete),
                )
            )
            making |= {output.file: (output, state) for output, state in zip(outputs, stale, strict=True)}
    share.touched, share.unsynced = check.touched, check.unsynced
    share.batches = _most_expensive_songs_first(planned)
    return share


def _contents(batches: Iterable[Batch]) -> dict[Path, bool]:
    """Whether files hold their signals, for signals verified by making them; checked in threads."""
    outputs = [
        output
        for batch in batches
        for output in batch.outputs
        if output.signal.remade_to_verify and output.is_complete()
    ]
    with ThreadPoolExecutor() as threads:
        return dict(zip((output.file for output in outputs), threads.map(holds_signal, outputs), strict=True))


def _files(signal: Signal) -> Iterator[Path]:
    """Where a signal's inputs are stored."""
    for value in signal.inputs().values():
        yield from (value.files if isinstance(value, Stored) else (value,))


def _read_files(signal: Signal) -> Iterator[Path]:
    """The files that a signal would be made from now."""
    for value in signal.inputs().values():
        if not isinstance(value, Stored):
            yield value
        elif found := value.find():
            yield found[0]
        elif value.at_mic:
            yield from _read_files(value.at_mic)


def _wrong_input(
    signal: Signal, again: set[Path], damaged: set[Path], making: Mapping[Path, _Making]
) -> Path | None:
    """An input from which nothing may be made: a wrong file that is not made again, or a damaged source."""
    if again:
        for file in _files(signal):
            if file in again and file not in making and file.exists():
                return file
    if damaged:
        return next((file for file in _read_files(signal) if file in damaged), None)
    return None


def _most_expensive_songs_first(batches: Sequence[Batch]) -> list[Batch]:
    cost: dict[str, int] = {}
    for batch in batches:
        cost[batch.song] = max(cost.get(batch.song, 0), batch.frame_scenes)
    return sorted(batches, key=lambda batch: -cost[batch.song])


class Check:
    """Decides whether outputs of a catalogue are current; each input is checked once.

    Parameters
    ----------
    catalogue : Catalogue
    recorded : Contents, optional
        The manifest, reread; default: the catalogue's.
    digested : dict, optional
        Files already digested: path to Input, or to None if unreadable. Such a file is identified by its digest,
        whatever its size and mtime.
    contents : dict, optional
        Path to whether a file holds its signal, for signals verified by making them; default: checked when
        needed.

    Attributes
    ----------
    touched : list of Record
        New records of files whose inputs differ in mtime or name but not in bytes, and of files proven by reading
        them.
    unsynced : list of (pathlib.Path, str)
        Current files not known to be on disk, with the ids of their records.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        recorded: Contents | None = None,
        digested: dict[Path, Input | None] | None = None,
        contents: dict[Path, bool] | None = None,
    ) -> None:
        recorded = catalogue.recorded if recorded is None else recorded
        self._recorded = recorded
        self._records = recorded.records
        self._manifest: Manifest = catalogue.manifest
        self._stats: dict[Path, tuple[int, int]] = {}
        self._digests = dict(digested or {})
        self._contents = contents
        self.touched: list[Record] = []
        self.unsynced: list[tuple[Path, str]] = []

    def reason(self, output: Output[Signal]) -> Reason | None:
        """Why an output is out of date; None if it is current."""
        signal = output.signal
        record = self._records.get(output.key)
        if signal.frames is None:  # only the record knows
            if record is None:
                return Reason("incomplete" if output.file.exists() else "missing")
            output = output.of_length(record.frames)
        if not output.is_complete():
            return _why_incomplete(output)
        unrecorded = record is None or record.path != output.name
        if unrecorded and self._recorded.doubts_unrecorded(output.file.parent):
            return Reason("unrecorded", replaces=True)
        if signal.remade_to_verify:
            return self._reason_by_contents(output, record)
        if record is None or record.path != output.name:
            return None if signal.unrecorded_counts else Reason("unrecorded", replaces=True)
        proven = self._proven(output, record)
        if proven is None:
            return Reason("damaged")
        if wrong_beside(output, record):
            return Reason("incomplete")
        if record.parameters != signal.parameters():
            return Reason("parameters", replaces=True)
        cause, now = self._compare(signal, record.inputs)
        if cause is not None:
            return Reason("input", cause, replaces=True)
        if proven is not record or now != record.inputs:
            self.touched.append(replace(proven, inputs=now))
        if not proven.durable:
            self.unsynced.append((output.file, proven.id))
        return None

    def _reason_by_contents(self, output: Output[Signal], record: Record | None) -> Reason | None:
        """Why an output whose signal is verified by making it is out of date."""
        parameters = output.signal.parameters()
        other = record is not None and record.parameters != parameters
        if not (holds_signal(output) if self._contents is None else self._contents[output.file]):
            return Reason("parameters" if other else "input", _first(output.signal), replaces=True)
        if record is not None:
            if other:  # such as silence from another place
                self.touched.append(replace(record, parameters=parameters))
            if record.path == output.name and not record.durable:
                self.unsynced.append((output.file, record.id))
        return None

    def _proven(self, output: Output[Signal], record: Record) -> Record | None:
        """The record of a file known to be intact, a new one if it had to be read; None if it is not intact."""
        same_format = record.subtype == output.signal.subtype  # otherwise it is not this file
        if same_format and self._recorded.vouches_for(record, output.file):
            return record
        mount = this_mount(output.file.parent)
        try:
            seen = self._manifest.look_at(output.file)
        except AudioError:
            return None
        if seen.digest != record.digest:
            return None
        # A new id: runs cut off by a power cut were going to replace the file of the old one.
        return replace(record, id=new_id(), mount=mount, mtime_ns=seen.mtime_ns, durable=False)

    def record(self, output: Output[Signal]) -> Record | None:
        """The record of an output, in any container."""
        return self._records.get(output.key)

    def obsolete(self, output: Output[Signal]) -> list[Path]:
        """An output's recorded files in other containers."""
        record = self._records.get(output.key)
        return [
            file
            for file in output.in_other_containers()
            if record and file.name == PurePosixPath(record.path).name and file.exists()
        ]

    def changed_input(self, output: Output[Signal], record: Record) -> Path | None:
        """The first input of an output that differs from its record; None if all match."""
        return self._compare(output.signal, record.inputs)[0]

    def _compare(self, signal: Signal, recorded: Inputs) -> tuple[Path | None, dict[str, Input | Inputs]]:
        """The first input that has changed, and the others as they are now."""
        cause: Path | None = None
        now: dict[str, Input | Inputs] = {}
        inputs = signal.inputs()
        for role, value in inputs.items():
            known = recorded.get(role)
            present: Input | Inputs | None = known
            if isinstance(value, Stored):
                different, present = self._compare_stored(value, known)
            elif isinstance(known, Input):
                present = self._now(value, known)
                different = value if present is None or present.digest != known.digest else None
            else:
                different = value
            if present is not None:
                now[role] = present
            cause = cause or different
        if recorded.keys() - inputs.keys():
            cause = cause or _first(signal)
        return cause, now

    def _compare_stored(
        self, part: Stored, known: Input | Inputs | None
    ) -> tuple[Path | None, Input | Inputs | None]:
        """Compare an at-mic stem's file if that was read, otherwise the inputs it was rendered from."""
        if isinstance(known, Input):
            states = [self._stat(file) for file in part.files]
            there = [file for file, state in zip(part.files, states, strict=True) if state[0] >= 0]
            if not there:
                return self._compare_lost(part, known), known
            return (None if (known.bytes, known.mtime_ns) in states else there[0]), known
        if known is None:
            return part.files[0], known
        if part.at_mic is None:
            return None, known
        return self._compare(part.at_mic, known)

    def _compare_lost(self, part: Stored, known: Input) -> Path | None:
        """What would make a missing at-mic stem another one if it was rendered again; None for nothing."""
        record = part.record
        if record is None or (record.bytes, record.mtime_ns) != (known.bytes, known.mtime_ns):
            return part.files[0]  # nothing says what it was made from
        if part.at_mic is None:
            return None
        if record.subtype != part.at_mic.subtype:
            return part.files[0]
        return self._compare(part.at_mic, record.inputs)[0]

    def _now(self, file: Path, known: Input) -> Input | None:
        """A file's current state: `known` itself if it looks unchanged, None if it differs or is unreadable."""
        name = relative_name(file, self._manifest.base)
        if file in self._digests:
            return self._digests[file]
        size, mtime_ns = self._stat(file)
        if (name, size, mtime_ns) == (known.path, known.bytes, known.mtime_ns):
            return known
        if size != known.bytes or not known.digest:  # it differs, or counts as different: no need to read it
            return None
        try:
            self._digests[file] = self._manifest.look_at(file)
        except AudioError:
            self._digests[file] = None
        return self._digests[file]

    def _stat(self, file: Path) -> tuple[int, int]:
        if file not in self._stats:
            try:
                status = file.stat()
                self._stats[file] = status.st_size, status.st_mtime_ns
            except OSError:
                self._stats[file] = -1, -1
        return self._stats[file]


def _why_incomplete(output: Output[Signal]) -> Reason:
    """Distinguish another format from a damaged or missing file."""
    for file in (output.file, *output.in_other_containers()):
        if not file.exists():
            continue
        try:
            header = read_header(file)
        except AudioError:
            continue
        if (header.frames, header.channels) == (output.signal.frames, 2) or file == output.file:
            same_length = header.frames == output.signal.frames
            other_rate = header.samplerate != output.signal.samplerate
            kind = "format" if same_length or other_rate else "incomplete"
            return Reason(kind, replaces=same_length or other_rate)
    return Reason("incomplete" if output.file.exists() else "missing")


def wrong_beside(output: Output[Signal], record: Record) -> Path | None:
    """The first of an output's text files with wrong content; None if all are right."""
    texts = output.beside(record.levels)
    return next((place for place, text in texts.items() if not holds(place, text)), None)


def _first(signal: Signal) -> Path | None:
    return next(_files(signal), None)


def holds_signal(output: Output[Signal]) -> bool:
    """Whether an output's file holds exactly its signal; True if the signal cannot be read."""
    signal = output.signal
    try:
        present = read_stem(output.file, signal.samplerate)
    except AudioError:
        return False
    try:
        wanted = signal.read(dtype=exact_dtype(signal.subtype))
    except AudioError:
        return True  # making it will report the unreadable source
    return np.array_equal(present, wanted)


def check_free(folder: Path, needed: int) -> None:
    """Compare the bytes to be written with the free space of a folder's disk.

    Raises
    ------
    CadrenderError
        If they do not fit.
    """
    if needed > (free := free_space(folder)):
        raise CadrenderError(
            f"{folder}: {needed / 1e9:.2f} GB will be written, "
            f"and {free / 1e9:.2f} GB are free (--force to try all the same)"
        )


def free_space(folder: Path) -> int:
    """Free bytes on the disk that holds or will hold ``folder``."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
