"""``python -m benchmarks.block_lengths``: the cost of transforms, and the best block length for each HRIR length.

Prints the table ``_TRANSFORM_NS`` of :mod:`cadrender.dsp.hrir`, then, for each HRIR length, the time of the engine's
second pass with every sensible block length, beside the length the engine chooses.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import script
from benchmarks.machine import rounds, timed
from cadrender.dsp import fft
from cadrender.dsp.convolve import convolve
from cadrender.dsp.grid import Grid
from cadrender.dsp.hrir import Heads

TAPS = (64, 256, 384, 820, 2048, 8192)


def _least(contenders, repeats):
    """The undisturbed time of each: the minimum over its rounds, so that other load does not sway the choice."""
    runs = {name: timed(run) for name, run in contenders.items()}
    return {name: min(seconds) for name, seconds in rounds(runs, repeats).items()}


def transform_ns(longest: int, rows: int, repeats: int) -> dict[int, float]:
    """Nanoseconds per stereo inverse transform of each length up to ``longest``, in batches of ``rows``."""
    plans = {n: fft.complex_inverse(n, rows, "block") for n in fft.LENGTHS if 256 <= n <= longest}
    loops = {n: max(1, 4_000_000 // (n * rows)) for n in plans}

    def run(n):
        execute = plans[n].execute
        for _ in range(loops[n]):
            execute()

    for n in plans:
        run(n)
    seconds = _least({n: (lambda n=n: run(n)) for n in plans}, repeats)
    return {n: 1e9 * seconds[n] / (loops[n] * rows) for n in plans}


def noise_heads(taps: int, heads: int) -> Heads:
    """HRIRs of decaying noise, without leading zeros to trim."""
    draw = np.random.default_rng(taps)
    decay = np.exp(-6.0 * np.arange(taps) / taps)[:, None]
    return Heads([tuple(draw.standard_normal((2, taps, 2)) * 0.1 * decay) for _ in range(heads)])


def forced(heads: Heads, length: int) -> Heads:
    """Make the engine use transforms of ``length``."""
    chosen: Any = heads
    chosen.block = lambda: Grid(length, (length - heads.trimmed_taps + 1) // 4 * 4)
    return heads


def convolve_ns(taps: int, heads: int, signal: np.ndarray, repeats: int) -> tuple[int, dict[int, float]]:
    """The block length the engine chooses, and nanoseconds per frame-scene of the second pass for all lengths."""
    chosen = noise_heads(taps, heads).block()[0]
    shortest = max(2 * (taps - 1) + 8, 256)
    lengths = [n for n in fft.LENGTHS if shortest <= n <= max(64 * taps, 16384)]
    made = {n: forced(noise_heads(taps, heads), n) for n in lengths}
    gains = np.full(heads, 0.5)

    def run(n):
        for _ in convolve(signal, made[n], gains):
            pass

    for n in lengths:
        run(n)
    quick = _least({n: (lambda n=n: run(n)) for n in lengths}, 2)
    # Far slower ones need no second look.
    near = [n for n in lengths if quick[n] < 1.5 * min(quick.values()) or n == chosen]
    seconds = _least({n: (lambda n=n: run(n)) for n in near}, repeats)
    return chosen, {n: 1e9 * seconds[n] / (len(signal) * heads) for n in near}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = script.parser(__doc__, repeats=7, files=False)
    options.add_argument("--longest", type=int, default=131072, help="longest transform to measure")
    options.add_argument("--rows", type=int, default=16, help="transforms in a batch")
    options.add_argument("--taps", type=int, nargs="+", default=TAPS, help="lengths of HRIRs")
    options.add_argument("--heads", type=int, nargs="+", default=[1, 4], help="scenes a song")
    options.add_argument("--seconds", type=float, default=10.0, help="length of the signal")
    given = script.parse(options, arguments, repeats=1, longest=2048, taps=[64], heads=[1], seconds=1.0)
    costs = transform_ns(given.longest, given.rows, given.repeats)
    print("_TRANSFORM_NS = {")
    for n, taken in costs.items():
        print(f"    {n}: {taken:.0f},")
    print("}", flush=True)
    draw = np.random.default_rng(1)
    signal = draw.integers(-9000, 9000, (int(given.seconds * 44100), 2), dtype=np.int16)
    for taps in given.taps:
        for heads in given.heads:
            chosen, cost = convolve_ns(taps, heads, signal, given.repeats)
            best = min(cost, key=cost.__getitem__)
            loss = 100 * (cost[chosen] / cost[best] - 1)
            print(f"{taps} taps, {heads} scenes: best {best}, chosen {chosen} (+{loss:.1f} %), in ns:")
            print("   ", ", ".join(f"{n}: {cost[n]:.2f}" for n in cost), flush=True)


if __name__ == "__main__":
    main()
