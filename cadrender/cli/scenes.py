"""``cadrender scenes``: draw scenes, and who listens to them."""

import click

from cadrender.cli.settings import settings_from, settings_options
from cadrender.errors import UsageError


@click.command()
@settings_options(split=True, music=True)
@click.option(
    "--scenes-per-song", "number_scenes_per_song", type=int, help="Scenes for each song (default: 4)."
)
@click.option(
    "--listeners-per-scene",
    "number_listeners_per_scene",
    type=int,
    help="Listeners for each scene (default: 2).",
)
@click.option(
    "--seed-listeners", default="icassp2024", show_default=True, help="The text that seeds who listens."
)
@click.option(
    "--without-listeners", is_flag=True, help="Draw scenes only, for a root that has no listeners file."
)
@click.option(
    "--listeners-only", is_flag=True, help="Draw listeners for the scenes there are, whoever made them."
)
@click.option("--force", is_flag=True, help="Replace scenes that were not drawn by this command.")
@click.option("--no-backup", is_flag=True, help="Keep no numbered backup of files that change.")
def command(seed_listeners, without_listeners, listeners_only, force, no_backup, **options) -> None:
    """Draw scenes and write the scenes and scene-listeners files.

    The draws are the challenge's own: the same names and numbers give its files to the byte, and more scenes
    per song leave the first ones of each song as they are. The songs are those of musdb18.train.json, and after
    them those of all ingested corpora; --music-file names other lists instead.

    Files that change are kept as numbered backups. Scenes that this command could not draw again, such as edited
    ones, are replaced with --force only.
    """
    if without_listeners and listeners_only:
        raise UsageError("--without-listeners and --listeners-only leave nothing to draw: use one of them")
    draw_scenes(
        settings_from(**options),
        seed_listeners=seed_listeners,
        scenes=not listeners_only,
        listeners=not without_listeners,
        force=force,
        keep=not no_backup,
    )


def draw_scenes(settings, **options) -> None:
    """Draw as `cadrender.scenes.draw` does, and say what came of it."""
    from cadrender.scenes import draw

    drawn = draw(settings, **options)
    songs = f"{drawn.songs} song{'' if drawn.songs == 1 else 's'}"
    if options.get("scenes", True):
        lists = ", ".join(file.name for file in settings.music_files)
        click.echo(f"{drawn.scenes} scenes of {songs} ({lists}), {settings.number_scenes_per_song} each")
    else:
        click.echo(f"{drawn.scenes} scenes of {songs} in {settings.scene_file}")
    if drawn.orphans:
        samples = (
            "1 rendered sample belongs" if drawn.orphans == 1 else f"{drawn.orphans} rendered samples belong"
        )
        click.echo(f"{settings.output_music_dir}: {samples} to no scene any more")
    if not options.get("listeners", True) and settings.scene_listeners_file.exists():
        click.echo(f"{settings.scene_listeners_file}: left as it is: it may not fit these scenes")
    for file in (settings.scene_file, settings.scene_listeners_file):
        if file in drawn.written:
            kept = f"; the former file is kept as {drawn.backups[file].name}" if file in drawn.backups else ""
            click.echo(f"{file}: written{kept}")
        elif file in drawn.unchanged:
            click.echo(f"{file}: unchanged")
