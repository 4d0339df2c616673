"""The engine on one core, files included: as a whole and by stage, HRIR length, scenes per song and song length."""

from pathlib import Path
from typing import Any

from benchmarks import stages

_TAPS = (64, 256, 384, 820, 2048, 8192)
_SCENES = (1, 2, 4, 8, 16)
# Seconds per song, and number of songs: thirty seconds of work each.
_SHAPES = {"songs of 30 s": (30.0, 1), "excerpts of 10 s": (10.0, 3), "songs of 3 s": (3.0, 10)}
_STAGES = (*stages.ORDER, stages.REST)
_WHOLE = "whole"


def _measure(folder, **shape):
    from benchmarks.roots import make_root  # not at module level: ASV starts a process per reported number

    root = make_root(folder / "root", **shape)
    plain, watched, by_stage = stages.measure(root, folder / "output", 3)
    return {_WHOLE: plain, **by_stage, stages.REST: max(0.0, watched - sum(by_stage.values()))}


def setup_cache():
    """Measure everything once, for the benchmarks to report."""
    here = Path.cwd()
    found: dict[tuple[str, object], Any] = {}
    for taps in _TAPS:
        found["taps", taps] = _measure(here / f"taps-{taps}", seconds=20.0, taps=taps)
    for scenes in _SCENES:
        found["scenes", scenes] = _measure(here / f"scenes-{scenes}", seconds=20.0, scenes=scenes)
    for name, (seconds, copies) in _SHAPES.items():
        found["shape", name] = _measure(here / name, seconds=seconds, copies=copies)
    return found


setup_cache.timeout = 1800


class _Suite:
    """Measurements over one variable, in both units."""

    variable: str

    def track_nanoseconds(self, found, value):
        return found[self.variable, value][_WHOLE]

    track_nanoseconds.unit = "ns per frame-scene"

    def track_frames_per_second(self, found, value):
        return 1e9 / found[self.variable, value][_WHOLE]

    track_frames_per_second.unit = "frames/s"


class ByTaps(_Suite):
    """Four scenes per song."""

    variable = "taps"
    params = _TAPS
    param_names = ("taps",)


class ByScenes(_Suite):
    """384 taps."""

    variable = "scenes"
    params = _SCENES
    param_names = ("scenes a song",)


class ByShape(_Suite):
    """384 taps, four scenes per song."""

    variable = "shape"
    params = tuple(_SHAPES)
    param_names = ("input",)


class _StageSuite:
    """The same by stage; a stage of zero time did not occur."""

    variable: str

    def track_nanoseconds(self, found, stage, value):
        return found[self.variable, value].get(stage, 0.0)

    track_nanoseconds.unit = "ns per frame-scene"

    def track_frames_per_second(self, found, stage, value):
        nanoseconds = found[self.variable, value].get(stage, 0.0)
        return 1e9 / nanoseconds if nanoseconds else float("nan")

    track_frames_per_second.unit = "frames/s"


class StagesByTaps(_StageSuite):
    """Four scenes per song."""

    variable = "taps"
    params = (_STAGES, _TAPS)
    param_names = ("stage", "taps")


class StagesByScenes(_StageSuite):
    """384 taps."""

    variable = "scenes"
    params = (_STAGES, _SCENES)
    param_names = ("stage", "scenes a song")
