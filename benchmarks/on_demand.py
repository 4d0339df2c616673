"""``python -m benchmarks.on_demand``: the cost of parts, training items and the mount beside stored files.

Everything goes through the user-facing interfaces: the public classes and the command. Stored files are in the page
cache. Alternatives take turns; all values are compared before anything is timed.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

import cadrender
from benchmarks import machine, markdown, mounted, reference, rivals, script, start
from benchmarks.items import Workers, stored_like
from benchmarks.machine import gain_of_threads, ratio, rounds
from benchmarks.mounted import FLAC, GENERATE, MOUNT, WAV
from benchmarks.roots import (
    OFFICIAL_FRAME_SCENES,
    OFFICIAL_SCENES,
    OFFICIAL_SONGS,
    READ_GB,
    SAMPLERATE,
    WRITTEN_GB,
    make_root,
)
from cadrender.index import LevelBatch, measure_batch
from cadrender.signals.at_mic import AtMic
from cadrender.store.levels import NAME, LevelFiles

OURS = "cadrender"
OACONVOLVE = "oaconvolve"
LFILTER = "lfilter"

SECONDS = (0.5, 2.0, 6.0, 30.0)
STEMS = (1, 5)

# Seconds of audio per stem that an alternative reads before the next one's turn.
_TURN = 4.0

_THREADS = 4

# Shortest song: each of its files has room for a random read.
_SHORTEST = 13.0

_ONE = {"threads": "thread", "processes": "process"}

ITEM_SECONDS = 6.0
ANY = "cadrender, any head"


@dataclass(frozen=True)
class Prepared:
    """A root whose levels are known, and the output of ``generate`` for it.

    Attributes
    ----------
    folder : pathlib.Path
        Holds everything.
    """

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "root"

    def root(self) -> cadrender.Root:
        """The root; no stored file is where it would look for one."""
        return cadrender.open_root(self.path)

    def stored(self, kind: str) -> Path:
        """The at-mic music, stored as ``wav`` or ``flac``."""
        return self.folder / kind / "at_mic_music"


def prepare(folder: Path, songs: int, seconds: float, n_jobs: int) -> Prepared:
    """Make a root, generate its music in both formats, and measure all its levels."""
    prepared = Prepared(folder)
    make_root(prepared.path, songs=songs, seconds=seconds, scenes=OFFICIAL_SCENES)
    for kind in ("wav", "flac"):
        command = start.generate_command(prepared.path, prepared.stored(kind).parent, n_jobs)
        start.run_seconds([*command, "--format", kind])
    index = ("index", "--quiet", "--root", str(prepared.path), "--heads", "all", "-j", str(n_jobs))
    start.run_seconds(start.command(*index))
    return prepared


# Parts


def _read_files(files: Sequence[Path], frames: int, start: int) -> list[np.ndarray]:
    return [soundfile.read(file, frames, start, dtype="float32")[0] for file in files]


def part_ways(
    prepared: Prepared, stems: int, frames: int
) -> dict[str, Callable[[int], Sequence[np.ndarray]]]:
    """Functions from the first frame of a part to its stems, each (frames, 2) float32."""
    root = prepared.root()
    sample = root.samples[0]
    signals = [root.at_mic(sample, stem) for stem in cadrender.STEMS[:stems]]
    ways: dict[str, Callable[[int], Sequence[np.ndarray]]] = {}
    ways[OURS] = lambda start: list(AtMic.read_together(signals, start, frames, "float32"))
    if stems == 1:
        ways[OURS] = lambda start: [signals[0].read(start, frames, "float32")]
    for name, kind in ((WAV, "wav"), (FLAC, "flac")):
        files = [prepared.stored(kind) / sample.path / f"{signal.stem}.{kind}" for signal in signals]
        ways[name] = partial(_read_files, files, frames)
    ways[OACONVOLVE] = _by_convolving(rivals.convolve, signals, frames)
    ways[LFILTER] = _by_convolving(reference.convolve, signals, frames)
    return ways


def _by_convolving(convolve, signals, frames):
    """The part as others would render it: convolved together with as many preceding frames as the HRIRs have taps."""
    left, right = (soundfile.read(file)[0] for file in (signals[0].left_hrir, signals[0].right_hrir))
    gains = [signal.level().gain for signal in signals]

    def part(start):
        before = min(start, max(len(left), len(right)) - 1)
        found = []
        for signal, gain in zip(signals, gains, strict=True):
            pcm = soundfile.read(signal.source, before + frames, start - before, dtype="int16")[0]
            rendered = convolve(pcm / 32768, left, right)[before:]
            rendered *= 32768 * gain
            np.clip(rendered, -32768, 32767, out=rendered)
            found.append(rendered.astype(np.int16) / np.float32(32768))
        return found

    return part


def measure_parts(
    prepared: Prepared, song_seconds: float, lengths: Sequence[float], repeats: int
) -> dict[tuple[int, float], dict[str, list[float]]]:
    """Seconds per part by stems, length and way, per round; at random places, the same for all ways."""
    draw = np.random.default_rng(0)
    found = {}
    for stems in STEMS:
        for seconds in lengths:
            frames = round(seconds * SAMPLERATE)
            last = round(song_seconds * SAMPLERATE) - frames
            ways = part_ways(prepared, stems, frames)
            for place in (0, 100, last):
                _compare(ways, place)
            places = draw.integers(0, last, 100).tolist()
            loops = max(1, round(_TURN / seconds))
            turns = {name: _turn(way, places, loops) for name, way in ways.items()}
            found[stems, seconds] = rounds(turns, repeats)
    return found


def _compare(ways, place):
    expected = ways[WAV](place)
    for name, way in ways.items():
        found = way(place)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float32, name
            np.testing.assert_array_equal(one, other, err_msg=name)


def _turn(way, places, loops):
    following = itertools.cycle(places)

    def run():
        chosen = list(itertools.islice(following, loops))
        began = time.perf_counter()
        for place in chosen:
            way(place)
        return (time.perf_counter() - began) / loops

    return run


def measure_threads(prepared: Prepared, repeats: int) -> float:
    """How many times as many parts (five stems, 6 s) four threads read as one."""
    frames = round(ITEM_SECONDS * SAMPLERATE)
    way = part_ways(prepared, len(cadrender.STEMS), frames)[OURS]
    return gain_of_threads(lambda: lambda: way(SAMPLERATE), 8, _THREADS, repeats)


# Training items


def measure_items(
    prepared: Prepared, workers: Sequence[int], count: int, repeats: int
) -> dict[tuple[str, str, int], list[float]]:
    """Items per second by source, kind and number of workers, per round."""
    path = prepared.path
    dataset = cadrender.Dataset(path, seconds=ITEM_SECONDS, length=count)
    sources = {
        OURS: dataset,
        ANY: cadrender.Dataset(path, seconds=ITEM_SECONDS, length=count, heads="any"),
        WAV: stored_like(dataset, prepared.stored("wav") / "train", ".wav", count),
        FLAC: stored_like(dataset, prepared.stored("flac") / "train", ".flac", count),
    }
    counts = dict.fromkeys(sources, count) | {FLAC: max(max(workers), count // 4)}
    with Workers(sources, counts, max(workers)) as pool:
        contenders = {
            key: partial(pool.rate, *key)
            for key in itertools.product(sources, ("threads", "processes"), workers)
        }
        return rounds(contenders, repeats)


# Levels


@dataclass(frozen=True)
class Levels:
    """One song's levels at some head positions.

    Attributes
    ----------
    positions : int
    seconds : list of float
        Time to measure and store them on one core, per round, excluding the command's start.
    size : int
        Size of the file that stores them, in bytes.
    """

    positions: int
    seconds: list[float]
    size: int


def measure_levels(prepared: Prepared, repeats: int) -> dict[str, Levels]:
    """Measure a song's levels at the positions in its scenes, and at all positions."""
    root = prepared.root()
    song = root.samples[0].source
    batches: dict[str, list[list[AtMic]]] = {}
    sizes: dict[str, int] = {}
    for heads in ("scenes", "all"):
        every = root.catalogue("at-mic", heads=heads).batches()
        batches[heads] = [
            [output.signal for output in batch.outputs if isinstance(output.signal, AtMic)]
            for batch in every
            if batch.song == song
        ]

    def run(heads):
        with tempfile.TemporaryDirectory(dir=prepared.folder) as folder:
            unknown = LevelFiles(Path(folder), prepared.path)
            began = time.perf_counter()
            for signals in batches[heads]:
                batch = LevelBatch(song, tuple(replace(one, level_files=unknown) for one in signals))
                if error := measure_batch(batch).error:
                    raise RuntimeError(error)
            elapsed = time.perf_counter() - began
            sizes[heads] = Path(folder, NAME).stat().st_size
            return elapsed

    run("scenes")
    found = rounds({heads: partial(run, heads) for heads in batches}, repeats)
    return {heads: Levels(len(batches[heads][0]), found[heads], sizes[heads]) for heads in batches}


# Tables


def _milliseconds(seconds):
    """Format to three digits."""
    return f"{1e3 * seconds:.{2 if seconds < 0.01 else 1 if seconds < 0.1 else 0}f}"


def parts_table(found: Mapping[tuple[int, float], Mapping[str, Sequence[float]]]) -> str:
    """Milliseconds per part."""
    names = {
        OURS: "**cadrender**: nothing stored",
        WAV: "soundfile: stored WAV",
        FLAC: "soundfile: stored FLAC",
        OACONVOLVE: "`oaconvolve`",
        LFILTER: "`lfilter`, the reference",
    }
    rows = []
    for (stems, seconds), taken in found.items():
        what = f"{stems} stem{'s' if stems > 1 else ''}, {seconds:g} s"
        times = [_milliseconds(median(taken[name])) for name in names]
        rows.append([what, *times, f"{ratio(taken[OURS], taken[WAV]):.2f} x"])
    header = ["a part in float32, one thread: ms", *names.values(), "against stored WAV"]
    return markdown.table(header, rows)


def items_table(
    found: Mapping[tuple[str, str, int], Sequence[float]], workers: Sequence[int], disk: Mapping[str, str]
) -> str:
    """Items per second."""
    names = {
        OURS: "**`cadrender.Dataset`**",
        ANY: '**`cadrender.Dataset`, `heads="any"`**',
        WAV: "soundfile: stored WAV",
        FLAC: "soundfile: stored FLAC",
    }
    ways = [(kind, count) for kind in ("threads", "processes") for count in workers]
    header = ["items a second: five stems of 6 s"]
    header += [f"{count} {kind if count > 1 else _ONE[kind]}" for kind, count in ways]
    rows = [
        [text, *(f"{median(found[name, *way]):.1f}" for way in ways), disk[name]]
        for name, text in names.items()
    ]
    return markdown.table([*header, "disk for the whole set"], rows)


def mount_table(found: Mapping[tuple[str, str], Sequence[float]], disk: Mapping[str, str]) -> str:
    """Copy rates, and milliseconds per random read."""
    names = {
        MOUNT: "**`cadrender mount`**",
        WAV: "stored WAV",
        FLAC: "stored FLAC, decoded by soundfile",
        GENERATE: "`cadrender generate`, writing WAV",
    }
    rows = []
    for name, text in names.items():
        copy, read = found.get((name, "copy")), found.get((name, "read"))
        if copy or read:
            rows.append(
                [
                    text,
                    f"{median(copy) / 1e6:.0f}" if copy else "",
                    _milliseconds(median(read)) if read else "",
                    disk.get(name, ""),
                ]
            )
    header = ["a tree of files", "`cp -r`: MB/s", "1 MiB anywhere: ms", "disk for the whole set"]
    return markdown.table(header, rows)


def disk_space(flac_ratio: float, levels: Mapping[str, Levels]) -> dict[str, str]:
    """Disk space needed for the official set, by method; levels are scaled from those of one song."""
    songs = f"{READ_GB:.0f} GB"
    scenes, every = (
        f"{levels[heads].size * OFFICIAL_SONGS / 1e6:.1f} MB of levels" for heads in ("scenes", "all")
    )
    terabytes = WRITTEN_GB / 1e3 * levels["all"].positions / OFFICIAL_SCENES
    return {
        OURS: f"{songs}, {scenes}",
        MOUNT: f"{songs}, {scenes}",
        ANY: f"{songs}, {every} (stored: {terabytes:.1f} TB)",
        WAV: f"{songs} + {WRITTEN_GB:.0f} GB",
        FLAC: f"{songs} + {WRITTEN_GB * flac_ratio:.0f} GB",
    }


def conclusions(threads: float, levels: Mapping[str, Levels], song_seconds: float) -> str:
    """Figures that are in no table."""
    own, every = levels["scenes"], levels["all"]
    multiple = ratio(every.seconds, own.seconds)
    official = OFFICIAL_FRAME_SCENES / len(cadrender.STEMS) / OFFICIAL_SCENES / SAMPLERATE
    whole = median(every.seconds) * official / song_seconds / 60
    return (
        f"{_THREADS} threads on {machine.cores()} cores read {threads:.2f} times as many parts (five stems, 6 s) as "
        f"one thread. Measuring the levels of a song at all {every.positions} head positions takes "
        f"{multiple:.1f} times as long as at its own {own.positions}; for the whole set, once, {whole:.0f} minutes of "
        "one core."
    )


def mount_rate(found: Mapping[tuple[str, str], Sequence[float]]) -> str:
    """How fast the mounted tree is copied, compared with `generate`."""
    if (MOUNT, "copy") not in found:
        return f"The mount was not measured: {mounted.why_not()}."
    rate = median(found[MOUNT, "copy"]) / median(found[GENERATE, "copy"])
    return f"Copying from the mount goes at {100 * rate:.0f} % of `generate`'s rate."


_NOTES = (
    "`oaconvolve` and `lfilter` are given the levels, too, read the part of the source with soundfile, and give the "
    "same samples. Items are made and dropped, without any framework's loader. FLAC's size is that of these "
    "synthesised songs ({flac:.0f} % of WAV); recorded ones compress less."
)
_MOUNT_NOTES = (
    "`cp -r` writes to the same disk as `generate`; the start-up of both is left out. A random read opens a file, "
    "reads a place that nobody has read before, and closes the file."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write into documents on request."""
    options = script.parser(__doc__, repeats=7, tables=True)
    options.add_argument("--seconds", type=float, default=60.0, help="length of a song")
    options.add_argument("--songs", type=int, default=2, help="songs, 1 to 4")
    options.add_argument("--items", type=int, default=24, help="training items a round")
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="threads, and processes")
    options.add_argument("--cores", type=int, default=machine.cores(), help="processes of generate")
    given = script.parse(options, arguments, repeats=2, seconds=_SHORTEST, songs=1, items=8)
    repeats, seconds = given.repeats, given.seconds
    lengths = [length for length in SECONDS if length + 1.0 < seconds]
    if seconds < _SHORTEST or not 1 <= given.songs <= 4 or min(repeats, given.items, *given.workers) < 1:
        options.error(f"--seconds must be at least {_SHORTEST:g}, --songs from 1 to 4, the others at least 1")
    with script.workplace(given.folder) as folder:
        prepared = prepare(folder, given.songs, seconds, given.cores)
        wav, flac = prepared.stored("wav"), prepared.stored("flac")
        trees = mounted.Trees(prepared.path, wav, flac, folder, given.cores)
        places = trees.random_places(repeats)
        parts = measure_parts(prepared, seconds, lengths, repeats)
        threads = measure_threads(prepared, repeats)
        items = measure_items(prepared, given.workers, given.items, repeats)
        levels = measure_levels(prepared, max(1, repeats // 2))
        mount = trees.measure(places)
        flac_ratio = mounted.tree_size(flac) / mounted.tree_size(wav)
        conditions = script.conditions(
            folder,
            "on_demand",
            f"Songs: {given.songs} of {seconds:.0f} s, five stems, {OFFICIAL_SCENES} scenes a song, HRIRs of 384 taps, "
            f"levels known, files in the page cache; medians of {repeats} interleaved rounds.",
        )
    disk = disk_space(flac_ratio, levels)
    blocks = {
        "on-demand table": [
            parts_table(parts),
            items_table(items, given.workers, disk),
            conclusions(threads, levels, seconds),
            _NOTES.format(flac=100 * flac_ratio),
            conditions,
        ],
        "mount table": [mount_table(mount, disk), mount_rate(mount), _MOUNT_NOTES, conditions],
    }
    script.publish({name: "\n\n".join(block) for name, block in blocks.items()}, given.write)


if __name__ == "__main__":
    main()
