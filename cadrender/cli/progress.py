"""Telling people how a long run goes: a bar on a terminal, a line now and then in a log."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cadrender.wording import duration

# Seconds between two lines where there is no terminal.
_LOG_INTERVAL = 10.0


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
    """

    def __init__(self, samples, frame_scenes, size, samplerate, quiet=False, unit="samples"):
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._samples, self._total = samples, frame_scenes
        self._samplerate, self._bytes = samplerate, size / max(1, frame_scenes)
        self._quiet, self._unit = quiet, unit
        self._done = self._samples_done = 0
        self._began = self._spoke = time.monotonic()
        self._bar = None
        # FORCE_COLOR makes rich take a log for a terminal: colours may go there, a moving bar may not.
        if self._console.is_terminal and self._console.file.isatty() and not quiet:
            self._bar = Progress(
                TextColumn("{task.fields[samples]}"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f} %"),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=max(1, frame_scenes), samples=self._count(), rate="")

    def _count(self):
        written = f", {self._done * self._bytes / 1e9:.2f} GB" if self._bytes else ""
        return f"{self._samples_done} of {self._samples} {self._unit}{written}"

    def _rate(self):
        seconds = max(1e-9, time.monotonic() - self._began)
        return f"{self._done / self._samplerate / seconds:.0f} s of audio a second"

    def advance(self, frame_scenes, samples):
        """Count work done and samples completed."""
        self._done += frame_scenes
        self._samples_done += samples
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, samples=self._count(), rate=self._rate())
        elif not self._quiet and time.monotonic() - self._spoke >= _LOG_INTERVAL:
            self._spoke = time.monotonic()
            left = (self._spoke - self._began) * (self._total / max(1, self._done) - 1)
            self.say(
                f"{100 * self._done / max(1, self._total):.0f} %: {self._count()}, {self._rate()}, "
                f"{duration(max(0.0, left))} left"
            )

    def say(self, line):
        """Print one line above the bar, or to the log."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, emoji=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self):
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exception):
        if self._bar is not None:
            self._bar.stop()
