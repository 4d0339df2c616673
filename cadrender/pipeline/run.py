"""The one run loop: everything between a plan and finished files with their lists."""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import Batch, Output, state_of
from cadrender.errors import CadrenderError
from cadrender.pipeline.checkpoint import Checkpoints
from cadrender.pipeline.commit import BatchReport
from cadrender.pipeline.dask import Cluster
from cadrender.pipeline.events import Clipped, Event, Failed, Progressed, Remark, Silent
from cadrender.pipeline.plan import Check, Plan, Share
from cadrender.pipeline.pool import run_batches, usable_cpus
from cadrender.signals.base import Signal
from cadrender.store import AtomicFile, ClaimedError, is_claimed, remove_leftovers
from cadrender.store.durable import sync_descriptor, sync_folder
from cadrender.store.names import check_distinct
from cadrender.wording import plural

# Seconds between checks of files that another process is writing.
_PATIENCE = 0.5


@dataclass
class Tally:
    """What a run did for one catalogue.

    Attributes
    ----------
    unit, made : str
        What is counted, in the plural (samples, targets, excerpts, songs), and the verb for it.
    done, skipped, incomplete : int
        Units completed by this run, complete before, and still lacking files.
    files, frames : int
        Files written, and their total frames.
    clipped, silent : int
        Files with clipped PCM values, and files of digital silence because they have no loudness.
    on_the_way : int
        At-mic signals rendered because they were not on disk.
    without_stems : int
        Songs that yield nothing because they have no stems.
    """

    unit: str
    made: str
    done: int = 0
    skipped: int = 0
    incomplete: int = 0
    files: int = 0
    frames: int = 0
    clipped: int = 0
    silent: int = 0
    on_the_way: int = 0
    without_stems: int = 0


@dataclass
class Summary:
    """What a run did.

    Attributes
    ----------
    tallies : list of Tally
        One per catalogue of the plan.
    failures : list of str
        One line each.
    seconds : float
        Wall time.
    jobs : int
        Processes or workers used.
    """

    tallies: list[Tally]
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    jobs: int = 1

    @property
    def nanoseconds(self) -> float:
        """Wall time per frame written."""
        frames = sum(tally.frames for tally in self.tallies)
        return 1e9 * self.seconds / frames if frames else 0.0


def run(
    plan: Plan, jobs: int | None, on_event: Callable[[Event], None], cluster: Cluster | None = None
) -> Summary:
    """Make what a plan lacks; see :meth:`Plan.run`."""
    return _Run(plan, cluster.workers if cluster else jobs or usable_cpus(), on_event, cluster).run()


class _Run:
    """A run in progress."""

    def __init__(
        self, plan: Plan, jobs: int, on_event: Callable[[Event], None], cluster: Cluster | None
    ) -> None:
        self._plan, self._jobs, self._on_event, self._cluster = plan, jobs, on_event, cluster
        tallies = [
            Tally(
                share.catalogue.unit,
                share.catalogue.made,
                skipped=share.current,
                without_stems=share.catalogue.without_stems,
            )
            for share in plan.shares
        ]
        self._summary = Summary(tallies, plan.failures, jobs=jobs)
        self._checkpoints = Checkpoints(plan.shares, cluster.sync if cluster else None)
        self._lacking = [Counter(share.units) for share in plan.shares]
        self._ours: list[set[str]] = [set() for _ in plan.shares]
        self._failed: set[Path] = set()

    def run(self) -> Summary:
        for line in self._summary.failures:
            self._on_event(Failed(line))
        began = time.perf_counter()
        with self._checkpoints:
            self._begin()
            try:
                self._make(self._plan.in_turn(self._jobs))
            except BaseException:
                self._sweep()
                with contextlib.suppress(CadrenderError):  # a full disk; the first error is the one to report
                    self._finish(ended=not self._cluster)  # its workers may still be writing
                raise
            self._finish()
        self._summary.seconds = time.perf_counter() - began
        return self._summary

    def _begin(self) -> None:
        """Create folders, remove temporary files of killed runs, bring the manifests up to date."""
        removed = 0
        for share in self._plan.shares:
            folders = dict.fromkeys(output.file.parent for output in share.todo)
            removed += make_folders(share.catalogue.folders, folders)
            others = {output.file.parent for output in share.selected} - folders.keys()
            removed += sum(map(remove_leftovers, others))
            check_distinct([*folders, *others])
        if removed:
            self._on_event(Remark(f"removed {plural(removed, 'temporary file')} of an interrupted run"))
        for share in self._plan.shares:
            _begin_manifest(share)
        self._checkpoints.begin()

    def _sweep(self) -> None:
        """Remove the temporary files of workers that were killed."""
        for folder in {output.file.parent for output in self._plan.todo}:
            remove_leftovers(folder)

    def _make(self, batches: list[Batch]) -> None:
        """Run batches; those whose files another process is writing are rechecked until they are done."""
        told = False
        while batches:
            claimed: list[Batch] = []
            waiting: list[BatchReport] = []
            with contextlib.closing(self._reports(batches)) as reports:  # ends the workers after an error
                for report in reports:
                    self._take(report)
                    if report.claimed:
                        claimed.append(report.batch.having(report.claimed))
                    if report.waiting:
                        waiting.append(report)
            producers = any(not batch.needs for batch in batches)
            if waiting and not claimed and not producers:
                for report in waiting:
                    self._fail(report.waiting, report.batch)
                return
            if claimed and not told:
                told = True
                self._on_event(Remark("another cadrender is at work on some of these files: waiting for it"))
            batches = claimed + [report.batch for report in waiting]
            while claimed and all(is_claimed(output.file) for each in claimed for output in each.outputs):
                time.sleep(_PATIENCE)
            batches = self._still_lacking(batches)

    def _reports(self, batches: list[Batch]) -> Generator[BatchReport]:
        return run_batches(batches, self._jobs, say=self._note, cluster=self._cluster)

    def _note(self, line: str) -> None:
        self._on_event(Remark(line))

    def _fail(self, line: str, batch: Batch) -> None:
        self._summary.failures.append(line)
        self._failed |= {output.file.parent for output in batch.outputs}
        self._on_event(Failed(line, batch.song))

    def _take(self, report: BatchReport) -> None:
        """Count and report the outcome of a batch."""
        if report.error:
            if report.fatal:
                self._summary.failures.append(report.error)
                raise CadrenderError(report.error)
            self._fail(report.error, report.batch)
        number = self._share_of(report.batch.outputs[0])
        if report.broken:
            self._plan.shares[number].catalogue.broken[report.batch.song] = report.error
        tally = self._summary.tallies[number]
        tally.on_the_way += report.on_the_way
        for written in report.written:
            tally.files += 1
            tally.frames += written.frames
            if clipped := int(written.levels.get("clipped", 0)):
                tally.clipped += 1
                self._on_event(Clipped(written.output.file, clipped))
            if written.levels.get("gain") == 0.0:
                tally.silent += 1
                self._on_event(Silent(written.output.file))
        self._checkpoints.wrote(number, report.written)
        self._checkpoints.found(number, [output.file for output in report.found])
        made = [written.output for written in report.written]
        self._complete(number, made, report.found, report.seconds)

    def _complete(
        self,
        number: int,
        made: Sequence[Output[Signal]],
        found: Sequence[Output[Signal]] = (),
        seconds: float = 0.0,
    ) -> None:
        """Count outputs of a share that were made, or found complete; report the units that they complete."""
        lacking, ours = self._lacking[number], self._ours[number]
        ours.update(output.unit for output in made)
        there = [*made, *found]
        self._plan.shares[number].catalogue.settled.update(output.file for output in there)
        lacking.subtract(output.unit for output in there)
        completed = {output.unit for output in there if lacking[output.unit] == 0}
        tally = self._summary.tallies[number]
        tally.done += len(completed & ours)
        tally.skipped += len(completed - ours)
        if there:
            frames = sum(output.signal.cost for output in there)
            self._on_event(Progressed(frames, len(completed), tally.unit, seconds))

    def _share_of(self, output: Output[Signal]) -> int:
        for number, share in enumerate(self._plan.shares):
            if output.file in share.reasons:
                return number
        raise AssertionError(output.file)

    def _still_lacking(self, batches: list[Batch]) -> list[Batch]:
        """The outputs of postponed batches that nobody has made meanwhile."""
        left = []
        checks: dict[int, Check] = {}
        for batch in batches:
            number = self._share_of(batch.outputs[0])
            if number not in checks:
                catalogue = self._plan.shares[number].catalogue
                checks[number] = Check(catalogue, recorded=catalogue.manifest.load())
            stale = dict(zip((output.file for output in batch.outputs), batch.stale, strict=False))
            lacking: list[Output[Signal]] = []
            found: list[Output[Signal]] = []
            for output in batch.outputs:
                untouched = stale.get(output.file) and state_of(output.file) == stale[output.file]
                current = not untouched and checks[number].reason(output) is None
                (found if current else lacking).append(output)
            if found:
                self._checkpoints.found(number, [output.file for output in found])
                self._complete(number, (), found)
            if lacking:
                left.append(batch.having(lacking))
        return left

    def _finish(self, ended: bool = True) -> None:
        """Make everything durable, then write the lists of what is complete; with several shards the last one does."""
        for folder in self._failed:
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
        self._checkpoints.finish(ended=ended)
        for share, tally, lacking in zip(
            self._plan.shares, self._summary.tallies, self._lacking, strict=True
        ):
            catalogue = share.catalogue
            catalogue.read_again()
            if self._plan.shard is None or catalogue.all_complete:
                write_lists(catalogue)
            if self._plan.shard is None:
                tally.incomplete = catalogue.incomplete(lacking)
            else:
                tally.incomplete = sum(count > 0 for count in lacking.values())


def make_folders(bases: Iterable[Path], folders: Iterable[Path]) -> int:
    """Create folders and remove the temporary files of killed runs in them; returns their number.

    Raises
    ------
    CadrenderError
        If a folder cannot be created, or a symbolic link under one of `bases` leads elsewhere.
    """
    removed = 0
    bases = tuple(bases)
    folders = list(folders)
    try:
        for folder in folders:
            base = next((each for each in bases if folder.is_relative_to(each)), folder)
            base.mkdir(parents=True, exist_ok=True)
            for step in reversed([folder, *folder.parents]):
                if step.is_relative_to(base) and step != base and step.is_symlink():
                    raise CadrenderError(f"{step}: a symbolic link; files are never written through one")
            folder.mkdir(parents=True, exist_ok=True)
            removed += remove_leftovers(folder)
            if not os.access(base, os.W_OK | os.X_OK):
                raise CadrenderError(f"{base}: this user may not write there")
    except OSError as error:
        raise CadrenderError(
            f"{error.filename or bases[0]}: cannot be made: {error.strerror or error}"
        ) from error
    return removed


def _begin_manifest(share: Share) -> None:
    """Start a manifest, or bring it up to date with inputs that were only touched."""
    if not (share.reasons or share.touched):
        return
    manifest = share.catalogue.manifest
    try:
        manifest.file.parent.mkdir(parents=True, exist_ok=True)
        manifest.append(share.touched)
    except OSError as error:
        raise CadrenderError(f"{manifest.file}: cannot be written: {error.strerror or error}") from error
    manifest.compact()


def write_lists(catalogue: Catalogue) -> None:
    """Write the lists of what is complete.

    Several processes take turns, so that the newest list remains.

    Raises
    ------
    CadrenderError
        If one cannot be written.
    """
    for place in catalogue.lists:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _in_turn(place) as file:
                file.write(catalogue.text(place).encode())
                sync_descriptor(file.descriptor)
                file.commit()
            sync_folder(place.parent)
        except OSError as error:
            raise CadrenderError(f"{place}: cannot be written: {error.strerror or error}") from error


def _in_turn(place: Path) -> AtomicFile:
    while True:
        try:
            return AtomicFile(place)
        except ClaimedError:
            time.sleep(_PATIENCE / 10)
