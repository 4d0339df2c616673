"""The metadata files: each against its contract, and whether what they refer to exists."""

from collections.abc import Callable, Collection, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cadrender.check.area import Area
from cadrender.config import Settings
from cadrender.errors import MetadataError
from cadrender.metadata.contract import check_name, near, shown
from cadrender.metadata.excerpts import Excerpt, read_excerpts
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import Listener, read_listeners
from cadrender.metadata.music import Track, read_tracks
from cadrender.metadata.positions import HeadPosition, read_positions
from cadrender.metadata.samples import AtMicTrack, read_at_mic, sample_name
from cadrender.metadata.scenes import SceneRecord, read_scene_listeners, read_scenes
from cadrender.stems import VDBO

# Plausible values: what audiometers can measure, and a little more.
LEAST_LEVEL, MOST_LEVEL = -20, 130  # dB HL
LEAST_FREQUENCY, MOST_FREQUENCY = 50, 20_000  # Hz
MOST_GAIN = 60  # dB, up or down

# Problems of an area from which on no similar names are looked for.
_HINTS = 10

_Contents = TypeVar("_Contents", bound=Sized)


@dataclass
class SplitLists:
    """The metadata of a split; None where a file is missing or cannot be read at all."""

    tracks: dict[str, Track] | None = None
    excerpts: dict[str, Excerpt] | None = None
    scenes: list[SceneRecord] | None = None
    listeners: dict[str, Listener] | None = None
    scene_listeners: dict[str, list[str]] | None = None
    at_mic: dict[str, AtMicTrack] | None = None
    areas: list[Area] = field(default_factory=list)


def split_files(settings: Settings) -> list[Path]:
    """The metadata files of a split."""
    return [
        *(settings.music_files or (settings.music_file,)),
        settings.excerpts_file,
        settings.scene_file,
        settings.listeners_file,
        settings.scene_listeners_file,
        settings.output_music_file,
    ]


def check_positions(file: Path) -> tuple[Area, dict[str, HeadPosition] | None]:
    """Check the head positions."""
    area = Area("positions", "positions")
    positions = _read(area, read_positions, file, "cadrender positions")
    seen: dict[tuple[str, str], str] = {}
    for position in (positions or {}).values():
        what = f"{file}: position {shown(position.id)}"
        if not -180 <= position.left_angle <= 0:
            area.problems.append(f"{what}: left_angle {position.left_angle} is not from -180 to 0")
        if not 0 <= position.right_angle <= 180:
            area.problems.append(f"{what}: right_angle {position.right_angle} is not from 0 to 180")
        first = seen.setdefault((position.left_hrir, position.right_hrir), position.id)
        if first != position.id:
            area.problems.append(f"{what} is the same as {shown(first)}")
    return area, positions


def check_gains(file: Path) -> tuple[Area, dict[str, dict[str, float]] | None]:
    """Check the gains: one plausible value for each stem, and no others."""
    area = Area("gains", "gains")
    gains = _read(area, read_gains, file, "cadrender gains")
    for name, gain in (gains or {}).items():
        what = f"{file}: gain {shown(name)}"
        area.problems += [f"{what} has no {stem}" for stem in VDBO if stem not in gain]
        for stem, value in gain.items():
            if stem not in VDBO:
                area.problems.append(f"{what}: unknown stem {shown(stem)}; known ones: {', '.join(VDBO)}")
            if abs(value) > MOST_GAIN:
                area.problems.append(
                    f"{what}: {shown(stem)} is {value} dB, not from -{MOST_GAIN} to {MOST_GAIN}"
                )
    return area, gains


def check_split(
    settings: Settings, positions: Collection[str] | None, gains: Collection[str] | None
) -> SplitLists:
    """Check the existing metadata files of a split.

    Parameters
    ----------
    settings : Settings
        Of the split.
    positions, gains : collection of str, optional
        The existing ids; None if unknown: then references to them are not checked.
    """
    lists = SplitLists()
    _check_music(lists, settings)
    _check_excerpts(lists, settings, positions)
    _check_scenes(lists, settings, positions, gains)
    _check_listeners(lists, settings)
    _check_scene_listeners(lists, settings)
    _check_at_mic(lists, settings, positions)
    return lists


def _read(
    area: Area, reader: Callable[[Path, list[str]], _Contents], file: Path, maker: str = ""
) -> _Contents | None:
    """Read as much of a file as possible; None if it cannot be read at all."""
    if maker and not file.exists():
        area.problems.append(f"{file}: no such file; {maker} makes one")
        return None
    try:
        content = reader(file, area.problems)
    except MetadataError as error:
        area.problems.append(str(error))
        return None
    area.checked += len(content)
    return content


def _area(lists: SplitLists, settings: Settings, name: str, unit: str) -> Area:
    area = Area(f"{settings.split}: {name}", unit)
    lists.areas.append(area)
    return area


def _check_music(lists: SplitLists, settings: Settings) -> None:
    files = [file for file in settings.music_files or (settings.music_file,) if file.exists()]
    if not files:
        return
    area = _area(lists, settings, "music", "tracks")
    home: dict[str, Path] = {}
    for file in files:
        for track in _read(area, read_tracks, file) or ():
            if track.name in home:
                area.problems.append(f"{file}: the track {shown(track.name)} is also in {home[track.name]}")
                continue
            home[track.name] = file
            lists.tracks = (lists.tracks or {}) | {track.name: track}


def _check_excerpts(lists: SplitLists, settings: Settings, positions: Collection[str] | None) -> None:
    file = settings.excerpts_file
    if not file.exists():
        return
    area = _area(lists, settings, "excerpts", "excerpts")
    excerpts = _read(area, read_excerpts, file)
    if excerpts is None:
        return
    lists.excerpts = {excerpt.name: excerpt for excerpt in excerpts}
    for excerpt in excerpts:
        what = f"{file}: excerpt {shown(excerpt.name)}"
        if excerpt.split != settings.split:
            area.problems.append(f"{what}: its Split is {shown(excerpt.split)}, not {settings.split!r}")
        _check_known(area, what, "head position", excerpt.position, positions)


def _check_scenes(
    lists: SplitLists,
    settings: Settings,
    positions: Collection[str] | None,
    gains: Collection[str] | None,
) -> None:
    file = settings.scene_file
    if not file.exists():
        return
    area = _area(lists, settings, "scenes", "scenes")
    lists.scenes = _read(area, read_scenes, file)
    sources = lists.excerpts if lists.excerpts is not None else lists.tracks
    if sources is None and not (settings.excerpts_file.exists() or settings.music_file.exists()):
        area.problems.append(
            f"{file}: there is no {settings.music_file} that lists its songs (--music-file names another list)"
        )
    samples: dict[str, SceneRecord] = {}
    for scene in lists.scenes or ():
        what = f"{file}: scene {shown(scene.id)}"
        name = sample_name(scene.music, scene.position)
        if lists.excerpts is not None:
            _check_known(area, what, "excerpt", name, lists.excerpts)
        else:
            _check_known(area, what, "track", scene.music, lists.tracks)
        _check_known(area, what, "gain", scene.gain, gains)
        _check_known(area, what, "head position", scene.position, positions)
        other = samples.setdefault(name, scene)
        if (other.music, other.position) != (scene.music, scene.position):
            area.problems.append(
                f"{what}: its sample has the same name as that of {shown(other.id)}: {shown(name)}"
            )
        try:
            check_name(name, file, f"scene {shown(scene.id)}: sample name")
        except MetadataError as error:
            area.problems.append(str(error))


def _check_listeners(lists: SplitLists, settings: Settings) -> None:
    file = settings.listeners_file
    if not file.exists():
        return
    area = _area(lists, settings, "listeners", "listeners")
    lists.listeners = _read(area, read_listeners, file)
    for listener in (lists.listeners or {}).values():
        what = f"{file}: listener {shown(listener.id)}"
        for frequency in listener.cfs:
            if not LEAST_FREQUENCY <= frequency <= MOST_FREQUENCY:
                area.problems.append(
                    f"{what}: {frequency} Hz is not from {LEAST_FREQUENCY} to {MOST_FREQUENCY} Hz"
                )
        for ear, levels in (("left", listener.levels_left), ("right", listener.levels_right)):
            for frequency, level in zip(listener.cfs, levels, strict=True):
                if not LEAST_LEVEL <= level <= MOST_LEVEL:
                    area.problems.append(
                        f"{what}: {level} dB HL at {frequency} Hz, {ear} ear: "
                        f"not from {LEAST_LEVEL} to {MOST_LEVEL}"
                    )


def _check_scene_listeners(lists: SplitLists, settings: Settings) -> None:
    file = settings.scene_listeners_file
    if not file.exists():
        return
    area = _area(lists, settings, "scene-listeners", "scenes")
    lists.scene_listeners = _read(area, read_scene_listeners, file)
    for needed in (settings.scene_file, settings.listeners_file):
        if not needed.exists():
            area.problems.append(f"{file}: there is no {needed}")
    scenes = None if lists.scenes is None else {scene.id for scene in lists.scenes}
    for scene, names in (lists.scene_listeners or {}).items():
        what = f"{file}: scene {shown(scene)}"
        _check_known(area, what, "scene", scene, scenes)
        if not names:
            area.problems.append(f"{what} has no listeners")
        for name in names:
            _check_known(area, what, "listener", name, lists.listeners)
    if lists.scene_listeners is not None:
        area.problems += [
            f"{file}: scene {shown(scene)} is missing"
            for scene in sorted(scenes or ())
            if scene not in lists.scene_listeners
        ]


def _check_at_mic(lists: SplitLists, settings: Settings, positions: Collection[str] | None) -> None:
    file = settings.output_music_file
    if not file.exists():
        return
    area = _area(lists, settings, "at-mic list", "samples")
    lists.at_mic = _read(area, read_at_mic, file)
    songs: Collection[str] | None = lists.tracks
    if lists.excerpts is not None:
        songs = {excerpt.track.name for excerpt in lists.excerpts.values()}
    for sample in (lists.at_mic or {}).values():
        what = f"{file}: sample {shown(sample.name)}"
        if sample.original_track:
            _check_known(area, what, "track", sample.original_track, songs)
        if sample.position:
            _check_known(area, what, "head position", sample.position, positions)
        made_of = sample_name(sample.original_track, sample.position)
        if sample.original_track and sample.position and made_of != sample.name:
            area.problems.append(f"{what}: its song and position give the name {shown(made_of)}")


def _check_known(area: Area, what: str, kind: str, name: str, known: Collection[str] | None) -> None:
    if known is not None and name not in known:
        # Looking for similar names takes a while; after many problems they do not help.
        hint = near(name, known) if len(area.problems) < _HINTS else ""
        area.problems.append(f"{what}: unknown {kind} {shown(name)}{hint}")
