"""The engine and its parts beside SciPy, libloudness and soundfile on the same input, in turns."""

from pathlib import Path

_TAPS = (64, 384, 2048)
_SAMPLERATE = 44100
_SECONDS = 10

# Rivals' parts, and the engine's part each is compared with; see benchmarks/rivals.py.
_PARTS = {
    "scipy.signal.lfilter": "cadrender convolution",
    "scipy.signal.oaconvolve": "cadrender convolution",
    "pyloudnorm": "cadrender loudness",
    "libloudness": "cadrender loudness",
    "soundfile read": "cadrender read",
    "soundfile write": "cadrender write",
}
_OURS = "cadrender"
_WHOLE = (
    "reference",
    "oaconvolve, pyloudnorm, soundfile",
    "oaconvolve, libloudness, soundfile",
    "soundfile, no rendering",
    "plain copy",
)


def setup_cache():
    """Measure everything once, in turns, for the benchmarks to report."""
    # Not at module level: ASV starts a process per reported number.
    from benchmarks.machine import medians
    from benchmarks.rivals import parts, whole

    here = Path.cwd()
    frames = _SECONDS * _SAMPLERATE
    found = {}
    for taps in _TAPS:
        for contenders, heads in ((parts(here, taps, frames), 1), (whole(here, taps, _SECONDS), 4)):
            for contender in contenders.values():
                contender()
            for name, seconds in medians(contenders, 5).items():
                found[name, taps] = 1e9 * seconds / (frames * heads)
    return found


setup_cache.timeout = 1800


class _Suite:
    """Measurements in both units."""

    def track_nanoseconds(self, found, what, taps):
        return found[what, taps]

    track_nanoseconds.unit = "ns per frame-scene"

    def track_frames_per_second(self, found, what, taps):
        return 1e9 / found[what, taps]

    track_frames_per_second.unit = "frames/s"


class Parts(_Suite):
    """One stem, one head, in memory (files: in the page cache)."""

    params = ((*_PARTS, *dict.fromkeys(_PARTS.values())), _TAPS)
    param_names = ("what", "taps")


class PartRatios:
    """How many times faster the engine's part is."""

    params = (tuple(_PARTS), _TAPS)
    param_names = ("than", "taps")

    def track_times_faster(self, found, than, taps):
        return found[than, taps] / found[_PARTS[than], taps]

    track_times_faster.unit = "times"


class Whole(_Suite):
    """One stem, four heads, one core, files included."""

    params = ((_OURS, *_WHOLE), _TAPS)
    param_names = ("what", "taps")


class Ratios:
    """How many times faster the engine is; below 1 for the copies, which render nothing."""

    params = (_WHOLE, _TAPS)
    param_names = ("than", "taps")

    def track_times_faster(self, found, than, taps):
        return found[than, taps] / found[_OURS, taps]

    track_times_faster.unit = "times"
