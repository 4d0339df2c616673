"""Telling people how a long run goes: a bar on a terminal, a line now and then in a log."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cadrender.cli.log import record, tell
from cadrender.wording import duration

# Seconds between two lines where there is no terminal.
_LOG_INTERVAL = 10.0

# Columns of a terminal from which on there is room for everything.
_WIDE = 110


class RunProgress:
    """Progress of a run; a context manager.

    Parameters
    ----------
    samples : int
        Samples to complete, or what `unit` says.
    frame_scenes : int
        All the work, in frames times heads.
    size : int
        Bytes of all the work.
    samplerate : int
        In hertz.
    quiet : bool
        Show nothing but what is said with :meth:`say`.
    unit : str
        What is counted; default: samples.
    jobs : int
        Processes at work.
    """

    def __init__(self, samples, frame_scenes, size, samplerate, quiet=False, unit="samples", jobs=1) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._samples, self._total = samples, frame_scenes
        self._samplerate, self._bytes = samplerate, size / max(1, frame_scenes)
        self._quiet, self._unit, self._jobs = quiet, unit, jobs
        self._done = self._samples_done = 0
        self._seconds = 0.0
        self._began = self._spoke = self._advanced = time.monotonic()
        self._bar = None
        # FORCE_COLOR makes rich take a log for a terminal: colours may go there, a moving bar may not.
        if self._console.is_terminal and self._console.file.isatty() and not quiet:
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

    def _speed(self):
        """Frames a second; from what the work itself took where that is known, so that start-up does not count."""
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

    def advance(self, frame_scenes, samples, seconds=0.0) -> None:
        """Count work done and samples completed; `seconds` is how long that took one process, if it is known."""
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

    def say(self, line) -> None:
        """Print one line above the bar, or to the log."""
        if self._bar is None:
            tell(line)
        else:
            record(line)
            self._bar.console.print(line, markup=False, emoji=False)

    def __enter__(self):
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.stop()


class _Now(TextColumn):
    """What a function says at the moment."""

    def __init__(self, text) -> None:
        super().__init__("")
        self._text = text

    def render(self, task):
        return Text(self._text())
