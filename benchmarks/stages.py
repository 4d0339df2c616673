"""Where each nanosecond of a run goes.

A stopwatch is wrapped around the compiled kernels, the transforms, the functions that read, write and digest, and the
Python around them, only while needed; the engine itself contains no measuring code. Times are exclusive: time
measured in an inner call counts there and not in its caller. The stopwatch's own cost is measured first and charged
to nobody.
"""

import contextlib
import functools
import importlib
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.machine import medians

_IN_PYTHON = {
    "loudness": "loudness: Python and allocation",
    "convolution": "convolution: Python and allocation",
    "job": "batches: Python",
}
# Module, name, stage; names missing from an older engine are skipped. Kernels and transforms not listed count under
# their own names.
_CALLS = (
    ("cadrender.signals.at_mic", "read_stem", "read"),
    ("cadrender.store.manifest.Manifest", "look_at", "digest of sources and HRIRs"),
    ("cadrender.store.manifest.Manifest", "append", "manifest"),
    ("cadrender.signals.at_mic", "check_unchanged", "manifest"),
    ("cadrender.pipeline.commit", "is_there", "files: open, complete, rename"),
    ("cadrender.pipeline.commit", "AudioWriter", "files: open, complete, rename"),
    ("cadrender.store.writing.AudioWriter", "write", "write: gather"),
    ("cadrender.store.writing.AudioWriter", "finish", "files: open, complete, rename"),
    ("cadrender.store.writing.AudioWriter", "commit", "files: open, complete, rename"),
    ("cadrender.store.atomic.AtomicFile", "write", "write: system call"),
    ("cadrender.dsp.hrir.Heads", "__init__", "HRIRs: trim and transform"),
    ("cadrender.dsp.hrir.Heads", "spectra", "HRIRs: trim and transform"),
    ("cadrender.dsp.hrir.Heads", "delayed_spectra", "HRIRs: trim and transform"),
    ("cadrender.dsp.hrir.Heads", "weights", "HRIRs: trim and transform"),
    ("cadrender.dsp.convolve", "gated_loudness", "gating"),
    ("cadrender.dsp.convolve", "gating", "gating"),
    ("cadrender.pipeline.run", "make_folders", "folders, manifest and list of samples"),
    ("cadrender.pipeline.run", "_begin_manifest", "folders, manifest and list of samples"),
    ("cadrender.pipeline.run", "write_lists", "folders, manifest and list of samples"),
    (
        "cadrender.catalogue.at_mic.AtMicCatalogue",
        "complete_samples",
        "folders, manifest and list of samples",
    ),
    ("cadrender.pipeline.checkpoint.Checkpoints", "begin", "checkpoints"),
    ("cadrender.pipeline.checkpoint.Checkpoints", "wrote", "checkpoints"),
    ("cadrender.pipeline.checkpoint.Checkpoints", "finish", "checkpoints"),
    ("cadrender.dsp.render", "levels", _IN_PYTHON["loudness"]),
    ("cadrender.signals.at_mic", "render_into", _IN_PYTHON["convolution"]),
    ("cadrender.pipeline.commit", "_make", _IN_PYTHON["job"]),
)
_KERNELS = {
    "deinterleave": "loudness: cut",
    "k_weight": "K-weighting",
    "segment_energies": "K-weighting: energy",
    "is_silent": "K-weighting: energy",
    "keep_history": "loudness: cut",
    "cut_chunks": "loudness: cut",
    "correlate": "loudness: correlations",
    "row_energies": "loudness: tails",
    "cut_blocks": "cut into blocks",
    "apply_hrirs": "spectral product",
    "overlap_add_int16": "overlap-add, clip, truncate",
    "overlap_add_float64": "overlap-add",
    # One head in one pass.
    "measure_pair": "K-weighting: energy",
    "mix_int16": "scale, clip, truncate",
}
_IN_LOUDNESS = {
    "spectral product": "loudness: tails",
    "forward transform": "loudness: forward transform",
    "inverse transform": "loudness: tails, inverse transform",
}
# In the order of the data flow.
ORDER = (
    "digest of sources and HRIRs",
    "read",
    "HRIRs: trim and transform",
    "K-weighting",
    "K-weighting: energy",
    "loudness: cut",
    "loudness: forward transform",
    "loudness: correlations",
    "loudness: tails",
    "loudness: tails, inverse transform",
    "gating",
    _IN_PYTHON["loudness"],
    "cut into blocks",
    "forward transform",
    "spectral product",
    "inverse transform",
    "overlap-add, clip, truncate",
    _IN_PYTHON["convolution"],
    "write: gather",
    "digest of outputs",
    "write: system call",
    "files: open, complete, rename",
    "manifest",
    _IN_PYTHON["job"],
    "folders, manifest and list of samples",
    "checkpoints",
)
REST = "not accounted for"


class Stopwatch:
    """Exclusive seconds by stage.

    Attributes
    ----------
    seconds : dict
        Stage to seconds.
    overhead : float
        Seconds taken by the stopwatch itself.
    """

    def __init__(self):
        self.seconds = defaultdict(float)
        self.overhead = 0.0
        self._inner = [0.0]
        self._passes = 0
        self._own = 0.0
        self._own = self._calibrate()

    def _calibrate(self, calls=20000):
        """Seconds of overhead per timed call that the call's own time does not show."""
        nothing = self.timed_leaf("nothing", lambda: None)
        began = time.perf_counter()
        for _ in range(calls):
            nothing()
        elapsed = time.perf_counter() - began
        self._inner[0] = self.overhead = 0.0
        return (elapsed - self.seconds.pop("nothing")) / calls

    def timed(self, stage, function):
        """Wrap a function so that its time counts towards ``stage``."""

        @functools.wraps(function)
        def call(*arguments, **options):
            began = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*arguments, **options)
            finally:
                elapsed = time.perf_counter() - began
                self.seconds[stage] += elapsed - self._inner.pop()
                self._inner[-1] += elapsed + self._own
                self.overhead += self._own

        return call

    def timed_leaf(self, stage, function):
        """:meth:`timed` for a kernel or transform in which nothing else is timed; cheaper."""
        seconds, inner, clock, own = self.seconds, self._inner, time.perf_counter, self._own
        stage_in_loudness = _IN_LOUDNESS.get(stage, stage)

        def call(*arguments):
            began = clock()
            result = function(*arguments)
            elapsed = clock() - began
            seconds[stage_in_loudness if self._passes else stage] += elapsed
            inner[-1] += elapsed + own
            self.overhead += own
            return result

        return call

    def first_pass(self, function):
        """Wrap the loudness pass: its transforms and products count as separate stages."""

        @functools.wraps(function)
        def call(*arguments, **options):
            self._passes += 1
            try:
                return function(*arguments, **options)
            finally:
                self._passes -= 1

        return call

    def planned(self, stage, plan_maker):
        """Wrap a function that makes FFTW plans so that their execution counts towards ``stage``."""
        proxies = {}

        @functools.wraps(plan_maker)
        def make(*arguments, **options):
            plan = plan_maker(*arguments, **options)
            if id(plan) not in proxies:
                proxies[id(plan)] = SimpleNamespace(
                    **(vars(plan) | {"execute": self.timed_leaf(stage, plan.execute)})
                )
            return proxies[id(plan)]

        return make

    def hasher(self, maker):
        """Wrap a hash function's class."""

        def make(*arguments):
            real = maker(*arguments)
            return SimpleNamespace(
                update=self.timed_leaf("digest of outputs", real.update),
                hexdigest=real.hexdigest,
                digest=real.digest,
            )

        return make


def _find(path):
    """The module or class of a dotted path."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def watched():
    """Time the engine within the context; run everything once before, or compiling is timed too.

    Yields
    ------
    Stopwatch
    """
    from numba.core.dispatcher import Dispatcher

    from cadrender.dsp import fft, kernels, mix_kernels, render
    from cadrender.store import writing

    watch = Stopwatch()
    wrapped = []

    def put(place, name, new):
        wrapped.append((place, name, vars(place)[name]))
        setattr(place, name, new)

    for path, name, stage in _CALLS:
        place = _find(path)
        if name in vars(place):
            put(place, name, watch.timed(stage, vars(place)[name]))
    for module in (kernels, mix_kernels):
        for name, kernel in list(vars(module).items()):
            if isinstance(kernel, Dispatcher):
                put(module, name, watch.timed_leaf(_KERNELS.get(name, name), kernel))
    put(fft, "real_forward", watch.planned("forward transform", fft.real_forward))
    put(fft, "complex_inverse", watch.planned("inverse transform", fft.complex_inverse))
    put(writing, "blake3", watch.hasher(writing.blake3))
    put(render, "levels", watch.first_pass(render.levels))
    try:
        yield watch
    finally:
        for place, name, old in reversed(wrapped):
            setattr(place, name, old)


def measure(root: Path, output: Path, repeats: int) -> tuple[float, float, dict[str, float]]:
    """Nanoseconds per frame-scene of a run in this process on a root, files included; medians.

    Parameters
    ----------
    root, output : pathlib.Path
        `output` is removed before each run.
    repeats : int
        Runs without the stopwatch and runs with it, in turns, after one run to fill the caches.

    Returns
    -------
    plain : float
        Without the stopwatch.
    watched : float
        With it, less its own overhead.
    by_stage : dict
        By stage, with it.
    """
    from benchmarks.roots import plan_of

    def run(watch=contextlib.nullcontext):
        plan = plan_of(root, output)
        with watch() as stopwatch:
            began = time.perf_counter()
            (done,) = plan.run(1).tallies
            elapsed = time.perf_counter() - began
        if stopwatch:
            elapsed -= stopwatch.overhead
            found.append({stage: 1e9 * t / done.frames for stage, t in stopwatch.seconds.items()})
        return 1e9 * elapsed / done.frames

    found: list[Any] = []
    run()
    whole = medians({"plain": run, "watched": lambda: run(watched)}, repeats)
    stages = dict.fromkeys(stage for one in found for stage in one)
    by_stage = {stage: median([one.get(stage, 0.0) for one in found]) for stage in stages}
    return whole["plain"], whole["watched"], by_stage
