"""How a long run is getting on: a bar on a terminal, a line now and then in a log."""

import time
from collections.abc import Callable
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cadrender.cli.log import record, tell
from cadrender.wording import duration

# Seconds between two lines where there is no terminal.
_LOG_INTERVAL = 10.0

# Columns of a terminal that show everything.
_WIDE = 110


def _on_terminal(console: Console) -> bool:
    """Whether a bar can move; FORCE_COLOR alone makes rich take a log for a terminal."""
    return console.is_terminal and console.file.isatty()


class RunProgress:
    """Progress of a run; a context manager.

    Parameters
    ----------
    samples : int
        Samples to complete, or whatever `unit` names.
    frame_scenes : int
        All the work, in frames x heads.
    size : int
        Bytes of all the work.
    samplerate : int
        In hertz.
    quiet : bool
        Show only the lines of :meth:`say`.
    unit : str
        What is counted, in the plural.
    jobs : int
        Processes at work.
    """

    def __init__(
        self,
        samples: int,
        frame_scenes: int,
        size: int,
        samplerate: int,
        quiet: bool = False,
        unit: str = "samples",
        jobs: int = 1,
    ):
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._samples, self._total = samples, frame_scenes
        self._samplerate, self._bytes = samplerate, size / max(1, frame_scenes)
        self._quiet, self._unit, self._jobs = quiet, unit, jobs
        self._done = self._samples_done = 0
        self._seconds = 0.0
        self._began = self._spoke = self._advanced = time.monotonic()
        self._bar: Progress | None = None
        if _on_terminal(self._console) and not quiet:
            wide = self._console.width >= _WIDE
            self._bar = Progress(
                _Now(self._count),
                BarColumn(40 if wide else max(4, self._console.width - 70)),
                TextColumn("{task.percentage:3.0f} %"),
                *([_Now(self._rate), TimeElapsedColumn()] if wide else [_Now(self._short_rate)]),
                _Now(self._left),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=max(1, frame_scenes))

    def _count(self) -> str:
        written = f", {self._done * self._bytes / 1e9:.2f} GB" if self._bytes else ""
        return f"{self._samples_done} of {self._samples} {self._unit}{written}"

    def _speed(self) -> float:
        """Frames a second; from the time of the work itself where it is known, so that start-up does not count."""
        seconds = self._seconds / self._jobs or self._advanced - self._began
        return self._done / max(1e-9, seconds)

    def _rate(self) -> str:
        return f"{self._speed() / self._samplerate:.0f} s of audio a second"

    def _short_rate(self) -> str:
        return f"{self._speed() / self._samplerate:.0f} x real time"

    def _left(self) -> str:
        if not (speed := self._speed()):
            return "starting"
        left = (self._total - self._done) / speed - (time.monotonic() - self._advanced)
        return f"{duration(max(0.0, left))} left"

    def advance(self, frame_scenes: int, samples: int, seconds: float = 0.0) -> None:
        """Count work done and samples completed; `seconds` is how long it took one process, 0 if unknown."""
        self._advanced = time.monotonic()
        self._seconds += seconds
        self._done += frame_scenes
        self._samples_done += samples
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        if self._advanced - self._spoke >= _LOG_INTERVAL:
            self._spoke = self._advanced
            percentage = 100 * self._done / max(1, self._total)
            line = f"{percentage:.0f} %: {self._count()}, {self._rate()}, {self._left()}"
            (tell if self._bar is None and not self._quiet else record)(line)

    def say(self, line: str) -> None:
        """Print one line above the bar, or to the log."""
        if self._bar is None:
            tell(line)
        else:
            record(line)
            self._bar.console.print(line, markup=False, emoji=False)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class StageProgress:
    """Progress of work in stages, each of its own length; a context manager. Advanced from several threads.

    Parameters
    ----------
    quiet : bool
        Show only the lines of :meth:`say`.
    """

    def __init__(self, quiet: bool):
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        terminal = _on_terminal(console)
        self._log = not quiet and not terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not terminal,
        )
        self._task: TaskID | None = None
        self._stage = ""
        self._done = self._total = 0
        self._spoke = time.monotonic()

    def begin(self, stage: str, total: int) -> None:
        """Begin the next stage."""
        self._stage, self._done, self._total = stage, 0, max(total, 1)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(stage, total=self._total)

    def advance(self, count: int) -> None:
        """Count work done in this stage."""
        if self._task is not None:
            self._bar.update(self._task, advance=count)
        self._done += count  # for the log only: a count lost between two threads does no harm
        if self._log and time.monotonic() - self._spoke >= _LOG_INTERVAL:
            self._spoke = time.monotonic()
            tell(f"{self._stage}: {100 * self._done / self._total:.0f} %")

    def say(self, line: str) -> None:
        """Print one line above the bar, or to standard output."""
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(line, markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()


class _Now(TextColumn):
    """What a function returns at the moment."""

    def __init__(self, text: Callable[[], str]):
        super().__init__("")
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(self._text())
