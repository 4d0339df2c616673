"""Music lists: the songs of a root (``musdb18.<split>.json`` and the like)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError
from cadrender.metadata.contract import (
    check_list,
    check_name,
    check_object,
    check_path,
    check_text,
    collecting,
    field,
    read_json,
    shown,
)


@dataclass(frozen=True)
class Track:
    """A song of a music list.

    Attributes
    ----------
    name, genre, source, license : str
        As in the list; the last three are empty if the list lacks them.
    split : str
        The folder of the at-mic music that the song's samples go to.
    path : str
        The song's folder under the music folder, such as ``train/A Classic Education - NightOwl``.
    """

    name: str
    genre: str
    source: str
    license: str
    split: str
    path: str


def read_tracks(file: Path, problems: list[str] | None = None) -> list[Track]:
    """Read a music list.

    Raises
    ------
    MetadataError
        If the file breaks its contract: wrong structure, an unsafe name or path, a duplicate track.
    """
    tracks = []
    seen = set()
    for number, item in enumerate(check_list(read_json(file, problems), file, "the music list"), 1):
        with collecting(problems):
            track = _track(item, file, f"item {number}")
            if track.name in seen:
                raise MetadataError(f"{file}: item {number}: duplicate track {shown(track.name)}")
            seen.add(track.name)
            tracks.append(track)
    return tracks


def read_track_lists(files: Iterable[Path]) -> list[Track]:
    """Read several music lists as one, in the order given.

    Raises
    ------
    MetadataError
        As `read_tracks`, and if two lists hold a track of the same name.
    """
    home: dict[str, Path] = {}
    tracks = []
    for file in files:
        for track in read_tracks(file):
            if track.name in home:
                raise MetadataError(
                    f"{file}: the track {shown(track.name)} is also in {home[track.name]} "
                    "(cadrender ingest --remove takes one of two ingested corpora out)"
                )
            home[track.name] = file
            tracks.append(track)
    return tracks


def _track(item: object, file: Path, what: str) -> Track:
    item = check_object(item, file, what)
    name = check_name(field(item, "Track Name", file, what), file, f"{what}: Track Name")
    what = f"track {shown(name)}"
    split = check_name(field(item, "Split", file, what), file, f"{what}: Split")
    return Track(
        name=name,
        genre=check_text(item.get("Genre", ""), file, f"{what}: Genre"),
        source=check_text(item.get("Source", ""), file, f"{what}: Source"),
        license=check_text(item.get("License", ""), file, f"{what}: License"),
        split=split,
        path=check_path(item.get("Path", f"{split}/{name}"), file, f"{what}: Path"),
    )


def tracks_json(tracks: Iterable[Track]) -> str:
    """Write a music list as JSON text, in the layout of the distributed ``musdb18.train.json``."""
    entries = [
        {
            "Track Name": track.name,
            "Genre": track.genre,
            "Source": track.source,
            "License": track.license,
            "Split": track.split,
            "Path": track.path,
        }
        for track in tracks
    ]
    return json.dumps(entries, indent=4)
