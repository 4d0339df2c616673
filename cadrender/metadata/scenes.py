"""Scenes: which song is heard from which position with which gains, and by whom."""

from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError
from cadrender.metadata.contract import check_list, check_name, check_object, field, read_entries, shown


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


def read_scenes(file: Path) -> list[SceneRecord]:
    """Read the scenes in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    scenes = []
    for name, item in read_entries(file, "scene").items():
        what = f"scene {shown(name)}"
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


def read_scene_listeners(file: Path) -> dict[str, list[str]]:
    """Read the listeners' ids of every scene, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract, or a scene names a listener twice.
    """
    scene_listeners = {}
    for name, item in read_entries(file, "scene").items():
        what = f"scene {shown(name)}"
        listeners = [
            check_name(listener, file, f"{what}: listener") for listener in check_list(item, file, what)
        ]
        if len(set(listeners)) < len(listeners):
            raise MetadataError(f"{file}: {what} names a listener twice")
        scene_listeners[name] = listeners
    return scene_listeners
