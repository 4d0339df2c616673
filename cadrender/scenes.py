"""Drawing a root's scenes and scene-listeners, and writing them without orphaning rendered samples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import read_listeners
from cadrender.metadata.music import Track, read_track_lists
from cadrender.metadata.positions import read_positions
from cadrender.metadata.samples import sample_name
from cadrender.metadata.scenes import (
    SceneRecord,
    generate_scene_listeners,
    generate_scenes,
    is_own_draw,
    read_scenes,
    scene_listeners_json,
    scenes_json,
)
from cadrender.metadata.writing import holds, write_all
from cadrender.wording import plural


@dataclass(frozen=True)
class Drawn:
    """The result of a draw.

    Attributes
    ----------
    scenes, songs : int
        Scenes in the scenes file, and their songs.
    written, unchanged : tuple of pathlib.Path
        Files that were written, and those that had the same contents already.
    backups : dict of pathlib.Path to pathlib.Path
        File to its backup.
    orphans : int
        Rendered samples that are no longer in any scene.
    """

    scenes: int
    songs: int
    written: tuple[Path, ...] = ()
    unchanged: tuple[Path, ...] = ()
    backups: dict[Path, Path] = field(default_factory=dict)
    orphans: int = 0


def draw(
    settings: Settings,
    seed_listeners: str = "icassp2024",
    *,
    scenes: bool = True,
    listeners: bool = True,
    force: bool = False,
    keep: bool = True,
) -> Drawn:
    """Draw scenes and scene-listeners, and write them.

    Parameters
    ----------
    settings : Settings
    seed_listeners : str
        The text that seeds the draw of listeners.
    scenes : bool
        Whether to draw scenes; otherwise the scenes file is read.
    listeners : bool
        Whether to draw scene-listeners.
    force : bool
        Replace scenes that this function did not draw.
    keep : bool
        Keep files that change as numbered backups.

    Raises
    ------
    MetadataError
        If a file is missing or breaks its contract.
    UsageError
        If more scenes are requested than can be drawn, or the present ones were not drawn here and `force` is not set.
    """
    texts = {}
    orphans = 0
    if scenes:
        records = _new_scenes(settings, read_track_lists(settings.music_files))
        text = scenes_json(records)
        if not holds(settings.scene_file, text):
            if not force:
                _refuse_others(settings, records)
            orphans = len(_orphans(settings, records))
        texts[settings.scene_file] = text
    else:
        records = read_scenes(settings.scene_file)
    if listeners:
        texts[settings.scene_listeners_file] = _new_listeners(settings, records, seed_listeners)
    changed = {file: text for file, text in texts.items() if not holds(file, text)}
    backups = write_all(changed, keep=keep)
    return Drawn(
        scenes=len(records),
        songs=len({record.music for record in records}),
        written=tuple(changed),
        unchanged=tuple(file for file in texts if file not in changed),
        backups=backups,
        orphans=orphans,
    )


def check_replaceable(settings: Settings) -> None:
    """Raise UsageError now if `draw` would refuse to replace the present scenes."""
    tracks = read_track_lists(file for file in settings.music_files if file.exists())
    records = _new_scenes(settings, tracks) if tracks else []
    _refuse_others(settings, records)


def _new_scenes(settings: Settings, tracks: Sequence[Track]) -> list[SceneRecord]:
    return generate_scenes(
        tracks,
        list(read_gains(settings.gains_file)),
        list(read_positions(settings.head_loudspeaker_positions_file)),
        settings.number_scenes_per_song,
    )


def _new_listeners(settings: Settings, records: Sequence[SceneRecord], seed: str) -> str:
    if not settings.listeners_file.exists():
        raise MetadataError(
            f"{settings.listeners_file}: no such file; it lists the listeners to draw from "
            "(--without-listeners draws scenes only)"
        )
    scene_listeners = generate_scene_listeners(
        [record.id for record in records],
        list(read_listeners(settings.listeners_file)),
        settings.number_listeners_per_scene,
        seed,
    )
    return scene_listeners_json(scene_listeners)


def _refuse_others(settings: Settings, new: Sequence[SceneRecord]) -> None:
    """Refuse to replace scenes that were not drawn here, as they could not be drawn again."""
    if not settings.scene_file.exists():
        return
    present: list[SceneRecord] | None
    try:
        present = read_scenes(settings.scene_file)
    except MetadataError:
        present = None
    gains = list(read_gains(settings.gains_file))
    positions = list(read_positions(settings.head_loudspeaker_positions_file))
    if present is not None and is_own_draw(present, gains, positions):
        return
    count = len(_orphans(settings, new))
    raise UsageError(
        f"{settings.scene_file}: not drawn by cadrender from the present gains and positions; replacing it leaves "
        f"{plural(count, 'rendered sample')} in {settings.output_music_dir} without a scene "
        "(cadrender scenes --force replaces it)"
    )


def _orphans(settings: Settings, new: Iterable[SceneRecord]) -> set[str]:
    """Rendered samples of the present scenes, or of any if these cannot be read, that are not in `new`."""
    present: set[str] | None
    try:
        present = {sample_name(scene.music, scene.position) for scene in read_scenes(settings.scene_file)}
    except MetadataError:
        present = None
    files = settings.output_music_dir.glob("*/*/[!.]*.*")
    rendered = {file.parent.name for file in files if file.suffix in (".wav", ".flac")}
    wanted = {sample_name(scene.music, scene.position) for scene in new}
    return (rendered if present is None else rendered & present) - wanted
