"""Times that can be compared on a machine that drifts: measured in turns, the median taken."""

import statistics
import time
from collections.abc import Callable, Mapping


def rounds(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Run every contender once a round, each round in the opposite order of the one before.

    Parameters
    ----------
    contenders : mapping of str to callable
        Called without arguments. What they should not be charged for (compiling, planning, filling the page
        cache) must have happened before.
    repeats : int
        Rounds.

    Returns
    -------
    dict
        Name to its seconds, one a round; a contender that returns a float has measured them itself.
    """
    seconds = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(repeats):
        for name in order:
            began = time.perf_counter()
            result = contenders[name]()
            elapsed = time.perf_counter() - began
            seconds[name].append(result if isinstance(result, float) else elapsed)
        order.reverse()
    return seconds


def medians(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of every contender, see :func:`rounds`."""
    return {name: statistics.median(times) for name, times in rounds(contenders, repeats).items()}
