"""The options that the commands share, and what they become: settings, and how a run is to go."""

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import click

from cadrender.config import SPLITS, Settings, load_settings
from cadrender.stems import STEMS

_PATH = click.Path(path_type=Path)

PLACES = {
    "output_music_dir": ("--output-music-dir", "Where the at-mic music is."),
    "output_music_file": ("--output-music-file", "Where its list is."),
    "output_remix_dir": ("--output-remix-dir", "Where the targets are."),
    "output_remix_listeners_dir": ("--output-remix-listeners-dir", "Where the amplified targets are."),
    "output_remix_file": ("--output-remix-file", "Where the list of targets is."),
    "output_submission_dir": ("--output-submission-dir", "Where submissions are."),
    "excerpts_dir": ("--excerpts-dir", "Where the excerpts' own stems are."),
    "scene_file": ("--scenes-file", "The scenes."),
}
"""Options for places, by the names of `Settings`: the option, and its help."""


def settings_options(*, split: bool = False, music: bool = False, places: tuple[str, ...] = ()):
    """Add ``--root``, ``--config`` and the ``KEY=VALUE`` arguments to a command; on request, more.

    The command receives them all under their own names, and passes them on to `settings_from`.

    Parameters
    ----------
    split : bool
        Also add ``--split`` (``split``).
    music : bool
        Also add ``--music-file``, which can be repeated (``music_file``).
    places : tuple of str
        Names of :data:`PLACES` to add.
    """
    options = [
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
        click.option("--root", type=_PATH, help="The folder with audio/ and metadata/."),
        click.option("--config", type=_PATH, help="A YAML file with settings."),
    ]
    if split:
        options.append(
            click.option("--split", type=click.Choice(SPLITS), help="Whose files; default: train.")
        )
    if music:
        option = click.option(
            "--music-file",
            multiple=True,
            type=_PATH,
            help="A music list; repeat it for several, which are taken in this order. Default: the split's own, "
            "and with train the lists of all ingested corpora.",
        )
        options.append(option)
    options += [click.option(PLACES[name][0], name, type=_PATH, help=PLACES[name][1]) for name in places]

    def decorate(command):
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def settings_from(overrides: tuple[str, ...], root: Path | None, config: Path | None, **options) -> Settings:
    """Make the settings of what a command was given; `options` as in `cadrender.config.load_settings`."""
    return load_settings(overrides, config=config, root=root, **options)


def splits_from(splits: tuple[str, ...], **options) -> list[Settings]:
    """Make the settings of each of `splits`.

    Without any they are all three, or ``train`` alone where a file is named, which cannot be that of every split.
    """
    files = ("music_file", "scene_file", "output_music_file")
    named = any(options.get(file) for file in files) or any(
        text.lstrip("+").startswith(tuple(f"path.{file}=" for file in files)) and "${split}" not in text
        for text in options["overrides"]
    )
    return [settings_from(**options, split=split) for split in splits or (("train",) if named else SPLITS)]


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
    from cadrender.metadata.positions import parse_angles

    return parse_angles(value)


jobs_option = click.option(
    "-j", "--jobs", type=int, callback=check_jobs, help="Processes; default, and -1: all usable CPUs."
)


@dataclass(frozen=True)
class RunOptions:
    """How a run is to go: the options that all commands that make files share.

    Attributes
    ----------
    jobs : int or None
        Processes; None or -1 for all usable CPUs.
    shard : str or None
        ``I/N``.
    scheduler : str or None
        Address of a Dask cluster's scheduler.
    force, dry_run, quiet, verbose : bool
    log_file : pathlib.Path or None
        Where all that is said is kept, too.
    """

    jobs: int | None = None
    shard: str | None = None
    scheduler: str | None = None
    force: bool = False
    dry_run: bool = False
    quiet: bool = False
    verbose: bool = False
    log_file: Path | None = None

    @property
    def processes(self) -> int:
        """How many processes that is."""
        from cadrender.pipeline.pool import usable_cpus

        return usable_cpus() if self.jobs in (None, -1) else self.jobs


def run_options(force: str = "Go on although the disk seems too small; nothing is made twice."):
    """Add the options of a run to a command, which receives them as one `RunOptions`, ``run``.

    Parameters
    ----------
    force : str
        Help of ``--force``.
    """
    options = [
        jobs_option,
        click.option(
            "--shard", metavar="I/N", help="Only the I-th of N parts of the work; for batch queues."
        ),
        click.option(
            "--backend",
            type=click.Choice(["loky", "dask"]),
            default="loky",
            show_default=True,
            help="Who does the work: processes of this machine, or the workers of a Dask cluster.",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="The Dask cluster's scheduler, such as tcp://node1:8786."
        ),
        click.option("--force", is_flag=True, help=force),
        click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop."),
        click.option("-q", "--quiet", is_flag=True, help="Print only what went wrong."),
        click.option("-v", "--verbose", is_flag=True, help="Name every clipped and silent file."),
        click.option(
            "--log-file",
            type=_PATH,
            metavar="FILE",
            help="Append to FILE all that is said without -q, with times.",
        ),
    ]

    def decorate(command):
        @functools.wraps(command)
        def wrapped(*, jobs, shard, backend, scheduler, force, dry_run, quiet, verbose, log_file, **others):
            from cadrender.cli.log import logged

            if (backend == "dask") != (scheduler is not None):
                raise click.UsageError("--backend dask and --scheduler ADDRESS go together.")
            run = RunOptions(jobs, shard, scheduler, force, dry_run, quiet, verbose, log_file)
            with logged(log_file):
                return command(run=run, **others)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


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

songs_option = click.option(
    "--songs", multiple=True, metavar="PATTERN", help="Only these tracks, such as 'A*'; repeatable."
)


def format_options(command):
    """Add ``--format`` and ``--subtype`` to a command, which receives them as an AudioFormat, ``audio_format``.

    None where neither was given: then files keep the format that is recorded.
    """

    @functools.wraps(command)
    def wrapped(*, container, subtype, **others):
        from cadrender.store import AudioFormat

        if (container, subtype) == ("flac", "FLOAT"):
            raise click.UsageError("--format flac holds PCM_16 or PCM_24, not FLOAT.")
        asked = AudioFormat(container or "wav", subtype or "PCM_16") if container or subtype else None
        return command(audio_format=asked, **others)

    wrapped = click.option(
        "--subtype",
        type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
        help="PCM_16 truncates as the challenge does; PCM_24 rounds. Default: as the files there are, else PCM_16.",
    )(wrapped)
    return click.option(
        "--format",
        "container",
        type=click.Choice(["wav", "flac"]),
        help="Default: as the files there are, else wav.",
    )(wrapped)
