"""Parts of a sample's stems on one core: time per frame, and relative to reading them from stored files."""

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.on_demand import SECONDS, STEMS
from benchmarks.part_kernels import ONE_BY_ONE, SINGLE, TOGETHER, Sample, ratios, seconds_of, speedup
from benchmarks.roots import SAMPLERATE


def setup_cache():
    """Measure everything once, for the benchmarks to report."""
    found: dict[Any, Any] = {}
    for stems in STEMS:
        sample = Sample(Path.cwd(), stems, max(SECONDS) + 10.0)
        for seconds in SECONDS:
            frames = int(seconds * SAMPLERATE)
            taken = seconds_of(sample, frames, 15)
            for name in (TOGETHER, ONE_BY_ONE, SINGLE):
                ns = 1e9 * median(taken[name]) / (stems * frames)
                found[name, stems, seconds] = ns, ratios(taken, name)[0]
    found["threads"] = speedup(sample, int(6.0 * SAMPLERATE), 4, 5)
    return found


setup_cache.timeout = 600


class Parts:
    """384 taps, float32, int16 sources in the page cache."""

    params = ((TOGETHER, ONE_BY_ONE, SINGLE), STEMS, SECONDS)
    param_names = ("way", "stems", "seconds")

    def track_nanoseconds(self, found, way, stems, seconds):
        return found[way, stems, seconds][0]

    track_nanoseconds.unit = "ns per frame and stem"

    def track_times_soundfile(self, found, way, stems, seconds):
        return found[way, stems, seconds][1]

    track_times_soundfile.unit = "times soundfile.read of the stored files"


class Threads:
    """Five stems, 6 s."""

    def track_speedup_of_four(self, found):
        return found["threads"]

    track_speedup_of_four.unit = "times one thread"
