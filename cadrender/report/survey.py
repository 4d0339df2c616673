"""What a root holds and lacks; every file is looked at, none is needed."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cadrender.catalogue.songs import Song, song_of
from cadrender.config import Settings
from cadrender.dsp.arrays import Floats, Samples
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.metadata.excerpts import Excerpt, excerpt_samples, read_excerpts
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import Listener, read_listeners
from cadrender.metadata.music import Track, read_track_lists
from cadrender.metadata.positions import HeadPosition, hrir_names, parse_hrir_name, read_positions
from cadrender.metadata.samples import Sample, sample_name, samples_of
from cadrender.metadata.scenes import SceneRecord, read_scene_listeners, read_scenes
from cadrender.signals.at_mic import AtMic
from cadrender.stems import STEMS
from cadrender.store import read_header, read_hrir, read_stem
from cadrender.store.manifest import Manifest, Record, key_of
from cadrender.wording import plural

_CONTAINERS = ("wav", "flac")
_LOUDEST_HRIR = 1e6


@dataclass(frozen=True)
class Shortcoming:
    """Something that is missing or cannot be used.

    Attributes
    ----------
    what : str
        One line.
    remedy : str
        The command that makes it; empty if there is none.
    """

    what: str
    remedy: str = ""


@dataclass(frozen=True)
class AtMicFile:
    """An at-mic file on disk.

    Attributes
    ----------
    path : pathlib.Path
    problem : str
        Why it is not complete; empty if it is.
    missing : bool
        Whether it does not exist.
    bytes : int
    """

    path: Path
    problem: str
    missing: bool
    bytes: int


@dataclass(frozen=True)
class Survey:
    """What a root holds; metadata files that are missing or broken leave their fields empty.

    Attributes
    ----------
    gains : mapping
        Gains in dB by id and stem.
    samples : mapping
        By name, in order of first appearance in the scenes.
    scene_listeners : mapping
        Scene id to listeners' ids.
    hrirs : mapping
        File name to (taps, 2) float64, for the usable ones.
    sources, source_problems : mapping
        Usable songs or excerpts by name (see `Sample.source`), and the problems of the others.
    at_mic : mapping
        Sample name to the files of its stems; without a song, those on disk and in the manifest.
    """

    settings: Settings
    tracks: tuple[Track, ...] = ()
    positions: Mapping[str, HeadPosition] = field(default_factory=dict)
    gains: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    scenes: tuple[SceneRecord, ...] = ()
    samples: Mapping[str, Sample] = field(default_factory=dict)
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    scene_listeners: Mapping[str, list[str]] = field(default_factory=dict)
    hrirs: Mapping[str, Floats] = field(default_factory=dict)
    sources: Mapping[str, Song] = field(default_factory=dict)
    source_problems: Mapping[str, str] = field(default_factory=dict)
    at_mic: Mapping[str, Mapping[str, AtMicFile]] = field(default_factory=dict)
    manifest: Mapping[tuple[str, str], Record] = field(default_factory=dict)
    problems: tuple[Shortcoming, ...] = ()

    @functools.cached_property
    def complete(self) -> frozenset[str]:
        """Names of the complete samples."""
        return frozenset(
            name for name, files in self.at_mic.items() if not any(file.problem for file in files.values())
        )

    @property
    def seconds(self) -> float:
        """Total length of the songs or excerpts."""
        return sum(song.frames for song in self.sources.values()) / self.settings.sample_rate

    @property
    def bytes(self) -> int:
        """Total size of the at-mic files."""
        return sum(file.bytes for files in self.at_mic.values() for file in files.values())

    def sample_of(self, scene: SceneRecord) -> Sample | None:
        """A scene's sample; None if the metadata do not fit together."""
        return self.samples.get(sample_name(scene.music, scene.position))

    def file_of(self, sample: Sample, stem: str) -> Path | None:
        """A complete at-mic file of a sample; None if there is none."""
        file = self.at_mic.get(sample.name, {}).get(stem)
        return file.path if file and not file.problem else None

    def entry_of(self, sample: Sample, stem: str) -> Record | None:
        """The manifest's entry for a complete at-mic file; None if there is none."""
        file = self.file_of(sample, stem)
        return self.manifest.get(key_of(AtMic.product, f"{sample.path}/{file.name}")) if file else None

    def read_source(self, sample: Sample, stem: str) -> Samples:
        """Read a stem of a sample's song or excerpt: (frames, 2), see `cadrender.store.read_stem`."""
        return read_stem(self.sources[sample.source].files[stem], self.settings.sample_rate)

    def read_at_mic(self, sample: Sample, stem: str) -> Samples | None:
        """Read an at-mic file, as `read_source`; None if there is no complete one."""
        file = self.file_of(sample, stem)
        return read_stem(file, self.settings.sample_rate) if file else None


def take_survey(settings: Settings) -> Survey:
    """Look at everything in a root; what cannot be used becomes a problem of the survey.

    Raises
    ------
    UsageError
        If there is no such folder, or it has neither songs, HRIRs nor metadata.
    """
    if not settings.root.is_dir():
        raise UsageError(f"{settings.root}: no such folder; a root holds audio/ and metadata/")
    folders = (settings.music_dir, settings.hrtf_dir, settings.metadata_dir)
    if not any(folder.is_dir() for folder in folders):
        raise UsageError(
            f"{settings.root}: not a root: it has none of {folders[0]}, {folders[1]} and {folders[2]}"
        )
    found, problems = _read_metadata(settings)
    samples = found["samples"].values()
    songs: dict[str, Track | Sample] = {track.name: track for track in found["tracks"]}
    songs |= {sample.source: sample for sample in samples}
    sources, source_problems = {}, {}
    for name, song in songs.items():
        try:
            sources[name] = song_of(settings, song)
        except AudioError as error:
            there = settings.music_dir.is_dir()
            source_problems[name] = str(error) if there else f"{settings.music_dir}: no such folder"
    hrirs, more = _read_hrirs(settings, found["positions"].values())
    manifest = Manifest.beside(settings.output_music_file, settings.root).read()
    at_mic = {
        sample.name: files
        for sample in samples
        if (files := _at_mic_files(settings, sample, sources.get(sample.source), manifest))
    }
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


def _read_metadata(settings: Settings) -> tuple[dict[str, Any], list[Shortcoming]]:
    """The fields of a survey that come from metadata files, and problems."""
    problems: list[Shortcoming] = []

    def read(what: Callable[[Path], Any], file: Path, empty: Any, command: str = "") -> Any:
        if not file.exists():
            remedy = f"cadrender {command} --root {settings.root}" if command else ""
            problems.append(Shortcoming(f"{file}: no such file", remedy))
            return empty
        try:
            return what(file)
        except MetadataError as error:
            problems.append(Shortcoming(str(error)))
            return empty

    draws = "scenes" if settings.split == "train" else f"excerpts --split {settings.split}"
    draws_listeners = draws if settings.listeners_file.exists() else ""
    tracks: list[Track] | None = None
    excerpts: list[Excerpt] | None = None
    if settings.excerpts_file.exists():  # it names its songs itself
        excerpts = read(read_excerpts, settings.excerpts_file, None)
    else:
        lists = settings.music_files or (settings.music_file,)
        absent = [file for file in lists if not file.exists()]
        tracks = read(lambda _: read_track_lists(lists), (*absent, *lists)[0], None)
    found: dict[str, Any] = {
        "tracks": tuple(tracks or ()),
        "positions": read(read_positions, settings.head_loudspeaker_positions_file, {}, "positions"),
        "gains": read(read_gains, settings.gains_file, {}, "gains"),
        "scenes": tuple(read(read_scenes, settings.scene_file, [], draws)),
        "listeners": read(read_listeners, settings.listeners_file, {}),
        "scene_listeners": read(read_scene_listeners, settings.scene_listeners_file, {}, draws_listeners),
        "samples": {},
    }
    scenes, positions = found["scenes"], found["positions"]
    try:
        if positions and excerpts is not None:
            found["samples"] = {one.name: one for one in excerpt_samples(scenes, excerpts, positions)}
        elif positions and tracks is not None:
            found["samples"] = {one.name: one for one in samples_of(scenes, tracks, positions)}
    except MetadataError as error:
        problems.append(Shortcoming(str(error)))
    return found, problems


def _read_hrirs(
    settings: Settings, positions: Iterable[HeadPosition]
) -> tuple[dict[str, Floats], list[Shortcoming]]:
    """The HRIRs of the positions, or all in the folder if there are no positions."""
    names = {file.name for position in positions for file in position.hrir_files(settings.hrtf_dir)}
    if not names:
        try:
            names = {name for name in hrir_names(settings.hrtf_dir) if parse_hrir_name(name)}
        except MetadataError as error:
            return {}, [Shortcoming(str(error))]
    hrirs: dict[str, Floats] = {}
    problems: list[Shortcoming] = []
    for name in sorted(names):
        try:
            hrir = read_hrir(settings.hrtf_dir / name, settings.sample_rate)
        except AudioError as error:
            problems.append(Shortcoming(str(error)))
            continue
        if (peak := np.abs(hrir).max()) > _LOUDEST_HRIR:
            problems.append(
                Shortcoming(f"{settings.hrtf_dir / name}: its peak of {peak:.3g} is too large for an HRIR")
            )
        else:
            hrirs[name] = hrir
    return hrirs, problems


def _at_mic_files(
    settings: Settings, sample: Sample, song: Song | None, manifest: Mapping[tuple[str, str], Record]
) -> dict[str, AtMicFile]:
    """A sample's files by stem; without its song, those on disk and in the manifest."""
    folder = settings.output_music_dir / sample.path
    found: dict[str, AtMicFile] = {}
    for stem in song.files if song else STEMS:
        places = [folder / f"{stem}.{container}" for container in _CONTAINERS]
        file = next((place for place in places if place.is_file()), None)
        entry = manifest.get(key_of(AtMic.product, f"{sample.path}/{stem}.wav"))
        if file:
            frames = song.frames if song else entry.frames if entry else None
            problem = _problem_of(file, frames, settings.sample_rate)
            found[stem] = AtMicFile(file, problem, False, file.stat().st_size)
        elif song or entry:
            found[stem] = AtMicFile(places[0], "no such file", True, 0)
    return found


def _problem_of(file: Path, frames: int | None, samplerate: int) -> str:
    """What is wrong with a file that should have so many frames (None: any number); empty for nothing."""
    try:
        header = read_header(file)
    except AudioError as error:
        return str(error).removeprefix(f"{file}: ")
    if (header.channels, header.samplerate) != (2, samplerate):
        return (
            f"{plural(header.channels, 'channel')} at {header.samplerate} Hz; 2 at {samplerate} Hz are needed"
        )
    return "" if frames in (None, header.frames) else f"{header.frames} frames; {frames} are needed"


def render(
    signal: Samples, samplerate: int, left_hrir: Floats, right_hrir: Floats
) -> tuple[Samples, tuple[float, float, float, int]]:
    """Render a stem as ``cadrender generate`` does.

    Parameters
    ----------
    signal : ndarray
        (frames, 2), as `Survey.read_source` returns it.
    samplerate : int
        In hertz.
    left_hrir, right_hrir : ndarray
        (taps, 2): of the left and of the right loudspeaker.

    Returns
    -------
    pcm : ndarray
        (frames, 2) int16.
    levels : tuple
        Loudness before and after, gain, clipped PCM values: see `cadrender.report.levels.FileLevel`.
    """
    from cadrender.dsp.hrir import Heads
    from cadrender.dsp.render import at_mic

    levels, pieces = at_mic(signal, samplerate, Heads([(left_hrir, right_hrir)]))
    rendered = [(piece.copy(), int(clipped)) for _, piece, clipped in pieces]
    (level,) = levels  # complete after the last piece
    pcm = np.concatenate([piece for piece, _ in rendered])
    return pcm, (level.before, level.after, level.gain, sum(clipped for _, clipped in rendered))
