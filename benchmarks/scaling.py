"""``python -m benchmarks.scaling``: how a run scales with workers, and how long the 88 GB take on other machines.

Measured: the whole command with 1 to all workers, on two amounts of work, and the time its processes spend in user
and kernel code. Fitted: a fixed start, the work of one core, and the fraction of a core lost per additional worker
(contention). Predicted: the official training set on more cores and other disks, as the slower of computing and
the disk, which work in parallel; computing between the fitted contention (pessimistic: it keeps growing with the
workers) and none beyond what was measured (optimistic).
"""

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks import machine, markdown, rivals, script, start
from benchmarks.machine import medians, timed
from benchmarks.roots import (
    AT_MIC_BYTES,
    OFFICIAL_FRAME_SCENES,
    READ_GB,
    WRITTEN_GB,
    make_places,
    make_root,
    plan_of,
)

# Assumed, not measured: sequential MB/s when reading and writing at the same time.
DISKS = {
    "HDD array": (400, 300),
    "NVMe": (3000, 1500),
    "network": (110, 110),
}
_DISK_NOTES = {
    "HDD array": "six disks, RAID 6",
    "NVMe": "one PCIe 4 drive, writing for longer than its cache lasts",
    "network": "one gigabit Ethernet",
}
CORES = (8, 32, 128)


@dataclass(frozen=True)
class Fit:
    """Seconds of a run = start + pool + work * ns / n * (1 + contention * (n - 1)).

    Attributes
    ----------
    start, pool : float
        Seconds before and after the work, and the additional time to start worker processes.
    nanoseconds : float
        Per frame-scene on one core.
    contention : float
        Slowdown of all others per additional worker, as a fraction of their time.
    in_system : float
        Fraction of the processor time spent in the kernel, reading and writing.
    """

    start: float
    pool: float
    nanoseconds: float
    contention: float
    in_system: float

    def seconds(self, frame_scenes: float, workers: int, contention: float | None = None) -> float:
        """Predicted seconds of computing and of copying to and from the page cache."""
        each = self.contention if contention is None else contention
        work = 1e-9 * self.nanoseconds * frame_scenes / workers * (1 + each * (workers - 1))
        return self.start + (self.pool if workers > 1 else 0.0) + work


def fit(seconds: dict[tuple[int, float], float], in_system: float) -> Fit:
    """Fit measurements, (workers, frame-scenes) to seconds, by non-negative least squares."""
    keys = sorted(seconds)
    columns = np.array([[1.0, n > 1, work / n, work * (n - 1) / n] for n, work in keys])
    target = np.array([seconds[key] for key in keys])
    size = columns.max(axis=0)
    size[size == 0.0] = 1.0
    # Relative errors, or the longest run alone would decide.
    solution, _ = nnls(columns / size / target[:, None], np.ones(len(keys)))
    begin, pool, slope, loss = (solution / size).tolist()
    return Fit(begin, pool, 1e9 * slope, loss / slope, in_system)


def disk_seconds(read_mb: float, write_mb: float) -> float:
    """Seconds a disk needs for the set, reading and writing at the same time."""
    return max(READ_GB * 1000 / read_mb, WRITTEN_GB * 1000 / write_mb)


def local_disk_mb(folder: Path, megabytes: int) -> float:
    """MB/s of this disk, flushed: its sustained rate."""
    block = np.random.default_rng(0).bytes(1 << 20)
    file = folder / "disk"
    began = time.perf_counter()
    with file.open("wb", buffering=0) as stream:
        for _ in range(megabytes):
            stream.write(block)
        os.fsync(stream.fileno())
    elapsed = time.perf_counter() - began
    file.unlink()
    return megabytes * 1.048576 / elapsed


def _spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([used.ru_utime, used.ru_stime])


def measure(roots: list[Path], output: Path, workers: list[int], repeats: int) -> Any:
    """Seconds by (workers, frame-scenes), rates of a plain copy by workers, and the kernel's share of the time."""
    works: dict[Path, int] = {}
    contenders: dict[Any, Callable[[], float]] = {}
    for root in roots:
        works[root] = plan_of(root, output).frame_scenes
        start.run_seconds(start.generate_command(root, output, max(workers)))

        def run(n, root=root):
            plan_of(root, output)
            machine.settle(AT_MIC_BYTES * works[root])
            return start.run_seconds(start.generate_command(root, output, n))

        contenders |= {(n, float(works[root])): partial(run, n) for n in workers}

    def copy(n, root=roots[-1]):
        batches = plan_of(root, output).batches
        make_places(batches)
        machine.settle(AT_MIC_BYTES * works[root])
        return timed(lambda: rivals.run(rivals.by_copying, batches, n))()

    rivals.start_pool(max(workers))
    contenders |= {f"copy {n}": partial(copy, n) for n in workers}
    before = _spent()
    found = medians(contenders, repeats)
    user, system = _spent() - before
    copies = {n: 1e-6 * AT_MIC_BYTES * works[roots[-1]] / found.pop(f"copy {n}") for n in workers}
    return found, copies, system / (user + system)


def _duration(seconds):
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def measured_table(found: dict[tuple[int, float], float], copies: dict[int, float], of: Fit) -> str:
    """The measurements on the larger root, and the fit to them."""
    most = max(work for _, work in found)
    rows = []
    for n, rate in copies.items():
        seconds = found[n, most]
        rows.append(
            [
                f"{n}",
                "measured",
                f"{seconds:.2f} s",
                f"{found[1, most] / seconds:.2f} x",
                f"{of.seconds(most, n):.2f} s",
                f"{1e-6 * AT_MIC_BYTES * most / seconds:.0f} MB/s",
                f"{rate:.0f} MB/s",
            ]
        )
    header = ["workers", "", "whole command", "gain", "by the fit", "written"]
    return markdown.table([*header, "plain copy"], rows)


def predicted_table(of: Fit, here: int, rates: dict[str, tuple[float, float]]) -> str:
    """Hours for the 88 GB set, by cores (this machine's and more) and kind of disk."""
    rows = []
    for cores in dict.fromkeys((here, *CORES)):
        optimistic = of.seconds(
            OFFICIAL_FRAME_SCENES, cores, min(of.contention, of.contention * (here - 1) / max(1, cores - 1))
        )
        pessimistic = of.seconds(OFFICIAL_FRAME_SCENES, cores)
        for disk, (read, write) in rates.items():
            on_disk = disk_seconds(read, write)
            least, most = max(optimistic, on_disk), max(pessimistic, on_disk)
            span = (
                _duration(least)
                if _duration(least) == _duration(most)
                else (f"{_duration(least)} to {_duration(most)}")
            )
            if on_disk >= pessimistic:
                bottleneck = "the disk"
            elif on_disk <= optimistic:
                bottleneck = "the cores"
            else:
                bottleneck = "the disk or the cores: their contention decides"
            rows.append([f"{cores}", disk, "predicted", span, bottleneck])
    return markdown.table(["cores", "disk", "", "the 88 GB set", "bottleneck"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, fit, predict, print, and write into documents on request."""
    options = script.parser(__doc__, repeats=5, tables=True)
    options.add_argument("--workers", type=int, default=machine.cores(), help="measure 1 to this many")
    options.add_argument("--seconds", type=float, default=120.0, help="length of a song")
    options.add_argument("--disk", type=int, default=1024, help="MB to write, to see how fast the disk is")
    given = script.parse(options, arguments, repeats=1, seconds=5.0, disk=64)
    with script.workplace(given.folder) as folder:
        # Many batches per worker, or the last ones would decide.
        copies = -(-given.workers // 2)
        roots = [
            make_root(folder / "small", songs=1, seconds=given.seconds, copies=copies),
            make_root(folder / "large", songs=4, seconds=given.seconds, copies=copies),
        ]
        workers = list(range(1, given.workers + 1))
        found, copies, in_system = measure(roots, folder / "output", workers, given.repeats)
        here = local_disk_mb(folder, given.disk)
        conditions = script.conditions(
            folder,
            "scaling",
            f"Songs of {given.seconds:.0f} s, five stems, 4 scenes a song; medians of {given.repeats} interleaved "
            "rounds.",
        )
    of = fit(found, in_system)
    largest = max(work for _, work in found)
    rates = {f"{name} ({read} / {write} MB/s)": (read, write) for name, (read, write) in DISKS.items()}
    local = {f"this machine's (writes {here:.0f} MB/s, measured)": (here, here)}
    notes = "; ".join(f"{name}: {note}" for name, note in _DISK_NOTES.items())
    text = "\n\n".join(
        [
            measured_table(found, copies, of),
            f"The fit: {of.start:.2f} s of start and end ({of.pool:.2f} s more with worker processes), "
            f"{1e-9 * of.nanoseconds * largest:.2f} s of one core's work ({100 * of.in_system:.0f} % of the processor "
            f"time in the kernel, reading and writing), {100 * of.contention:.1f} % lost for each further worker.",
            f"Predicted from it, {OFFICIAL_FRAME_SCENES / 1e9:.0f} x 10^9 frame-scenes, {READ_GB:.0f} GB read and "
            f"{WRITTEN_GB:.0f} GB written; the disks' MB/s (reading / writing) are assumptions ({notes}). The shorter "
            "time supposes that further workers do not get into each other's way more than the measured ones, "
            "the longer one that each costs as much as the last.",
            predicted_table(of, given.workers, local | rates),
            conditions,
        ]
    )
    script.publish({"scaling table": text}, given.write)


if __name__ == "__main__":
    main()
