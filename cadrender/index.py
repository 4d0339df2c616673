"""Measuring the levels of a root ahead of time: what ``cadrender index`` does."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.errors import AudioError, CadrenderError
from cadrender.pipeline.events import Event, Failed, Progressed, Remark
from cadrender.pipeline.pool import run_batches, usable_cpus
from cadrender.signals.at_mic import AtMic, head_keys, measure
from cadrender.store.durable import sync_files


@dataclass(frozen=True)
class LevelBatch:
    """One stem and the heads for which its level is not known; it can travel to another process.

    Attributes
    ----------
    song : str
        For messages.
    signals : tuple of AtMic
        All of one source.
    """

    song: str
    signals: tuple[AtMic, ...]

    @property
    def frame_scenes(self) -> int:
        """Frames times heads."""
        return sum(signal.frames for signal in self.signals)

    def shape(self) -> object:
        """Stand for all that must be compiled and planned."""
        return "levels", AtMic.shape(self.signals)

    def rehearse(self) -> None:
        """Compile and plan it."""
        AtMic.rehearse(self.signals)


@dataclass(frozen=True)
class Measured:
    """What became of a batch.

    Attributes
    ----------
    batch : LevelBatch
    error : str
        One line; empty if all went well.
    place : pathlib.Path, optional
        Where the levels were kept, if there were any.
    """

    batch: LevelBatch
    error: str = ""
    place: Path | None = None


@dataclass
class IndexSummary:
    """What was measured.

    Attributes
    ----------
    measured, known : int
        Levels, of a stem at a head position, that were measured and that were known before.
    stems : int
        Stems that were read.
    places : list of pathlib.Path
        The files that keep what was measured: beside the metadata or, where that cannot be written, in the user's
        cache.
    failures : list of str
        One line each.
    seconds : float
        Wall time.
    jobs : int
        Processes used.
    """

    places: list[Path] = field(default_factory=list)
    measured: int = 0
    known: int = 0
    stems: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    jobs: int = 1


@dataclass
class IndexPlan:
    """Levels that are not known yet; made by :func:`plan_index`.

    Attributes
    ----------
    catalogue : AtMicCatalogue
    batches : list of LevelBatch
        What is to be measured, the most expensive first.
    known : int
        Levels that are known.
    """

    catalogue: AtMicCatalogue
    batches: list[LevelBatch]
    known: int

    @property
    def levels(self) -> int:
        """Levels to measure."""
        return sum(len(batch.signals) for batch in self.batches)

    @property
    def frames(self) -> int:
        """Frames to read."""
        return sum(batch.signals[0].frames for batch in self.batches)

    def run(
        self, jobs: int | None = None, on_event: Callable[[Event], None] = lambda event: None
    ) -> IndexSummary:
        """Measure them; each stem's levels are kept as soon as they are known, and are durable at the end.

        Parameters
        ----------
        jobs : int, optional
            Processes; default: all usable CPUs.
        on_event : callable
            Called with each event when it happens.

        Raises
        ------
        CadrenderError
            If what was kept cannot be made durable.
        """
        jobs = jobs or usable_cpus()
        summary = IndexSummary(known=self.known, failures=list(self.catalogue.failures.values()), jobs=jobs)
        for line in summary.failures:
            on_event(Failed(line))
        began = time.perf_counter()
        reports = run_batches(
            self.batches, jobs, measure_batch, Measured, say=lambda line: on_event(Remark(line))
        )
        for report in reports:
            if report.error:
                summary.failures.append(report.error)
                on_event(Failed(report.error))
                continue
            if report.place and report.place not in summary.places:
                summary.places.append(report.place)
            summary.stems += 1
            summary.measured += len(report.batch.signals)
            on_event(Progressed(report.batch.signals[0].frames, 1, "stems"))
        sync_files(summary.places)
        summary.seconds = time.perf_counter() - began
        return summary


def plan_index(catalogue: AtMicCatalogue) -> IndexPlan:
    """Find out which levels of a catalogue are not known; sources are digested only where size or time changed.

    Raises
    ------
    UsageError
        If metadata or an HRIR cannot be used.
    """
    book = catalogue.level_files.open()
    book.refresh()
    batches, known = [], 0
    for batch in catalogue.batches():
        signals = [output.signal for output in batch.outputs if isinstance(output.signal, AtMic)]
        source = book.known_source(signals[0].source)
        missing = signals
        if source is not None:
            unknown = set(book.missing(source, map(head_keys, signals)))
            missing = [signal for signal in signals if head_keys(signal) in unknown]
        known += len(signals) - len(missing)
        if missing:
            batches.append(LevelBatch(batch.song, tuple(missing)))
    batches.sort(key=lambda batch: -batch.frame_scenes)
    return IndexPlan(catalogue, batches, known)


def measure_batch(batch: LevelBatch) -> Measured:
    """Measure a stem for its heads and keep the levels; whatever goes wrong is in the report."""
    first = batch.signals[0]
    book = first.book()
    try:
        source = book.look_at(first.source)
        unknown = set(book.missing(source, map(head_keys, batch.signals)))
        signals = [signal for signal in batch.signals if head_keys(signal) in unknown]
        place = None
        if signals:
            place = book.add(source, *measure(signals, source))
        return Measured(batch, place=place)
    except (AudioError, CadrenderError) as error:
        return Measured(batch, str(error))
    except MemoryError:
        return Measured(batch, f"{first.source}: not enough memory to measure it; use fewer jobs (-j)")
