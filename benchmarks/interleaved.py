"""Times that can be compared on a machine that drifts: measured in turns, the median taken."""

import logging
import statistics
import threading
import time
from collections.abc import Callable, Hashable, Mapping

_log = logging.getLogger(__name__)


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """Make of a function one that runs it and returns the seconds that it took."""

    def run():
        began = time.perf_counter()
        function()
        return time.perf_counter() - began

    return run


def rounds(contenders: Mapping[Hashable, Callable[[], float]], repeats: int) -> dict[Hashable, list[float]]:
    """Run every contender once a round, each round in the opposite order of the one before.

    Parameters
    ----------
    contenders : mapping of any to callable
        Each runs once and returns what it measured; see :func:`timed`. What they should not be charged for
        (compiling, planning, filling the page cache) must have happened before.
    repeats : int
        Rounds.

    Returns
    -------
    dict
        Name to what was measured, round by round.
    """
    measured = {name: [] for name in contenders}
    order = list(contenders)
    began = time.monotonic()
    for number in range(1, repeats + 1):
        for name in order:
            measured[name].append(contenders[name]())
        order.reverse()
        _log.info("round %d of %d, %.0f s", number, repeats, time.monotonic() - began)
    return measured


def medians(contenders: Mapping[Hashable, Callable[[], float]], repeats: int) -> dict[Hashable, float]:
    """The median of what every contender measured, see :func:`rounds`."""
    return {name: statistics.median(found) for name, found in rounds(contenders, repeats).items()}


def gain_of_threads(
    make: Callable[[], Callable[[], object]], calls: int, threads: int, repeats: int
) -> float:
    """How many times as much several threads get done as one does: the median of turns.

    Parameters
    ----------
    make : callable
        Gives each thread what it calls; not timed.
    calls : int
        Calls of each thread.
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
