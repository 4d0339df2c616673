"""Samples: a song at a head position, before any gains; their list is ``at_mic_music.<split>.json``."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError
from cadrender.metadata.contract import (
    check_name,
    check_object,
    check_path,
    check_text,
    collecting,
    field,
    near,
    read_entries,
    shown,
)
from cadrender.metadata.music import Track
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.scenes import SceneRecord


@dataclass(frozen=True)
class Sample:
    """What is rendered: a track at a position.

    Attributes
    ----------
    name : str
        ``<music>-<position>``.
    split : str
        The track's split.
    path : str
        The sample's folder under the output folder, ``<Split>/<sample>``.
    track : Track
    position : HeadPosition
    start, frames : int
        The excerpt of the track that is rendered; the whole track if `frames` is 0.
    """

    name: str
    split: str
    path: str
    track: Track
    position: HeadPosition
    start: int = 0
    frames: int = 0

    @property
    def source(self) -> str:
        """Name of what is rendered: the track, or the excerpt, which has its sample's name."""
        return self.name if self.frames else self.track.name


@dataclass(frozen=True)
class AtMicTrack:
    """An entry of an at-mic music list.

    Attributes
    ----------
    name, split, path : str
        Of the sample; `path` is its folder under the at-mic music's folder.
    original_track, position : str
        The track's name and the position's id; empty if the list lacks them.
    """

    name: str
    split: str
    path: str
    original_track: str
    position: str


def sample_name(music: str, position: str) -> str:
    """Name the sample of a track at a position: ``A Classic Education - NightOwl-hlp_0056``."""
    return f"{music}-{position}"


def samples_of(
    scenes: Iterable[SceneRecord], tracks: Iterable[Track], positions: Mapping[str, HeadPosition]
) -> list[Sample]:
    """List the samples that `scenes` name, each once, in the order in which they first appear.

    Raises
    ------
    MetadataError
        If a scene names an unknown track or position, or if two samples would share one name.
    """
    by_name = {track.name: track for track in tracks}
    samples: dict[str, Sample] = {}
    for scene in scenes:
        what = f"scene {shown(scene.id)}"
        if scene.music not in by_name:
            known = near(scene.music, by_name)
            raise MetadataError(f"{what}: the track {shown(scene.music)} is not in the music list{known}")
        if scene.position not in positions:
            known = near(scene.position, positions)
            raise MetadataError(f"{what}: unknown head_loudspeaker_positions {shown(scene.position)}{known}")
        track, position = by_name[scene.music], positions[scene.position]
        name = sample_name(track.name, position.id)
        if name not in samples:
            check_name(name, what, "sample name")
            samples[name] = Sample(name, track.split, f"{track.split}/{name}", track, position)
        elif (samples[name].track, samples[name].position) != (track, position):
            other = f"{shown(samples[name].track.name)} at {shown(samples[name].position.id)}"
            raise MetadataError(f"{what}: its sample has the same name as that of {other}: {shown(name)}")
    return list(samples.values())


def at_mic_json(samples: Iterable[Sample]) -> str:
    """Write the list of at-mic samples as JSON text, byte for byte as the reference does."""
    entries = {
        sample.name: {
            "Track Name": sample.name,
            "Split": sample.split,
            "Path": sample.path,
            "Original Track Name": sample.track.name,
            "Head Position": sample.position.id,
        }
        for sample in samples
    }
    return json.dumps(entries, indent=4)


def read_at_mic(file: Path, problems: list[str] | None = None) -> dict[str, AtMicTrack]:
    """Read a list of at-mic samples by name, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    entries = {}
    for name, item in read_entries(file, "sample", problems).items():
        with collecting(problems):
            entries[name] = _at_mic_track(name, item, file)
    return entries


def _at_mic_track(name: str, item: object, file: Path) -> AtMicTrack:
    what = f"sample {shown(name)}"
    item = check_object(item, file, what)
    if (own_name := check_text(item.get("Track Name", name), file, f"{what}: Track Name")) != name:
        raise MetadataError(f"{file}: {what}: its Track Name is {shown(own_name)}, not the sample's")
    split = check_name(field(item, "Split", file, what), file, f"{what}: Split")
    return AtMicTrack(
        name=name,
        split=split,
        path=check_path(item.get("Path", f"{split}/{name}"), file, f"{what}: Path"),
        original_track=_name_or_nothing(item, "Original Track Name", file, what),
        position=_name_or_nothing(item, "Head Position", file, what),
    )


def _name_or_nothing(item: dict[str, object], key: str, file: Path, what: str) -> str:
    return check_name(item[key], file, f"{what}: {key}") if key in item else ""
