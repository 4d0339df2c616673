"""Scenes: a song at a position with gains, and its listeners; section 4 of ``docs/contract.md``."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.contract import (
    check_list,
    check_name,
    check_object,
    collecting,
    field,
    read_entries,
    shown,
)
from cadrender.metadata.music import Track

if TYPE_CHECKING:
    from numpy.random import RandomState

FIRST_ID = 10001


@dataclass(frozen=True)
class SceneRecord:
    """An entry of a scenes file, by names only.

    Attributes
    ----------
    id : str
        Such as ``scene_10001``.
    music : str
        The track's name.
    gain, position : str
        Ids in the gains and the positions file.
    """

    id: str
    music: str
    gain: str
    position: str


def read_scenes(file: Path, problems: list[str] | None = None) -> list[SceneRecord]:
    """Read the scenes in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    scenes = []
    for name, item in read_entries(file, "scene", problems).items():
        what = f"scene {shown(name)}"
        with collecting(problems):
            item = check_object(item, file, what)
            scenes.append(
                SceneRecord(
                    id=name,
                    **{
                        attribute: check_name(field(item, key, file, what), file, f"{what}: {key}")
                        for attribute, key in _KEYS.items()
                    },
                )
            )
    return scenes


_KEYS = {"music": "music", "gain": "gain", "position": "head_loudspeaker_positions"}


def read_scene_listeners(file: Path, problems: list[str] | None = None) -> dict[str, list[str]]:
    """Read the listeners' ids of every scene, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract, or a scene names a listener twice.
    """
    scene_listeners = {}
    for name, item in read_entries(file, "scene", problems).items():
        what = f"scene {shown(name)}"
        with collecting(problems):
            listeners = [
                check_name(listener, file, f"{what}: listener") for listener in check_list(item, file, what)
            ]
            if len(set(listeners)) < len(listeners):
                raise MetadataError(f"{file}: {what} names a listener twice")
            scene_listeners[name] = listeners
    return scene_listeners


def generate_scenes(
    tracks: Iterable[Track], gain_ids: Sequence[str], position_ids: Sequence[str], scenes_per_song: int
) -> list[SceneRecord]:
    """Draw the scenes of songs as the challenge did; see section 4 of ``docs/contract.md``.

    A song's scenes do not depend on other songs, and its first ones stay the same when more are drawn.

    Parameters
    ----------
    tracks : iterable of Track
    gain_ids, position_ids : sequence of str
        What is drawn from, in file order.
    scenes_per_song : int

    Raises
    ------
    UsageError
        If there are fewer gains or positions than scenes per song, or no songs.
    """
    tracks = list(tracks)
    if not tracks:
        raise UsageError("no scenes to draw: the music list is empty")
    if scenes_per_song < 1:
        raise UsageError(f"{scenes_per_song} scenes per song: at least 1 is needed")
    for ids, what in ((gain_ids, "gains"), (position_ids, "positions")):
        if scenes_per_song > len(ids):
            raise UsageError(
                f"{scenes_per_song} scenes per song need as many {what}, and there are {len(ids)}: "
                f"at most {min(len(gain_ids), len(position_ids))} scenes per song"
            )
    return _draw_scenes((track.name for track in tracks), gain_ids, position_ids, scenes_per_song)


def is_own_draw(scenes: Sequence[SceneRecord], gain_ids: Sequence[str], position_ids: Sequence[str]) -> bool:
    """Whether scenes are what `generate_scenes` draws, for any songs and any number of scenes per song."""
    names = list(dict.fromkeys(scene.music for scene in scenes))
    if not names:
        return True
    scenes_per_song = len(scenes) // len(names)
    if scenes_per_song > min(len(gain_ids), len(position_ids)):
        return False
    return _draw_scenes(names, gain_ids, position_ids, scenes_per_song) == list(scenes)


def _draw_scenes(
    names: Iterable[str], gain_ids: Sequence[str], position_ids: Sequence[str], scenes_per_song: int
) -> list[SceneRecord]:
    from numpy.random import RandomState

    scenes: list[SceneRecord] = []
    for name in names:
        random = RandomState(text_seed(name))
        gains, positions = list(gain_ids), list(position_ids)
        for _ in range(scenes_per_song):
            gain = gains.pop(_draw(random, len(gains)))
            position = positions.pop(_draw(random, len(positions)))
            scenes.append(SceneRecord(f"scene_{FIRST_ID + len(scenes)}", name, gain, position))
    return scenes


def generate_scene_listeners(
    scene_ids: Iterable[str],
    listener_ids: Sequence[str],
    listeners_per_scene: int,
    seed_text: str = "icassp2024",
) -> dict[str, list[str]]:
    """Draw the listeners of each scene as the challenge did; see section 4 of ``docs/contract.md``.

    Raises
    ------
    UsageError
        If there are no listeners, or `listeners_per_scene` is less than 1.
    """
    from numpy.random import RandomState

    if not listener_ids:
        raise UsageError("no scene-listeners to draw: the listeners file is empty")
    if listeners_per_scene < 1:
        raise UsageError(f"{listeners_per_scene} listeners per scene: at least 1 is needed")
    if len(listener_ids) <= listeners_per_scene:
        return {scene: list(listener_ids) for scene in scene_ids}
    random = RandomState(text_seed(seed_text))
    return {
        scene: [listener_ids[k] for k in random.choice(len(listener_ids), listeners_per_scene, replace=False)]
        for scene in scene_ids
    }


def text_seed(text: str) -> int:
    """Turn a text into a seed as the challenge does: the MD5 of its UTF-8 bytes modulo 10**8."""
    content = text.encode(errors="surrogateescape")
    return int(hashlib.md5(content, usedforsecurity=False).hexdigest(), 16) % 10**8


def _draw(random: "RandomState", count: int) -> int:
    """Draw an index below `count`; a single element is taken without drawing."""
    return int(random.choice(count, 1, replace=False)[0]) if count > 1 else 0


def scenes_json(scenes: Iterable[SceneRecord]) -> str:
    """Write scenes as JSON text, byte for byte as the reference does."""
    entries = {
        scene.id: {"music": scene.music, "gain": scene.gain, "head_loudspeaker_positions": scene.position}
        for scene in scenes
    }
    return json.dumps(entries, indent=4)


def scene_listeners_json(scene_listeners: Mapping[str, Sequence[str]]) -> str:
    """Write scene-listeners as JSON text, byte for byte as the reference does."""
    return json.dumps(scene_listeners, indent=4)
