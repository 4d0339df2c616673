"""``python -m benchmarks.table``: speed, against rivals and the limit, and where each nanosecond goes.

Everything is measured on a temporary root, files included, in turns and several times; medians are reported. The
engine is charged for the whole command, from start to exit; the others start with everything imported and their
worker processes running. Ratios are taken within each round.
"""

import gc
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import machine, markdown, rivals, script, stages, start
from benchmarks.machine import medians, ratio, rounds, timed
from benchmarks.roots import AT_MIC_BYTES, OFFICIAL_FRAME_SCENES, make_places, make_root, plan_of

_OURS, _REFERENCE, _COPY = "cadrender", "the reference", "copy"
_NAMES = {
    _OURS: "**cadrender generate**",
    _REFERENCE: "the reference: lfilter, pyloudnorm, soundfile",
    "oaconvolve": "`oaconvolve`, pyloudnorm, soundfile, joblib",
    "libloudness": "`oaconvolve`, libloudness (float32: other samples), soundfile, joblib",
    "soundfile": "no rendering: soundfile reads each source once, writes each output once",
    _COPY: "the limit: the same bytes copied with `read` and `write`",
}
_RIVALS = {
    _REFERENCE: rivals.by_reference,
    "oaconvolve": rivals.by_oaconvolve_pyloudnorm,
    "libloudness": rivals.by_oaconvolve_libloudness,
    "soundfile": rivals.by_soundfile,
    _COPY: rivals.by_copying,
}
# Slow ones get a share of the work: this many batches per worker, of this many scenes (None: all).
_SHARES = {_REFERENCE: (1, None), "oaconvolve": (1, None), "libloudness": (1, None)}


@dataclass(frozen=True)
class Bench:
    """A root and a folder to render it to."""

    root: Path
    output: Path

    def batches(self):
        """The engine's batches on an empty output folder, with its folders created."""
        batches = plan_of(self.root, self.output).batches
        make_places(batches)
        return batches

    def ours(self, n_jobs: int) -> float:
        """Nanoseconds per frame-scene of the whole command."""
        frame_scenes = plan_of(self.root, self.output).frame_scenes
        machine.settle(AT_MIC_BYTES * frame_scenes)
        seconds = start.run_seconds(start.generate_command(self.root, self.output, n_jobs))
        return 1e9 * seconds / frame_scenes

    def rival(self, name: str, n_jobs: int) -> float:
        """Nanoseconds per frame-scene of a rival on its share of the batches."""
        batches = self.batches()
        if name in _SHARES:
            count, scenes = _SHARES[name]
            batches = [batch.having(batch.outputs[:scenes]) for batch in batches[: count * n_jobs]]
        frame_scenes = sum(batch.frame_scenes for batch in batches)
        gc.collect()
        machine.settle(AT_MIC_BYTES * frame_scenes)
        seconds = timed(lambda: rivals.run(_RIVALS[name], batches, n_jobs))()
        return 1e9 * seconds / frame_scenes


def measure(bench: Bench, all_cores: int, repeats: int, skip: set[str]) -> dict[tuple[str, int], list[float]]:
    """Nanoseconds per frame-scene of every contender at one and at all cores, round by round."""
    contenders: dict[tuple[str, int], Callable[[], float]] = {}
    for n_jobs in dict.fromkeys((1, all_cores)):
        contenders[_OURS, n_jobs] = partial(bench.ours, n_jobs)
        for name in _RIVALS:
            if name not in skip:
                contenders[name, n_jobs] = partial(bench.rival, name, n_jobs)
    # Fill caches, read files, start workers: none of it counts.
    bench.ours(1)
    bench.ours(all_cores)
    rivals.start_pool(all_cores)
    bench.rival(_COPY, all_cores)
    return rounds(contenders, repeats)


def _hours(nanoseconds):
    seconds = nanoseconds * 1e-9 * OFFICIAL_FRAME_SCENES
    if seconds < 5400:
        return f"{seconds / 60:.0f} min" if seconds > 570 else f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def speed_table(ns: dict[tuple[str, int], list[float]], all_cores: int, started: float) -> str:
    """The README's table, the distance from the limit, and one core's work without start-up."""
    header = ["", "1 core: ns", "against the reference", f"{all_cores} cores: ns", "gain of the cores"]
    header.append(f"the 88 GB set, {all_cores} cores")
    rows = []
    for name, text in _NAMES.items():
        if (name, 1) not in ns:
            continue
        one, many = ns[name, 1], ns[name, all_cores]
        times = f"{ratio(ns[_REFERENCE, 1], one):.1f} x" if (_REFERENCE, 1) in ns else ""
        if name in ("soundfile", _COPY):
            times = ""
        rows.append(
            [
                text,
                f"{statistics.median(one):.1f}",
                times,
                f"{statistics.median(many):.1f}",
                f"{ratio(one, many):.2f} x",
                _hours(statistics.median(many)),
            ]
        )
    away = [
        f"{ratio(ns[_OURS, n], ns[_COPY, n]):.1f} times the plain copy on {n} core{'s' if n > 1 else ''}"
        for n in dict.fromkeys((1, all_cores))
        if (_COPY, n) in ns
    ]
    begun = f"Without its start-up: {started:.1f} ns on one core"
    if (_REFERENCE, 1) in ns:
        begun += f", {statistics.median(ns[_REFERENCE, 1]) / started:.1f} times faster than the reference"
    distance = f" Distance from the limit: {', '.join(away)}." if away else ""
    return f"{markdown.table(header, rows)}\n\n{begun}.{distance}"


def stage_table(ns: dict[str, float], whole: float, plain: float) -> str:
    """Where one core's time goes, in the order of the data flow."""
    order = [*dict.fromkeys(stages.ORDER), *ns]
    rows = [
        [name, f"{ns[name]:.2f}", f"{100 * ns[name] / whole:.1f} %"]
        for name in dict.fromkeys(order)
        if name in ns and ns[name] >= 0.005
    ]
    accounted = sum(ns.values())
    rows.append([stages.REST, f"{whole - accounted:.2f}", f"{100 * (1 - accounted / whole):.1f} %"])
    rows.append(["**one core, start-up apart**", f"**{whole:.2f}**", "100 %"])
    table = markdown.table(["stage", "ns per frame-scene", "share"], rows)
    return f"{table}\n\nAccounted for: {100 * accounted / whole:.1f} %. The same without the stopwatch: {plain:.2f} ns."


def start_table(bench: Bench, cache: Path, all_cores: int, repeats: int) -> str:
    """Start-up times."""

    def first_block(n_jobs, where=None):
        shutil.rmtree(bench.output, ignore_errors=True)
        return start.first_block_seconds(bench.root, bench.output, n_jobs, where)

    cold = first_block(1, cache)
    warm = medians(
        {
            "help": start.help_seconds,
            1: lambda: first_block(1),
            all_cores: lambda: first_block(all_cores),
        },
        repeats,
    )
    rows = [
        ["`cadrender --help`", f"{warm['help']:.2f} s"],
        ["first run on a machine: from the command to the first samples", f"{cold:.1f} s"],
    ]
    rows += [
        [f"every later run, `-j {n}`: the same", f"{warm[n]:.2f} s"] for n in dict.fromkeys((1, all_cores))
    ]
    return markdown.table(["start-up", "time"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write into documents on request."""
    options = script.parser(__doc__, repeats=5, tables=True)
    options.add_argument("--songs", type=int, default=3, help="songs of the temporary root")
    options.add_argument("--seconds", type=float, default=180.0, help="length of each")
    options.add_argument("--scenes", type=int, default=4, help="scenes a song")
    options.add_argument("--taps", type=int, default=384, help="length of the HRIRs")
    options.add_argument("--cores", type=int, default=machine.cores(), help="what 'all cores' means")
    options.add_argument("--skip", nargs="+", default=[], choices=list(_RIVALS), help="rivals to leave out")
    given = script.parse(options, arguments, repeats=1, songs=1, seconds=5.0)
    with script.workplace(given.folder) as folder:
        kinds = min(given.songs, 4)
        copies = max(-(-given.songs // 4), min(8, given.cores // 4))  # many cores need more batches
        root = make_root(
            folder / "root",
            songs=kinds,
            seconds=given.seconds,
            scenes=given.scenes,
            taps=given.taps,
            copies=copies,
        )
        bench = Bench(root, folder / "output")
        conditions = script.conditions(
            folder,
            "table",
            f"Songs: {kinds * copies} of {given.seconds:.0f} s, five stems, {given.scenes} scenes a song, HRIRs of "
            f"{given.taps} taps; files read and written; medians of {given.repeats} interleaved rounds; ns of wall "
            "time per frame of one stem for one scene.",
        )
        ns = measure(bench, given.cores, given.repeats, set(given.skip))
        plain, watched, by_stage = stages.measure(root, bench.output, given.repeats)
        starts = start_table(bench, folder / "cache", given.cores, given.repeats)
    blocks = {
        "speed table": f"{speed_table(ns, given.cores, plain)}\n\n{conditions}",
        "stage table": stage_table(by_stage, watched, plain),
        "start table": starts,
    }
    script.publish(blocks, given.write)


if __name__ == "__main__":
    main()
