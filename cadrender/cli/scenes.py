"""``cadrender scenes``: draw scenes, and who listens to them."""

import click

from cadrender.cli.settings import ONE_SPLIT, Given, listeners_per_scene_option, settings_options
from cadrender.config import Settings
from cadrender.errors import UsageError
from cadrender.wording import plural


@click.command()
@settings_options(split=ONE_SPLIT, music=True)
@click.option(
    "--scenes-per-song", "number_scenes_per_song", type=int, help="Scenes for each song; default: 4."
)
@listeners_per_scene_option
@click.option(
    "--seed-listeners",
    default="icassp2024",
    show_default=True,
    help="The text that seeds the draw of listeners.",
)
@click.option(
    "--without-listeners", is_flag=True, help="Draw scenes only, for a root that has no listeners file."
)
@click.option(
    "--listeners-only", is_flag=True, help="Draw listeners for the existing scenes, however they were made."
)
@click.option("--force", is_flag=True, help="Replace scenes that were not drawn by this command.")
@click.option("--no-backup", is_flag=True, help="Keep no numbered backup of files that change.")
def command(
    given: Given,
    number_scenes_per_song: int | None,
    number_listeners_per_scene: int | None,
    seed_listeners: str,
    without_listeners: bool,
    listeners_only: bool,
    force: bool,
    no_backup: bool,
) -> None:
    """Draw scenes and write the scenes and scene-listeners files.

    The draws are the challenge's own: the same names and numbers give its files to the byte, and more scenes
    per song leave the first ones of each song unchanged. The songs are those of musdb18.train.json, followed by
    those of all ingested corpora; --music-file names other lists instead.

    Files that change are kept as numbered backups. Scenes that this command could not draw again, such as edited
    ones, are replaced only with --force.
    """
    if without_listeners and listeners_only:
        raise UsageError("--without-listeners and --listeners-only leave nothing to draw: use one of them")
    draw_scenes(
        given.settings(
            number_scenes_per_song=number_scenes_per_song,
            number_listeners_per_scene=number_listeners_per_scene,
        ),
        seed_listeners=seed_listeners,
        scenes=not listeners_only,
        listeners=not without_listeners,
        force=force,
        keep=not no_backup,
    )


def draw_scenes(
    settings: Settings,
    *,
    seed_listeners: str = "icassp2024",
    scenes: bool = True,
    listeners: bool = True,
    force: bool = False,
    keep: bool = True,
) -> None:
    """Draw as `cadrender.scenes.draw` does, and print what was drawn."""
    from cadrender.scenes import draw

    drawn = draw(
        settings, seed_listeners=seed_listeners, scenes=scenes, listeners=listeners, force=force, keep=keep
    )
    count = f"{plural(drawn.scenes, 'scene')} of {plural(drawn.songs, 'song')}"
    if scenes:
        lists = ", ".join(file.name for file in settings.music_files)
        click.echo(f"{count} ({lists}), {settings.number_scenes_per_song} each")
    else:
        click.echo(f"{count} in {settings.scene_file}")
    if drawn.orphans:
        click.echo(
            f"{settings.output_music_dir}: {plural(drawn.orphans, 'rendered sample')} no longer in any scene"
        )
    if not listeners and settings.scene_listeners_file.exists():
        click.echo(f"{settings.scene_listeners_file}: unchanged; it may not fit these scenes")
    for file in (settings.scene_file, settings.scene_listeners_file):
        if file in drawn.written:
            kept = f"; the former file is kept as {drawn.backups[file].name}" if file in drawn.backups else ""
            click.echo(f"{file}: written{kept}")
        elif file in drawn.unchanged:
            click.echo(f"{file}: unchanged")
