"""The machine that figures belong to, and timings that can be compared on it: measured in turns, medians taken.

It is also an ASV plug-in that answers ASV's questions about the machine. Only the standard library is imported at
module level, because ASV loads this module into its own process.
"""

import contextlib
import importlib.metadata
import logging
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

_K = TypeVar("_K", bound=Hashable)

_log = logging.getLogger(__name__)


def _processor():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.split(":", 1)[1].split())
    return platform.processor() or platform.machine()


def _vectors():
    """The widest vector instructions."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON")):
            if f" {flag} " in flags:
                return name
    return platform.machine()


def _system():
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.platform()


def cores() -> int:
    """Number of CPUs this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def file_system(folder: Path) -> str:
    """The type of file system a folder is on."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            _, mount, name, *_ = line.split()
            if Path(folder).resolve().is_relative_to(mount) and len(mount) >= len(best):
                best, kind = mount, name
    return kind


def describe(folder: Path) -> str:
    """One sentence: processor, cores, memory, system, file system of ``folder``, versions."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("numpy", "numba", "scipy", "pyfftw", "soundfile", "pyloudnorm", "loudness", "joblib")
    versions = []
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    return (
        f"{_processor()} ({_vectors()}), {cores()} cores, {memory:.0f} GB, {_system()}, "
        f"Linux {platform.release()}, {file_system(folder)}; Python {platform.python_version()}, "
        + ", ".join(versions)
    ).replace("Linux", platform.system())


def settle(count: int) -> None:
    """Prepare the machine for a measurement that will fill ``count`` bytes of memory or page cache.

    Pending writes are flushed to disk first. Then ``count`` bytes of memory are touched and released: a virtual machine
    may have returned them to its host, and would get them back page by page, at a greater cost than anything measured
    here.
    """
    if hasattr(os, "sync"):
        os.sync()
    memory = bytearray(count)
    for at in range(0, count, 4096):
        memory[at] = 1


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """Turn a function into one that runs it and returns the seconds taken."""

    def run():
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return run


def rounds(contenders: Mapping[_K, Callable[[], float]], repeats: int) -> dict[_K, list[float]]:
    """Run every contender once per round, reversing the order each round.

    Parameters
    ----------
    contenders : mapping of any to callable
        Each runs once and returns its measurement; see :func:`timed`. Anything not to be charged to them (compiling,
        planning, filling the page cache) must have happened before.
    repeats : int
        Number of rounds.

    Returns
    -------
    dict
        Name to measurements, round by round.
    """
    measured: dict[_K, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    began = time.monotonic()
    for number in range(1, repeats + 1):
        for name in order:
            measured[name].append(contenders[name]())
        order.reverse()
        _log.info("round %d of %d, %.0f s", number, repeats, time.monotonic() - began)
    return measured


def medians(contenders: Mapping[_K, Callable[[], float]], repeats: int) -> dict[_K, float]:
    """The median of every contender's measurements; see :func:`rounds`."""
    return {name: statistics.median(found) for name, found in rounds(contenders, repeats).items()}


def ratio(numerators: Iterable[float], denominators: Iterable[float]) -> float:
    """The median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def gain_of_threads(
    make: Callable[[], Callable[[], object]], calls: int, threads: int, repeats: int
) -> float:
    """Throughput of several threads relative to one: the median of turns.

    Parameters
    ----------
    make : callable
        Gives each thread the function it calls; not timed.
    calls : int
        Calls per thread.
    threads, repeats : int
    """

    def work(way):
        started.wait()
        for _ in range(calls):
            way()

    found = []
    for _ in range(repeats):
        rates = []
        for count in (1, threads):
            started = threading.Barrier(count + 1)
            running = [threading.Thread(target=work, args=(make(),)) for _ in range(count)]
            for thread in running:
                thread.start()
            started.wait()
            began = time.perf_counter()
            for thread in running:
                thread.join()
            rates.append(count / (time.perf_counter() - began))
        found.append(rates[1] / rates[0])
    return statistics.median(found)


def setup() -> None:
    """Answer ASV's questions about this machine in advance: ``asv run`` then works on a fresh machine."""
    from asv.machine import Machine, MachineCollection
    from asv.util import UserError

    name = Machine.get_unique_machine_name()
    try:
        MachineCollection.load(name)
    except UserError:
        MachineCollection.save(name, Machine.get_defaults())
