"""What a root holds, and what it lacks: every file is looked at, none is needed."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cadrender.config import Settings
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.jobs.plan import Song, look_at_song, source_folder
from cadrender.metadata import (
    HeadPosition,
    Listener,
    Sample,
    SceneRecord,
    Track,
    hrir_names,
    parse_hrir_name,
    read_gains,
    read_listeners,
    read_positions,
    read_samples,
    read_scene_listeners,
    read_scenes,
    read_track_lists,
    sample_name,
)
from cadrender.stems import STEMS
from cadrender.store import AudioFormat, is_complete, read_header, read_hrir
from cadrender.store.manifest import Entry, manifest_file, read_manifest

_CONTAINERS = ("wav", "flac")
_LOUDEST_HRIR = 1e6


@dataclass(frozen=True)
class Problem:
    """Something that is missing or cannot be used.

    Attributes
    ----------
    what : str
        One line.
    remedy : str
        The command that makes it; empty where none does.
    """

    what: str
    remedy: str = ""


@dataclass(frozen=True)
class AtMicFile:
    """An at-mic file as it is on disk.

    Attributes
    ----------
    path : pathlib.Path
    problem : str
        Why it does not count as complete; empty if it does.
    missing : bool
        Whether there is no such file.
    bytes : int
    """

    path: Path
    problem: str
    missing: bool
    bytes: int


@dataclass(frozen=True)
class Survey:
    """A root as it is.

    Attributes
    ----------
    settings : Settings
    tracks : tuple of Track
    positions : dict of HeadPosition
    gains : dict
        Gains in dB by id and stem.
    scenes : tuple of SceneRecord
    samples : dict of Sample
        By name, in order of first appearance in the scenes.
    listeners : dict of Listener
    scene_listeners : dict
        Scene id to listeners' ids.
    hrirs : dict
        File name to (taps, 2) float64, for those that can be used.
    sources : dict of Song
        Songs, or excerpts, by name (see `Sample.source`), for those whose files are in order.
    source_problems : dict of str
        What is wrong with the others.
    at_mic : dict
        Sample name to the files of its stems, for samples whose source is in order.
    manifest : dict of Entry
    problems : tuple of Problem
    """

    settings: Settings
    tracks: tuple[Track, ...] = ()
    positions: Mapping[str, HeadPosition] = field(default_factory=dict)
    gains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scenes: tuple[SceneRecord, ...] = ()
    samples: Mapping[str, Sample] = field(default_factory=dict)
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    scene_listeners: Mapping[str, list[str]] = field(default_factory=dict)
    hrirs: Mapping[str, np.ndarray] = field(default_factory=dict)
    sources: Mapping[str, Song] = field(default_factory=dict)
    source_problems: Mapping[str, str] = field(default_factory=dict)
    at_mic: Mapping[str, Mapping[str, AtMicFile]] = field(default_factory=dict)
    manifest: Mapping[str, Entry] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @functools.cached_property
    def complete(self) -> frozenset[str]:
        """Names of the samples all of whose files are complete."""
        return frozenset(
            name for name, files in self.at_mic.items() if not any(file.problem for file in files.values())
        )

    @property
    def seconds(self) -> float:
        """Length of the songs or excerpts together."""
        return sum(song.frames for song in self.sources.values()) / self.settings.sample_rate

    @property
    def bytes(self) -> int:
        """Size of the at-mic files together."""
        return sum(file.bytes for files in self.at_mic.values() for file in files.values())

    def sample_of(self, scene: SceneRecord) -> Sample | None:
        """What is rendered for a scene; None where the metadata do not fit together."""
        return self.samples.get(sample_name(scene.music, scene.position))

    def file_of(self, sample: Sample, stem: str) -> Path | None:
        """A complete at-mic file of a sample; None if there is none."""
        file = self.at_mic.get(sample.name, {}).get(stem)
        return file.path if file and not file.problem else None

    def entry_of(self, sample: Sample, stem: str) -> Entry | None:
        """What the manifest says of a complete at-mic file; None if there is nothing."""
        file = self.file_of(sample, stem)
        return self.manifest.get(f"{sample.path}/{file.name}") if file else None


def take_survey(settings: Settings) -> Survey:
    """Look at everything in a root; what cannot be used becomes a problem of the survey.

    Raises
    ------
    UsageError
        If there is no such folder, or neither songs, HRIRs nor metadata in it.
    """
    _check_folder(settings)
    found, problems = _read_metadata(settings)
    samples = found["samples"].values()
    folders = {track.name: settings.music_dir / track.path for track in found["tracks"]}
    folders |= {sample.source: source_folder(settings, sample) for sample in samples}
    sources, source_problems = {}, {}
    for name, folder in folders.items():
        try:
            sources[name] = look_at_song(name, folder, settings.sample_rate)
        except AudioError as error:
            source_problems[name] = str(error)
    hrirs, more = _read_hrirs(settings, found["positions"].values())
    at_mic = {
        sample.name: _at_mic_files(settings, sample, sources[sample.source])
        for sample in samples
        if sample.source in sources
    }
    manifest = read_manifest(manifest_file(settings.output_music_file))
    return Survey(
        settings,
        **found,
        hrirs=hrirs,
        sources=sources,
        source_problems=source_problems,
        at_mic=at_mic,
        manifest=manifest,
        problems=(*problems, *more),
    )


def _check_folder(settings):
    if not settings.root.is_dir():
        raise UsageError(f"{settings.root}: no such folder; a root holds audio/ and metadata/")
    if not any(folder.is_dir() for folder in (settings.music_dir, settings.hrtf_dir, settings.metadata_dir)):
        raise UsageError(
            f"{settings.root}: no root: it has none of {settings.music_dir}, {settings.hrtf_dir} and "
            f"{settings.metadata_dir}"
        )


def _read_metadata(settings):
    """Every metadata file by itself; one that is missing or broken leaves its field empty."""
    problems = []

    def read(what: Callable, file: Path, empty, command=""):
        if not file.exists():
            remedy = f"cadrender {command} --root {settings.root}" if command else ""
            problems.append(Problem(f"{file}: no such file", remedy))
            return empty
        try:
            return what(file)
        except MetadataError as error:
            problems.append(Problem(str(error)))
            return empty

    draws = "scenes" if settings.split == "train" else f"excerpts --split {settings.split}"
    music = settings.music_files or (settings.music_file,)
    # A list of excerpts says itself where they come from.
    excerpts = settings.excerpts_file.exists()
    tracks = [] if excerpts else read(lambda _: read_track_lists(music), settings.music_file, [])
    positions = read(read_positions, settings.head_loudspeaker_positions_file, {}, "positions")
    found = {
        "tracks": tuple(tracks),
        "positions": positions,
        "gains": read(read_gains, settings.gains_file, {}, "gains"),
        "scenes": tuple(read(read_scenes, settings.scene_file, [], draws)),
        "listeners": read(read_listeners, settings.listeners_file, {}),
        "scene_listeners": read(
            read_scene_listeners,
            settings.scene_listeners_file,
            {},
            draws if settings.listeners_file.exists() else "",
        ),
        "samples": {},
    }
    if found["scenes"] and positions:
        samples = read(
            lambda file: read_samples(
                file, music, settings.head_loudspeaker_positions_file, settings.excerpts_file
            ),
            settings.scene_file,
            [],
        )
        found["samples"] = {sample.name: sample for sample in samples}
    # A broken music list is told once, not again by everything that needs it.
    return found, list(dict.fromkeys(problems))


def _read_hrirs(settings, positions):
    """The HRIRs that the positions name, or all in the folder where there are no positions."""
    names = {file.name for position in positions for file in position.hrir_files(settings.hrtf_dir)}
    if not names:
        try:
            names = {name for name in hrir_names(settings.hrtf_dir) if parse_hrir_name(name)}
        except MetadataError as error:
            return {}, [Problem(str(error))]
    hrirs, problems = {}, []
    for name in sorted(names):
        try:
            hrir = read_hrir(settings.hrtf_dir / name, settings.sample_rate)
        except AudioError as error:
            problems.append(Problem(str(error)))
            continue
        if (peak := np.abs(hrir).max()) > _LOUDEST_HRIR:
            problems.append(Problem(f"{settings.hrtf_dir / name}: a peak of {peak:.3g} is not an HRIR's"))
        else:
            hrirs[name] = hrir
    return hrirs, problems


def _at_mic_files(settings, sample, song):
    folder = settings.output_music_dir / sample.path
    return {
        stem: _look(folder, stem, song.frames, settings.sample_rate) for stem in STEMS if stem in song.files
    }


def _look(folder, stem, frames, samplerate):
    for container in _CONTAINERS:
        file = folder / f"{stem}.{container}"
        if file.is_file():
            return AtMicFile(file, _problem_of(file, frames, samplerate), False, file.stat().st_size)
    return AtMicFile(folder / f"{stem}.{_CONTAINERS[0]}", "no such file", True, 0)


def _problem_of(file, frames, samplerate):
    if is_complete(file, frames, samplerate, AudioFormat()):
        return ""
    try:
        header = read_header(file)
    except AudioError as error:
        return str(error).removeprefix(f"{file}: ")
    if (header.channels, header.samplerate) != (2, samplerate):
        return f"{header.channels} channel(s) at {header.samplerate} Hz; 2 at {samplerate} Hz are needed"
    return "" if header.frames == frames else f"{header.frames} frames; {frames} are needed"
