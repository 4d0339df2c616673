"""The options that the commands share, and what they become: settings, and how a run is to go."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cadrender.config import SPLITS, Settings, load_settings
from cadrender.stems import STEMS

if TYPE_CHECKING:
    from cadrender.pipeline.shards import Shard

Command = Callable[..., Any]

PATH = click.Path(path_type=Path)

PLACES = {
    "output_music_dir": ("--output-music-dir", "Folder of the at-mic music."),
    "output_music_file": ("--output-music-file", "List of the at-mic music."),
    "output_remix_dir": ("--output-remix-dir", "Folder of the targets."),
    "output_remix_listeners_dir": ("--output-remix-listeners-dir", "Folder of the amplified targets."),
    "output_remix_file": ("--output-remix-file", "List of the targets."),
    "output_submission_dir": ("--output-submission-dir", "Folder of the submissions."),
    "excerpts_dir": ("--excerpts-dir", "Folder of the excerpts' own stems."),
    "scene_file": ("--scenes-file", "The scenes file."),
}
"""Options for places, by the names of `Settings`: the option, and its help."""


@dataclass(frozen=True)
class Given:
    """What the command line says about settings.

    Attributes
    ----------
    overrides : tuple of str
        The ``KEY=VALUE`` arguments.
    splits : tuple of str
        Every ``--split``.
    options : dict
        Values by the names of `cadrender.config.load_settings`; None where an option was not given.
    """

    overrides: tuple[str, ...]
    splits: tuple[str, ...]
    options: dict[str, Any]

    def settings(self, **more: Any) -> Settings:
        """Make the settings; `more` as in `cadrender.config.load_settings`."""
        split = {"split": self.splits[0]} if self.splits else {}
        return load_settings(self.overrides, **(self.options | split | more))

    def every_split(self) -> list[Settings]:
        """Make the settings of each split that was given.

        Without any they are all three, or ``train`` alone where a file is given, which cannot be that of every split.
        """
        default = ("train",) if self.names("music_file", "scene_file", "output_music_file") else SPLITS
        return [self.settings(split=split) for split in self.splits or default]

    def names(self, *places: str) -> bool:
        """Whether one of these settings of ``path`` was given, by an option or by ``KEY=VALUE``."""
        keys = tuple(f"path.{place}=" for place in places)
        return any(self.options.get(place) for place in places) or any(
            text.lstrip("+").startswith(keys) and "${split}" not in text for text in self.overrides
        )


root_option = click.option("--root", type=PATH, help="The folder with audio/ and metadata/.")
config_option = click.option("--config", type=PATH, help="A YAML file with settings.")


def settings_options(
    *, split: str = "", music: bool = False, places: Sequence[str] = ()
) -> Callable[[Command], Command]:
    """Add ``--root``, ``--config`` and the ``KEY=VALUE`` arguments to a command, which receives a `Given`, ``given``.

    Parameters
    ----------
    split : str
        Help of ``--split``, where the command has it; "... repeatable ..." makes it so.
    music : bool
        Also add ``--music-file``, which can be repeated.
    places : sequence of str
        Names of :data:`PLACES` to add.
    """
    options = [click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."), root_option, config_option]
    if split:
        many = "repeatable" in split
        options.append(
            click.option("--split", "splits", type=click.Choice(SPLITS), multiple=many, help=split)
        )
    if music:
        option = click.option(
            "--music-file",
            multiple=True,
            type=PATH,
            help="A music list; repeatable, in this order. Default: that of the split and, for train, those of all "
            "ingested corpora.",
        )
        options.append(option)
    options += [click.option(PLACES[name][0], name, type=PATH, help=PLACES[name][1]) for name in places]
    taken = ("root", "config", *(("music_file",) if music else ()), *places)

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            *, overrides: tuple[str, ...], splits: tuple[str, ...] | str | None = (), **others: Any
        ) -> Any:
            if splits is None or isinstance(splits, str):
                splits = (splits,) if splits else ()
            given = Given(overrides, splits, {name: others.pop(name) for name in taken})
            return command(given=given, **others)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


ONE_SPLIT = "The split; default: train."

# More processes than any machine has use for.
_MOST_JOBS = 1024


def _check_jobs(context: click.Context, parameter: click.Parameter, value: int) -> int:
    if value != -1 and not 1 <= value <= _MOST_JOBS:
        raise click.BadParameter(f"{value} is neither -1 (all CPUs) nor a number from 1 to {_MOST_JOBS}.")
    from cadrender.pipeline.pool import usable_cpus

    return usable_cpus() if value == -1 else value


def check_number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Callback of options that take a number: refuses nan, which passes every comparison."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number.")
    return value


def angle_list(text: str) -> tuple[float, ...]:
    """Type of ``--angles``: see `cadrender.metadata.positions.parse_angles`."""
    from cadrender.metadata.positions import parse_angles

    return parse_angles(text)


jobs_option = click.option(
    "-j",
    "--jobs",
    type=int,
    default=-1,
    callback=_check_jobs,
    help="Processes; default, and -1: all usable CPUs.",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print only what went wrong.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Check everything, print what would be done, and stop."
)
heads_option = click.option(
    "--heads",
    type=click.Choice(["scenes", "all"]),
    default="scenes",
    show_default=True,
    help="scenes: the samples that the scenes name; all: every song at every head position.",
)
pairs_option = click.option(
    "--pairs",
    type=click.Choice(["all", "symmetric"]),
    default="all",
    show_default=True,
    help="all: every left loudspeaker with every right one; symmetric: only those at the same angle.",
)
listeners_per_scene_option = click.option(
    "--listeners-per-scene",
    "number_listeners_per_scene",
    type=int,
    help="Listeners for each scene; default: 2.",
)
songs_option = click.option(
    "--songs", multiple=True, metavar="PATTERN", help="Only these tracks, such as 'A*'; repeatable."
)


def _stems(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in STEMS:
            raise click.BadParameter(f"unknown stem {name!r}; known ones: {', '.join(STEMS)}.")
    return names


stems_option = click.option(
    "--stems",
    metavar="NAMES",
    type=_stems,
    default=",".join(STEMS),
    show_default=True,
    help="Only these stems, separated by commas.",
)


@dataclass(frozen=True)
class RunOptions:
    """How a run is to go: the options that all commands that make files share.

    Attributes
    ----------
    jobs : int
        Processes.
    shard : Shard or None
        The share of the work to do.
    scheduler : str or None
        Address of a Dask cluster's scheduler.
    force, dry_run, quiet, verbose : bool
    """

    jobs: int
    shard: "Shard | None" = None
    scheduler: str | None = None
    force: bool = False
    dry_run: bool = False
    quiet: bool = False
    verbose: bool = False


def run_options(
    force: str = "Go on although the disk seems too small; complete files are not made again.",
) -> Callable[[Command], Command]:
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
            help="loky: processes of this machine; dask: the workers of a Dask cluster.",
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="The Dask cluster's scheduler, such as tcp://node1:8786."
        ),
        click.option("--force", is_flag=True, help=force),
        dry_run_option,
        quiet_option,
        click.option("-v", "--verbose", is_flag=True, help="Name every clipped and silent file."),
        click.option(
            "--log-file",
            type=PATH,
            metavar="FILE",
            help="Append all messages to FILE, with times; -q does not affect it.",
        ),
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            *,
            jobs: int,
            shard: str | None,
            backend: str,
            scheduler: str | None,
            log_file: Path | None,
            **others: Any,
        ) -> Any:
            from cadrender.cli.log import logged
            from cadrender.pipeline.shards import Shard

            if (backend == "dask") != (scheduler is not None):
                raise click.UsageError("--backend dask and --scheduler ADDRESS go together.")
            flags = {name: others.pop(name) for name in ("force", "dry_run", "quiet", "verbose")}
            with logged(log_file):
                run = RunOptions(jobs, Shard.parse(shard) if shard else None, scheduler, **flags)
                return command(run=run, **others)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped

    return decorate


def format_options(command: Command) -> Command:
    """Add ``--format`` and ``--subtype`` to a command, which receives them as an AudioFormat, ``audio_format``.

    None where neither was given: then files keep the format that is recorded. What was not given is empty.
    """

    @functools.wraps(command)
    def wrapped(*, container: str | None, subtype: str | None, **others: Any) -> Any:
        from cadrender.store import AudioFormat

        if (container, subtype) == ("flac", "FLOAT"):
            raise click.UsageError("--format flac holds PCM_16 or PCM_24, not FLOAT.")
        asked = AudioFormat(container or "", subtype or "") if container or subtype else None
        return command(audio_format=asked, **others)

    wrapped = click.option(
        "--subtype",
        type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]),
        help="PCM_16 truncates as the challenge does; PCM_24 rounds. Default: as existing files, else PCM_16.",
    )(wrapped)
    return click.option(
        "--format",
        "container",
        type=click.Choice(["wav", "flac"]),
        help="Container of the files. Default: as existing files, else wav.",
    )(wrapped)
