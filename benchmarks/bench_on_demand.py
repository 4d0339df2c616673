"""Parts, training items and the mount through the public interfaces, beside stored files; small scale."""

from itertools import product
from math import nan
from pathlib import Path
from statistics import median
from typing import Any

_LENGTHS, _STEMS = (0.5, 6.0, 30.0), (1, 5)
_WORKERS = (1, 2)
_SECONDS = 40.0

_OURS, _ANY, _MOUNT, _GENERATE = "cadrender", "cadrender, any head", "mount", "generate"
_STORED = ("stored WAV", "stored FLAC")


def setup_cache():
    """Measure everything once, in turns, for the benchmarks to report."""
    # Not at module level: ASV starts a process per reported number.
    from benchmarks import mounted, on_demand

    folder = Path.cwd()
    prepared = on_demand.prepare(folder, 1, _SECONDS, 2)
    found: dict[Any, float] = {}
    for (stems, seconds), taken in on_demand.measure_parts(prepared, _SECONDS, _LENGTHS, 5).items():
        found |= {("part", way, stems, seconds): median(each) for way, each in taken.items()}
    found["threads"] = on_demand.measure_threads(prepared, 3)
    for way, rates in on_demand.measure_items(prepared, _WORKERS, 8, 3).items():
        found["items", *way] = median(rates)
    levels = on_demand.measure_levels(prepared, 1)
    found["levels"] = levels["all"].seconds[0] / levels["scenes"].seconds[0]
    trees = mounted.Trees(prepared.path, prepared.stored("wav"), prepared.stored("flac"), folder, 2)
    found |= {key: median(each) for key, each in trees.measure(trees.random_places(3)).items()}
    return found


setup_cache.timeout = 1800


class Parts:
    """384 taps, float32, one thread; levels known, files in the page cache."""

    params = ((_OURS, *_STORED, "oaconvolve", "lfilter"), _STEMS, _LENGTHS)
    param_names = ("way", "stems", "seconds")

    def track_milliseconds(self, found, way, stems, seconds):
        return 1e3 * found["part", way, stems, seconds]

    track_milliseconds.unit = "ms"

    def track_times_stored_wav(self, found, way, stems, seconds):
        return found["part", way, stems, seconds] / found["part", _STORED[0], stems, seconds]

    track_times_stored_wav.unit = "times soundfile.read of the stored WAV files"


class Threads:
    """Five stems, 6 s."""

    def track_gain_of_four(self, found):
        return found["threads"]

    track_gain_of_four.unit = "times one thread"


class Items:
    """Five stems of 6 s."""

    params = (
        (_OURS, _ANY, *_STORED),
        [f"{n} {kind}" for kind, n in product(("threads", "processes"), _WORKERS)],
    )
    param_names = ("source", "workers")

    def track_items_per_second(self, found, source, workers):
        count, kind = workers.split()
        return found["items", source, kind, int(count)]

    track_items_per_second.unit = "items/s"


class Levels:
    """Levels of one song."""

    def track_all_positions(self, found):
        return found["levels"]

    track_all_positions.unit = "times the four of its scenes"


class Mount:
    """No numbers if mounting is impossible."""

    def track_copied(self, found):
        return found.get((_MOUNT, "copy"), nan) / 1e6

    track_copied.unit = "MB/s"

    def track_part_of_generate(self, found):
        return found.get((_MOUNT, "copy"), nan) / found[_GENERATE, "copy"]

    track_part_of_generate.unit = "times generate's rate"

    def track_random_read(self, found):
        return 1e3 * found.get((_MOUNT, "read"), nan)

    track_random_read.unit = "ms for 1 MiB"
