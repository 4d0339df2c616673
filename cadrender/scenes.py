"""A root's scenes and who listens to them: drawn, and written without harm to what was rendered for others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import read_listeners
from cadrender.metadata.music import read_track_lists
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


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes
    ----------
    scenes : int
        Scenes in the scenes file.
    songs : int
        Their songs.
    written, unchanged : tuple of pathlib.Path
        The files that were written, and those that held the same already.
    backups : dict of pathlib.Path to pathlib.Path
        Where the former files are kept.
    orphans : int
        Rendered samples that belonged to a scene before and belong to none now.
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
        The text that seeds who listens.
    scenes : bool
        Whether scenes are drawn; otherwise those in the scenes file get listeners.
    listeners : bool
        Whether scene-listeners are drawn.
    force : bool
        Replace scenes that this function did not draw.
    keep : bool
        Keep files that change as numbered backups.

    Returns
    -------
    Drawn

    Raises
    ------
    MetadataError
        If a file is missing or breaks its contract.
    UsageError
        If more scenes are wanted than can be drawn, or the present ones were not drawn here and `force` is not
        given.
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
    """See that `draw` would not refuse to replace the present scenes; to be called before long work.

    Raises
    ------
    UsageError
        As `draw`.
    """
    tracks = read_track_lists(file for file in settings.music_files if file.exists())
    records = _new_scenes(settings, tracks) if tracks else []
    _refuse_others(settings, records)


def _new_scenes(settings, tracks) -> list[SceneRecord]:
    return generate_scenes(
        tracks,
        list(read_gains(settings.gains_file)),
        list(read_positions(settings.head_loudspeaker_positions_file)),
        settings.number_scenes_per_song,
    )


def _new_listeners(settings, records, seed) -> str:
    if not settings.listeners_file.exists():
        raise MetadataError(
            f"{settings.listeners_file}: cannot read the file: no such file; it says who may listen "
            "(--without-listeners to draw scenes only)"
        )
    scene_listeners = generate_scene_listeners(
        [record.id for record in records],
        list(read_listeners(settings.listeners_file)),
        settings.number_listeners_per_scene,
        seed,
    )
    return scene_listeners_json(scene_listeners)


def _refuse_others(settings: Settings, new: Sequence[SceneRecord]) -> None:
    """Refuse to replace scenes that were not drawn here: nothing could draw them again."""
    if not settings.scene_file.exists():
        return
    try:
        present = read_scenes(settings.scene_file)
    except MetadataError:
        present = None
    gains = list(read_gains(settings.gains_file))
    positions = list(read_positions(settings.head_loudspeaker_positions_file))
    if present is not None and is_own_draw(present, gains, positions):
        return
    count = len(_orphans(settings, new))
    rendered = f"{count} rendered sample{'' if count == 1 else 's'}"
    belong = "belongs" if count == 1 else "belong"
    raise UsageError(
        f"{settings.scene_file}: not drawn by cadrender from the present gains and positions: if it is replaced, "
        f"{rendered} in {settings.output_music_dir} {belong} to no scene (cadrender scenes --force replaces it)"
    )


def _orphans(settings: Settings, new: Iterable[SceneRecord]) -> set[str]:
    """Rendered samples of the present scenes, or of any if these cannot be read, that `new` does not name."""
    try:
        present = {sample_name(scene.music, scene.position) for scene in read_scenes(settings.scene_file)}
    except MetadataError:
        present = None
    files = settings.output_music_dir.glob("*/*/[!.]*.*")
    rendered = {file.parent.name for file in files if file.suffix in (".wav", ".flac")}
    wanted = {sample_name(scene.music, scene.position) for scene in new}
    return (rendered if present is None else rendered & present) - wanted
