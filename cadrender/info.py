"""What a root holds, how much of it is rendered, and how long the rest would take on this machine."""

import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.output import Batch
from cadrender.catalogue.songs import Song, song_of
from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError
from cadrender.metadata.music import read_track_lists
from cadrender.metadata.scenes import read_scenes
from cadrender.pipeline.commit import run_batch
from cadrender.pipeline.plan import Plan, free_space, make_plan
from cadrender.signals.at_mic import AtMic, heads_of
from cadrender.stems import MIXTURE
from cadrender.store import AudioFormat, AudioWriter, read_stem
from cadrender.store.manifest import Manifest, key_of

# Seconds for measuring mixtures and for rendering noise.
LOUDNESS_SECONDS = 2.0
SPEED_SECONDS = 1.0

# Seconds of noise rendered at a time; longer songs take as long per frame.
_NOISE_SECONDS = 8


@dataclass(frozen=True)
class Loudness:
    """How loud the mixtures are.

    Attributes
    ----------
    lowest, median, highest : float
        LUFS; NaN if all are silent.
    known, measured, songs : int
        Mixtures with a level in the manifest, mixtures measured now, and all mixtures.
    silent : int
        Silent ones among those known or measured.
    """

    lowest: float
    median: float
    highest: float
    known: int
    measured: int
    songs: int
    silent: int


@dataclass(frozen=True)
class Speed:
    """How fast this machine renders.

    Attributes
    ----------
    nanoseconds : float
        Per frame and scene, in one process, from the song on disk to the at-mic file.
    heads, taps : int
        Head positions for each stem, and length of the HRIRs, in the measurement.
    seconds : float
        Duration of the measurement.
    """

    nanoseconds: float
    heads: int
    taps: int
    seconds: float


@dataclass
class SplitInfo:
    """What a root holds of a split.

    Attributes
    ----------
    split : str
    songs, unusable : int
        Songs or excerpts that can be used, and others.
    seconds : float
        Total length of the former.
    scenes, samples, rendered, missing : int
        Scenes, their samples, those that are complete, and the others.
    bytes_now, bytes_to_come : int
        Size of the at-mic files.
    bytes_free : int
        Free space on their disk.
    loudness : Loudness, optional
    speed : Speed, optional
    generate_seconds, whole_seconds : float
        Time of ``generate`` with `n_jobs` processes: for what is missing, and for everything.
    n_jobs : int
        Processes.
    """

    split: str
    songs: int = 0
    unusable: int = 0
    seconds: float = 0.0
    scenes: int = 0
    samples: int = 0
    rendered: int = 0
    missing: int = 0
    bytes_now: int = 0
    bytes_to_come: int = 0
    bytes_free: int = 0
    loudness: Loudness | None = None
    speed: Speed | None = None
    generate_seconds: float = 0.0
    whole_seconds: float = 0.0
    n_jobs: int = 1


def look_at_split(settings: Settings, n_jobs: int) -> SplitInfo:
    """Find out what a root holds of a split; only noise in a temporary folder is written.

    Parameters
    ----------
    settings : Settings
        Of the split.
    n_jobs : int
        Processes that ``generate`` would use.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract, or an HRIR cannot be used.
    """
    info = SplitInfo(settings.split, n_jobs=n_jobs)
    catalogue = AtMicCatalogue(settings) if settings.scene_file.exists() else None
    plan = make_plan(catalogue) if catalogue else None
    songs = dict(catalogue.songs) if catalogue else {}
    if not settings.excerpts_file.exists():
        for track in read_track_lists([file for file in settings.music_files if file.exists()]):
            if track.name not in songs:
                try:
                    songs[track.name] = song_of(settings, track)
                except AudioError:
                    info.unusable += 1
    else:
        info.unusable = len(catalogue.failures) if catalogue else 0
    info.songs = len(songs)
    info.seconds = sum(song.frames for song in songs.values()) / settings.sample_rate
    info.loudness = measure_loudness(songs, settings.sample_rate, _known_loudness(catalogue))
    info.bytes_free = free_space(settings.output_music_dir)
    if catalogue and plan:
        _look_at_plan(info, catalogue, plan)
    return info


def _look_at_plan(info: SplitInfo, catalogue: AtMicCatalogue, plan: Plan) -> None:
    info.scenes = len(read_scenes(catalogue.settings.scene_file))
    info.samples = len(catalogue.samples)
    info.rendered = len(catalogue.complete_samples())
    info.missing = info.samples - info.rendered
    info.bytes_to_come = plan.bytes
    whole = catalogue.batches()
    info.bytes_now = sum(_size(output.file) for batch in whole for output in batch.outputs)
    if whole:
        info.speed = measure_speed(whole)
        info.generate_seconds = estimate(plan.batches, info.speed, info.n_jobs)
        info.whole_seconds = estimate(whole, info.speed, info.n_jobs)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _known_loudness(catalogue: AtMicCatalogue | None) -> dict[str, float]:
    """The mixtures' loudness in the manifest, by song."""
    known: dict[str, float] = {}
    if catalogue is None:
        return known
    for sample in catalogue.samples:
        record = catalogue.records.get(key_of(AtMic.product, f"{sample.path}/{MIXTURE}.wav"))
        song = catalogue.songs.get(sample.source)
        if record and song and record.frames == song.frames and "loudness_before" in record.levels:
            known[sample.source] = record.levels["loudness_before"]
    return known


def measure_loudness(
    songs: Mapping[str, Song], samplerate: int, known: Mapping[str, float]
) -> Loudness | None:
    """Measure the loudness of whole mixtures, as many as two seconds allow, not counting compilation.

    Parameters
    ----------
    songs : dict of str to Song
    samplerate : int
        In hertz.
    known : dict of str to float
        Loudness of some of them in LUFS; these are not measured again.

    Returns
    -------
    Loudness or None
        None if there are no songs. If there is no time for all, the measured ones are spread evenly.
    """
    from cadrender.dsp.loudness import integrated_loudness

    if not songs:
        return None
    found = dict(known)
    seconds = 0.0
    compiled: set[np.dtype[Any]] = set()
    for name in _spread([name for name in songs if name not in known]):
        began = time.perf_counter()
        try:
            mixture = read_stem(songs[name].files[MIXTURE], samplerate)
        except AudioError:
            continue
        if mixture.dtype not in compiled:
            compiled.add(mixture.dtype)
            integrated_loudness(mixture[:samplerate], samplerate)
            began = time.perf_counter()
        found[name] = integrated_loudness(mixture, samplerate)
        seconds += time.perf_counter() - began
        if seconds > LOUDNESS_SECONDS:
            break
    sounding = [level for level in found.values() if math.isfinite(level)]
    low, middle, high = (
        (min(sounding), statistics.median(sounding), max(sounding)) if sounding else (math.nan,) * 3
    )
    silent = len(found) - len(sounding)
    return Loudness(low, middle, high, len(known), len(found) - len(known), len(songs), silent)


def _spread(items: Sequence[str]) -> list[str]:
    """Reorder items so that the first n are spread evenly over all, for any n: by multiples of the golden ratio."""
    golden = (math.sqrt(5) - 1) / 2
    return [item for _, item in sorted((k * golden % 1, item) for k, item in enumerate(items))]


def measure_speed(batches: list[Batch]) -> Speed:
    """Render noise for a second as batches of the most common size would be rendered, into a temporary folder.

    Compilation and planning are not counted.

    Raises
    ------
    CadrenderError
        If the temporary folder cannot be used.
    """
    usual, _ = Counter(len(batch.outputs) for batch in batches).most_common(1)[0]
    like = next(batch for batch in batches if len(batch.outputs) == usual)
    signals = [output.signal for output in like.outputs if isinstance(output.signal, AtMic)]
    samplerate = signals[0].samplerate
    frames = min(signals[0].frames, _NOISE_SECONDS * samplerate)
    noise = np.random.default_rng(0).integers(-8000, 8000, (frames, 2), dtype=np.int16)
    try:
        with tempfile.TemporaryDirectory(prefix="cadrender-") as name:
            folder = Path(name)
            with AudioWriter(folder / "noise.wav", frames, samplerate, AudioFormat()) as writer:
                writer.write(noise)
                writer.finish()
                writer.commit()
            outputs = tuple(
                replace(
                    output,
                    signal=replace(signal, source=folder / "noise.wav", frames=frames),
                    folder=folder,
                    name=f"{k}.{output.container}",
                )
                for k, (output, signal) in enumerate(zip(like.outputs, signals, strict=True))
            )
            batch = replace(like, outputs=outputs, manifest=Manifest(folder / "manifest.jsonl", folder))
            _render(batch)
            rendered = 0
            began = time.perf_counter()
            while (seconds := time.perf_counter() - began) < SPEED_SECONDS:
                for output in outputs:
                    output.file.unlink()
                _render(batch)
                rendered += batch.frame_scenes
    except OSError as error:
        raise CadrenderError(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror or error}"
        ) from error
    return Speed(1e9 * seconds / rendered, usual, heads_of(signals).taps, seconds)


def _render(batch: Batch) -> None:
    report = run_batch(batch)
    if report.error:
        raise CadrenderError(report.error)


def estimate(batches: list[Batch], speed: Speed, n_jobs: int) -> float:
    """Seconds that batches would take if all processes were as fast as one alone.

    A batch is not divided, so it takes at least as long as the longest one.
    """
    frame_scenes = [batch.frame_scenes for batch in batches]
    return 1e-9 * speed.nanoseconds * max(sum(frame_scenes) / n_jobs, max(frame_scenes, default=0))
