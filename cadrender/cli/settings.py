"""The options that the commands share, and how they become settings."""

from pathlib import Path

import click

from cadrender.config import SPLITS, Settings, load_settings


def settings_options(*, split: bool = False, music: bool = False):
    """Add ``--root``, ``--config`` and the ``KEY=VALUE`` arguments to a command; on request, more.

    The command receives ``root``, ``config`` and ``overrides``, and passes them on to `settings_from`.

    Parameters
    ----------
    split : bool
        Also add ``--split`` (``split``).
    music : bool
        Also add ``--music-file``, which can be repeated (``music_file``).
    """
    options = [
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
        click.option("--root", type=click.Path(path_type=Path), help="The folder with audio/ and metadata/."),
        click.option("--config", type=click.Path(path_type=Path), help="A YAML file with settings."),
    ]
    if split:
        options.append(
            click.option("--split", type=click.Choice(SPLITS), help="Whose files; train if not said.")
        )
    if music:
        option = click.option(
            "--music-file",
            multiple=True,
            type=click.Path(path_type=Path),
            help="A music list; repeat it for several, which are taken in this order.",
        )
        options.append(option)

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def settings_from(overrides: tuple[str, ...], root: Path | None, config: Path | None, **options) -> Settings:
    """Make the settings of what a command was given; `options` as in `cadrender.config.load_settings`."""
    return load_settings(overrides, config=config, root=root, **options)
