"""``python -m benchmarks.part_kernels``: the cost of the kernels for parts, by method and by stage.

Source and stored files are in the page cache; all contenders take turns in one process, on one core. Every value is
compared with soundfile's before anything is timed.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numba
import numpy as np
import soundfile

from benchmarks import machine, script
from benchmarks.machine import gain_of_threads, rounds, timed
from benchmarks.markdown import table
from benchmarks.on_demand import SECONDS, STEMS
from benchmarks.roots import SAMPLERATE, hrir
from cadrender.dsp import part_kernels, parts
from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.parts import convolve_parts, history

TAPS = 384

SOUNDFILE = "soundfile, stored files"
TOGETHER = "parts, all stems together"
ONE_BY_ONE = "parts, stem by stem"
FRESH = "parts, to new memory"
SINGLE = "parts, single precision"
READING = "reading the sources, of that"


class Sample:
    """A sample's stems, as sources and as the files the engine makes from them.

    Parameters
    ----------
    folder : pathlib.Path
        For the files.
    stems : int
        Number of stems.
    seconds : float
        Their length.
    taps : int
        Of the HRIRs.
    """

    def __init__(self, folder: Path, stems: int, seconds: float, taps: int = TAPS):
        draw = np.random.default_rng(7)
        self.heads = Heads([(hrir(taps, 1).astype(float), hrir(taps, 2).astype(float))])
        self.gains = [0.3 + 0.1 * stem for stem in range(stems)]
        self._stored = [folder / f"stored-{stem}.wav" for stem in range(stems)]
        self._sources = []
        for stem, gain in enumerate(self.gains):
            pcm = (3000 * draw.standard_normal((int(seconds * SAMPLERATE), 2))).astype(np.int16)
            soundfile.write(folder / f"source-{stem}.wav", pcm, SAMPLERATE, subtype="PCM_16")
            self._sources.append(os.open(folder / f"source-{stem}.wav", os.O_RDONLY))
            pieces = [piece.copy() for _, piece, _ in convolve(pcm, self.heads, [gain])]
            soundfile.write(self._stored[stem], np.concatenate(pieces), SAMPLERATE, subtype="PCM_16")

    def stored(self, start: int, frames: int) -> list[np.ndarray]:
        """The part as soundfile reads it."""
        return [soundfile.read(file, start=start, frames=frames, dtype="float32")[0] for file in self._stored]

    def read(self, start: int, into: np.ndarray, stem: int) -> None:
        """Read a source's part; the files have 44-byte headers."""
        assert os.preadv(self._sources[stem], [into.data], 44 + 4 * start) == into.nbytes

    def contenders(self, start: int, frames: int) -> dict[str, Callable[[], object]]:
        """Alternative ways to get the part in float32."""
        before = min(start, history(self.heads))
        buffers = np.empty((len(self.gains), before + frames, 2), np.int16)
        out = np.empty((len(self.gains), frames, 2), np.float32)

        def read():
            for stem, buffer in enumerate(buffers):
                self.read(start - before, buffer, stem)

        def together():
            read()
            return convolve_parts(list(buffers), before, frames, self.heads, self.gains, out=out)

        def one_by_one():
            for stem, gain in enumerate(self.gains):
                self.read(start - before, buffers[0], stem)
                convolve_parts([buffers[0]], before, frames, self.heads, [gain], out=out[stem : stem + 1])
            return out

        def fresh():
            read()
            return convolve_parts(list(buffers), before, frames, self.heads, self.gains, dtype="float32")

        def single():
            read()
            return convolve_parts(
                list(buffers),
                before,
                frames,
                self.heads,
                self.gains,
                pcm16=False,
                out=out,
                precision="single",
            )

        expected = np.stack(self.stored(start, frames))
        for way in (together, one_by_one, fresh):
            out[:] = 9.0
            np.testing.assert_array_equal(way(), expected)
        np.testing.assert_allclose(single(), expected, rtol=0, atol=2**-15 + 1e-6)
        return {
            SOUNDFILE: lambda: self.stored(start, frames),
            TOGETHER: together,
            ONE_BY_ONE: one_by_one,
            FRESH: fresh,
            SINGLE: single,
            READING: read,
        }


def seconds_of(sample: Sample, frames: int, repeats: int) -> dict[str, list[float]]:
    """Seconds each contender took per part, round by round."""
    ways = sample.contenders(100_001, frames)
    loops = max(1, SAMPLERATE // frames)

    def repeated(way):
        def run():
            for _ in range(loops):
                way()

        return run

    for way in ways.values():
        repeated(way)()
    found = rounds({name: timed(repeated(way)) for name, way in ways.items()}, repeats)
    return {name: [seconds / loops for seconds in taken] for name, taken in found.items()}


def ratios(taken: dict[str, list[float]], name: str) -> tuple[float, float]:
    """A contender's time as a multiple of soundfile's: of the medians, and of the minima."""
    ours, theirs = taken[name], taken[SOUNDFILE]
    return median(ours) / median(theirs), min(ours) / min(theirs)


def speedup(sample: Sample, frames: int, threads: int, repeats: int) -> float:
    """Throughput in parts of several threads relative to one: the median of turns."""
    reads = max(1, 8 * SAMPLERATE // frames)
    return gain_of_threads(lambda: sample.contenders(100_001, frames)[TOGETHER], reads, threads, repeats)


@numba.njit(nogil=True)
def _loop(stage, count, source, left, right, passes, twiddles, hrirs, out, rest):
    at = passes[-1, 2]
    for _ in range(count):
        if stage == 0:
            part_kernels.first_left(source, 0, source, 4096, 512, left, twiddles)
            part_kernels.first_right(source, 0, source, 4096, 512, right, twiddles)
        elif stage == 1:
            part_kernels.forward(left, 512, passes, twiddles)
            part_kernels.forward(right, 512, passes, twiddles)
        elif stage == 2:
            part_kernels.multiply(left, right, 512, twiddles, at, hrirs, out[:0], out[:0], source[:0])
        elif stage == 3:
            part_kernels.inverse(left, 512, passes, twiddles)
            part_kernels.inverse(right, 512, passes, twiddles)
        else:
            part_kernels.put_pcm(left, right, 96, 1.0, out, 0, 1664, rest)
            part_kernels.put_pcm(left, right, 97, 1.0, out, 0, 1664, rest)


STAGES = (
    "first pass, from int16",
    "second pass",
    "last passes forward, HRIRs, first passes inverse",
    "last two passes inverse",
    "clip, truncate, float32",
)


def stages_ns(heads: Heads, repeats: int) -> dict[str, float]:
    """Nanoseconds per frame of each stage for windows of 2048 frames, 1664 of them valid, in the caches."""
    passes, twiddles = parts.transform(2048)
    hrirs = parts.spectra(heads, 0, 2048)
    source = np.random.default_rng(1).integers(-9000, 9000, 8192).astype(np.int16)
    out, rest = np.empty(4096, np.float32), np.empty(16, np.float32)
    left, right = parts.aligned(np.zeros((2, 4096))).reshape(2, -1)

    def run(stage):
        left[:] = right[:] = 0.0  # passes on their own would grow without bound
        began = time.perf_counter()
        _loop(stage, 100, source, left, right, passes, twiddles, hrirs, out, rest)
        return (time.perf_counter() - began) * 1e9 / (100 * 2 * 1664)

    for stage in range(len(STAGES)):
        run(stage)
    found = rounds({name: partial(run, n) for n, name in enumerate(STAGES)}, repeats)
    return {name: median(taken) for name, taken in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = script.parser(__doc__, repeats=21)
    options.add_argument("--seconds", type=float, nargs="+", default=SECONDS, help="lengths of parts")
    options.add_argument("--stems", type=int, nargs="+", default=STEMS, help="how many together")
    options.add_argument("--threads", type=int, default=4, help="how many beside one")
    given = script.parse(options, arguments, repeats=2, seconds=[0.5], stems=[1])
    with script.workplace(given.folder) as folder:
        for stems in given.stems:
            sample = Sample(folder, stems, max(given.seconds) + 10.0)
            for seconds in given.seconds:
                frames = int(seconds * SAMPLERATE)
                taken = seconds_of(sample, frames, given.repeats)
                rows = []
                for name in taken:
                    times = f"{1e3 * median(taken[name]):.2f}", f"{1e3 * min(taken[name]):.2f}"
                    per_frame = f"{1e9 * median(taken[name]) / (stems * frames):.2f}"
                    rows.append([name, *times, per_frame, *(f"{r:.2f}" for r in ratios(taken, name))])
                print(f"\n{stems} stems, {seconds:g} s, float32\n")
                print(table(["", "median ms", "least ms", "ns a frame", "x soundfile", "least"], rows))
        gain = speedup(sample, int(6.0 * SAMPLERATE), given.threads, 5)
        print(f"\n{given.threads} threads: {gain:.2f} times the parts of one ({machine.cores()} cores)")
        print("\nns a frame\n")
        found = stages_ns(sample.heads, 3 * given.repeats)
        rows = [[name, f"{ns:.2f}"] for name, ns in [*found.items(), ("together", sum(found.values()))]]
        print(table(["stage", "ns"], rows))
        print(script.conditions(folder, "part_kernels", f"Medians of {given.repeats} interleaved rounds."))


if __name__ == "__main__":
    main()
