"""``cadrender mount`` beside the stored tree: copying all of it, and random reads."""

import contextlib
import filecmp
import os
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import machine, start
from benchmarks.machine import rounds, timed
from benchmarks.roots import AT_MIC_BYTES
from cadrender.errors import UsageError
from cadrender.mount.places import load_fuse

MOUNT, GENERATE, WAV, FLAC = "mount", "generate", "stored WAV", "stored FLAC"

READ = 1 << 20
"""Bytes per random read."""

# One random read per this many bytes of a file: one read's read-ahead must not serve the next.
_APART = 4 << 20

_PATIENCE = 60.0


def why_not() -> str:
    """Why mounting is impossible here; empty if it is possible."""
    try:
        load_fuse()
    except UsageError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def mounted(root: Path, place: Path) -> Iterator[Path]:
    """Mount a root with the command, in its own process and with nothing cached.

    Raises
    ------
    RuntimeError
        If the command fails; with its output.
    """
    arguments = start.command("mount", "--root", str(root), str(place))
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = []
            assert process.stderr
            for line in process.stderr:
                said.append(line.strip())
                if line.startswith("Ctrl-C"):
                    break
            else:
                raise RuntimeError(f"{' '.join(arguments)}: {' '.join(said)}")
            yield place
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def check(root: Path, place: Path, stored: Path) -> None:
    """Compare every byte of the mounted tree with the stored one.

    Raises
    ------
    AssertionError
        If they differ.
    """
    names = _wavs(stored)
    with mounted(root, place):
        assert _wavs(place) == names, f"{place}: other files than in {stored}"
        for name in names:
            assert filecmp.cmp(place / name, stored / name, shallow=False), f"{name}: other bytes"


def _wavs(folder):
    return sorted(file.relative_to(folder) for file in folder.rglob("*.wav"))


@dataclass(frozen=True)
class Trees:
    """A mounted tree and the stored ones, to be copied and read.

    Attributes
    ----------
    root : pathlib.Path
        A root whose levels are known.
    wav, flac : pathlib.Path
        Output of ``generate``, as WAV and as FLAC files.
    folder : pathlib.Path
        For the mount and the copies.
    n_jobs : int
        Number of processes of ``generate``.
    """

    root: Path
    wav: Path
    flac: Path
    folder: Path
    n_jobs: int

    @property
    def _target(self):
        return self.folder / "copied"

    def random_places(self, rounds: int) -> list[list[tuple[Path, int]]]:
        """Files and offsets for each round, all different."""
        draw = np.random.default_rng(0)
        found = []
        for name in _wavs(self.wav):
            size = (self.wav / name).stat().st_size
            found += [
                (name, at + int(draw.integers(min(_APART, size - at) - 2 * READ)))
                for at in range(0, size - 2 * READ, _APART)
            ]
        draw.shuffle(order := np.arange(len(found)))
        shares = np.array_split(order, rounds)
        if not len(shares[-1]):
            raise ValueError(f"{self.wav}: {len(found)} places to read at are too few for {rounds} rounds")
        return [[found[number] for number in share] for share in shares]

    # Sequential: bytes per second

    def copied(self, source: Path) -> float:
        """``cp -r`` from a tree to this disk."""
        size = tree_size(self.wav)
        shutil.rmtree(self._target, ignore_errors=True)
        machine.settle(size)
        command = ["cp", "-r", str(source), str(self._target)]
        seconds = timed(lambda: subprocess.run(command, check=True))()
        assert tree_size(self._target) == size, f"{self._target}: not all of {source} was copied"
        return size / seconds

    def copied_from_mount(self) -> float:
        """``cp -r`` from a fresh mount."""
        with mounted(self.root, self.folder / "mounted") as place:
            return self.copied(place)

    def generated(self) -> float:
        """``cadrender generate``, from its first samples on."""
        size = tree_size(self.wav)
        shutil.rmtree(self._target, ignore_errors=True)
        machine.settle(size)
        with subprocess.Popen(start.generate_command(self.root, self._target, self.n_jobs)) as process:
            start.wait_for_samples(process, self._target)
            seconds = timed(process.wait)()
        assert process.returncode == 0, f"{self.root}: generate: exit status {process.returncode}"
        return size / seconds

    # Random: median seconds

    def read(self, places: list[tuple[Path, int]], folder: Path | None = None) -> float:
        """Opening a file, reading 1 MiB somewhere in it and closing it; by default stored WAV files."""

        def one(name, at):
            descriptor = os.open((folder or self.wav) / name, os.O_RDONLY)
            try:
                assert len(os.pread(descriptor, READ, at)) == READ
            finally:
                os.close(descriptor)

        return _median(one, places)

    def read_flac(self, places: list[tuple[Path, int]]) -> float:
        """As much from the stored FLAC files, decoded by soundfile."""

        def one(name, at):
            file = (self.flac / name).with_suffix(".flac")
            frames = READ // AT_MIC_BYTES
            assert len(soundfile.read(file, frames, at // AT_MIC_BYTES, dtype="int16")[0]) == frames

        return _median(one, places)

    def measure(self, places: list[list[tuple[Path, int]]]) -> dict[tuple[str, str], list[float]]:
        """Bytes per second by (what, "copy"), seconds by (what, "read"), per round; all bytes are compared first.

        Without the mount if mounting is impossible.

        Parameters
        ----------
        places : list
            See :meth:`random_places`; as many rounds.
        """

        def of_round(read):
            rounds_places = iter(places)
            return lambda: read(next(rounds_places))

        contenders: dict[tuple[str, str], Callable[[], float]] = {
            (WAV, "copy"): lambda: self.copied(self.wav),
            (GENERATE, "copy"): self.generated,
            (WAV, "read"): of_round(self.read),
            (FLAC, "read"): of_round(self.read_flac),
        }
        with contextlib.ExitStack() as stack:
            if not why_not():
                check(self.root, self.folder / "mounted", self.wav)
                # Each copy needs a fresh mount; reads of places not yet read do not.
                kept = stack.enter_context(mounted(self.root, self.folder / "kept"))
                contenders[MOUNT, "copy"] = self.copied_from_mount
                contenders[MOUNT, "read"] = of_round(lambda places: self.read(places, kept))
            self.copied(self.wav)
            found = rounds(contenders, len(places))
        shutil.rmtree(self._target)
        return found


def _median(one, places):
    return statistics.median(timed(partial(one, name, at))() for name, at in places)


def tree_size(folder):
    """Total bytes of a tree's audio files."""
    return sum(file.stat().st_size for file in folder.rglob("*.*") if file.suffix in (".wav", ".flac"))
