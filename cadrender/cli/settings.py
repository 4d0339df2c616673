"""The options that the commands share, and how they become settings."""

import math
from pathlib import Path

import click

from cadrender.config import SPLITS, Settings, load_settings
from cadrender.stems import STEMS


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
            help="A music list; repeat it for several, which are taken in this order. Without it: the split's own, "
            "and with train the lists of all ingested corpora.",
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


# More processes than any machine has use for.
_MOST_JOBS = 1024


def check_jobs(context, parameter, value):
    """Callback of ``--jobs``."""
    if value is not None and value != -1 and not 1 <= value <= _MOST_JOBS:
        raise click.BadParameter(f"{value} is neither -1 (all CPUs) nor a number from 1 to {_MOST_JOBS}.")
    return value


def check_number(context, parameter, value):
    """Callback of options that take a number: nan, which passes every comparison, is none."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number.")
    return value


def parsed_angles(context, parameter, value):
    """Callback of ``--angles``: see `cadrender.metadata.parse_angles`."""
    if value is None:
        return None
    from cadrender.metadata import parse_angles

    return parse_angles(value)


jobs_option = click.option(
    "-j", "--jobs", type=int, callback=check_jobs, help="Processes; all usable CPUs if not said, or -1."
)


def _split_stems(context, parameter, value):
    if value is None:
        return STEMS
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in STEMS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(STEMS)}.")
    return names


stems_option = click.option(
    "--stems",
    metavar="NAMES",
    callback=_split_stems,
    help=f"Only these, with commas between: {','.join(STEMS)}.",
)


def _check_format(context, parameter, value):
    """Called for each of the two options; the later one finds the earlier one's value."""
    if {value, context.params.get("container"), context.params.get("subtype")} >= {"flac", "FLOAT"}:
        raise click.UsageError("--format flac holds PCM_16 or PCM_24, not FLOAT.")
    return value


def format_options(command):
    """Add ``--format`` (``container``) and ``--subtype`` to a command."""
    container = click.option(
        "--format",
        "container",
        type=click.Choice(["wav", "flac"]),
        default="wav",
        show_default=True,
        callback=_check_format,
    )
    subtype = click.option(
        "--subtype",
        type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
        default="PCM_16",
        show_default=True,
        callback=_check_format,
        help="PCM_16 truncates as the challenge does; PCM_24 rounds.",
    )
    return container(subtype(command))
