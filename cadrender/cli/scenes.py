"""``cadrender scenes``: draw scenes, and who listens to them."""

import click

from cadrender.cli.settings import settings_from, settings_options
from cadrender.config import Settings
from cadrender.errors import MetadataError


@click.command()
@settings_options(music=True)
@click.option(
    "--scenes-per-song", "number_scenes_per_song", type=int, help="Scenes for each song; 4 if not said."
)
@click.option(
    "--listeners-per-scene",
    "number_listeners_per_scene",
    type=int,
    help="Listeners per scene; 2 if not said.",
)
@click.option(
    "--seed-listeners", default="icassp2024", show_default=True, help="The text that seeds who listens."
)
@click.option(
    "--without-listeners", is_flag=True, help="Draw scenes only, for a root that has no listeners file."
)
@click.option("--force", is_flag=True, help="Keep no numbered backup of files that change.")
def command(seed_listeners, without_listeners, force, **options):
    """Draw scenes and write the scenes and scene-listeners files.

    The draws are the challenge's own: the same names and numbers give its files to the byte, and more scenes
    per song leave the first ones of each song as they are. The songs are those of musdb18.train.json, and after
    them those of all ingested corpora; --music-file names other lists instead. Files that change are kept as
    numbered backups.
    """
    draw_scenes(settings_from(**options), seed_listeners, without_listeners=without_listeners, keep=not force)


def draw_scenes(
    settings: Settings, seed_listeners: str = "icassp2024", *, without_listeners=False, keep=True
) -> None:
    """Draw scenes, write them, and say so.

    Parameters
    ----------
    settings : Settings
    seed_listeners : str
        The text that seeds who listens.
    without_listeners : bool
        Draw no listeners.
    keep : bool
        Keep files that change as numbered backups.

    Raises
    ------
    MetadataError
        If a file is missing or breaks its contract, or more scenes are asked for than can be drawn.
    """
    from cadrender import metadata

    tracks = metadata.read_track_lists(settings.music_files)
    scenes = metadata.generate_scenes(
        tracks,
        list(metadata.read_gains(settings.gains_file)),
        list(metadata.read_positions(settings.head_loudspeaker_positions_file)),
        settings.number_scenes_per_song,
    )
    texts = {settings.scene_file: metadata.scenes_json(scenes)}
    if not without_listeners:
        if not settings.listeners_file.exists():
            raise MetadataError(
                f"{settings.listeners_file}: cannot read the file: no such file; it says who may listen "
                "(--without-listeners to draw scenes only)"
            )
        scene_listeners = metadata.generate_scene_listeners(
            [scene.id for scene in scenes],
            list(metadata.read_listeners(settings.listeners_file)),
            settings.number_listeners_per_scene,
            seed_listeners,
        )
        texts[settings.scene_listeners_file] = metadata.scene_listeners_json(scene_listeners)
    changed = {file: text for file, text in texts.items() if not metadata.holds(file, text)}
    backups = metadata.write_all(changed, keep=keep)

    lists = ", ".join(file.name for file in settings.music_files)
    click.echo(
        f"{len(scenes)} scenes of {len(tracks)} songs ({lists}), {settings.number_scenes_per_song} each"
    )
    if without_listeners and settings.scene_listeners_file.exists():
        click.echo(f"{settings.scene_listeners_file}: left as it is: it may not fit these scenes")
    for file in texts:
        news = "written" if file in changed else "unchanged"
        kept = f"; the former file is kept as {backups[file].name}" if file in backups else ""
        click.echo(f"{file}: {news}{kept}")
