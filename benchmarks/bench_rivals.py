"""The engine and its parts beside SciPy, libloudness and soundfile on the same input, in turns."""

import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import reference, rivals
from benchmarks.interleaved import medians
from benchmarks.roots import SAMPLERATE, hrir, make_root
from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import integrated_loudness
from cadrender.jobs.stem import run_stem_job
from cadrender.store import AudioFormat, AudioWriter, read_stem

_TAPS = (64, 384, 2048)
_FRAMES = 10 * SAMPLERATE

# What is compared with what of ours.
_PARTS = {
    "scipy.signal.lfilter": "cadrender convolution",
    "scipy.signal.oaconvolve": "cadrender convolution",
    "pyloudnorm": "cadrender loudness",
    "libloudness": "cadrender loudness",
    "soundfile read": "cadrender read",
    "soundfile write": "cadrender write",
}
_WHOLE = {
    "reference": rivals.by_reference,
    "oaconvolve, pyloudnorm, soundfile": rivals.by_oaconvolve_pyloudnorm,
    "oaconvolve, libloudness, soundfile": rivals.by_oaconvolve_libloudness,
    "soundfile, no rendering": rivals.by_soundfile,
    "plain copy": rivals.by_copying,
}
_OURS = "cadrender"


def _parts(folder, taps):
    """Contenders on ten seconds of one stem for one head."""
    draw = np.random.default_rng(7)
    pcm = draw.integers(-9000, 9000, (_FRAMES, 2), dtype=np.int16)
    signal = pcm / 32768
    left, right = hrir(taps, 1).astype(float), hrir(taps, 2).astype(float)
    heads, gain = Heads([(left, right)]), np.ones(1)
    source, target = folder / f"source-{taps}.wav", folder / f"target-{taps}.wav"
    soundfile.write(source, pcm, SAMPLERATE, subtype="PCM_16")

    def write():
        with AudioWriter(target, _FRAMES, SAMPLERATE, AudioFormat()) as writer:
            writer.write(pcm)
            writer.finish()
            writer.commit()

    return {
        "cadrender convolution": lambda: list(convolve(pcm, heads, gain, pcm16=False)),
        "scipy.signal.lfilter": lambda: reference.convolve(signal, left, right),
        "scipy.signal.oaconvolve": lambda: rivals.convolve(signal, left, right),
        "cadrender loudness": lambda: integrated_loudness(pcm, SAMPLERATE),
        "pyloudnorm": lambda: reference.loudness(signal, SAMPLERATE),
        "libloudness": lambda: rivals.libloudness(signal, SAMPLERATE),
        "cadrender read": lambda: read_stem(source, SAMPLERATE),
        "soundfile read": lambda: soundfile.read(source, dtype="int16"),
        "cadrender write": write,
        "soundfile write": lambda: soundfile.write(target, pcm, SAMPLERATE),
    }


def _whole(folder, taps):
    """Contenders on one stem of twenty seconds for four heads, files included."""
    root = make_root(folder / f"root-{taps}", seconds=20.0, taps=taps)

    def fresh(rival):
        """Files that are there already would not be written again: each round starts from an empty folder."""

        def measured():
            job = rivals.plan_of(root, folder / f"output-{taps}", stems=["mixture"]).jobs[0]
            rivals.make_places([job])
            began = time.perf_counter()
            rival(job)
            return time.perf_counter() - began

        return measured

    return {_OURS: fresh(run_stem_job), **{name: fresh(rival) for name, rival in _WHOLE.items()}}


def setup_cache():
    """Measure everything once, in turns; the benchmarks report it."""
    here = Path.cwd()
    found = {}
    for taps in _TAPS:
        for contenders, frames in ((_parts(here, taps), _FRAMES), (_whole(here, taps), 4 * 20 * SAMPLERATE)):
            for contender in contenders.values():
                contender()
            for name, seconds in medians(contenders, 3).items():
                found[name, taps] = 1e9 * seconds / frames
    return found


setup_cache.timeout = 1800


class Parts:
    """One stem, one head, in memory (files: in the page cache)."""

    params = ((*_PARTS, *dict.fromkeys(_PARTS.values())), _TAPS)
    param_names = ("what", "taps")

    def track_nanoseconds(self, found, what, taps):
        return found[what, taps]

    track_nanoseconds.unit = "ns per frame"

    def track_frames_per_second(self, found, what, taps):
        return 1e9 / found[what, taps]

    track_frames_per_second.unit = "frames/s"


class PartRatios:
    """How many times faster the engine's part is."""

    params = (tuple(_PARTS), _TAPS)
    param_names = ("than", "taps")

    def track_times_faster(self, found, than, taps):
        return found[than, taps] / found[_PARTS[than], taps]

    track_times_faster.unit = "times"


class Whole:
    """One stem, four heads, one core, files included."""

    params = ((_OURS, *_WHOLE), _TAPS)
    param_names = ("what", "taps")

    def track_nanoseconds(self, found, what, taps):
        return found[what, taps]

    track_nanoseconds.unit = "ns per frame-scene"

    def track_frames_per_second(self, found, what, taps):
        return 1e9 / found[what, taps]

    track_frames_per_second.unit = "frames/s"


class Ratios:
    """How many times faster the engine is; below 1 for the copies, which render nothing."""

    params = (tuple(_WHOLE), _TAPS)
    param_names = ("than", "taps")

    def track_times_faster(self, found, than, taps):
        return found[than, taps] / found[_OURS, taps]

    track_times_faster.unit = "times"
