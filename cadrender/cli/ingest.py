"""``cadrender ingest``: supplementary corpora into a root."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cadrender.cli.settings import PATH, Command, RunOptions, check_number, run_options
from cadrender.wording import duration, plural

if TYPE_CHECKING:
    from cadrender.corpora import Corpus, SongCatalogue
    from cadrender.pipeline.events import Event
    from cadrender.pipeline.run import Summary


@click.group("ingest", invoke_without_command=True)
@click.option("--remove", metavar="NAME", help="Delete the corpus NAME from ROOT.")
@click.option("--root", type=PATH, help="The root to delete it from.")
@click.pass_context
def command(context: click.Context, remove: str | None, root: Path | None) -> None:
    """Turn a corpus as it is on disk into songs of a root.

    The songs go to ROOT/audio/music/CORPUS/SONG as stereo PCM_16 WAV files at the rate of the root's HRIRs (44100 Hz
    where there are none). They are listed in ROOT/metadata/CORPUS.json, where scenes, generate and remix find them.
    What was left out, and remarks on the other songs, are in ROOT/metadata/CORPUS.ingest.json. Only songs that are
    missing, or made from other files, are converted: run it again after an interruption. The names of a root's songs
    must be unique.

    With --scenes the root's scenes are drawn again, as `cadrender scenes` does: those of the official songs stay
    the same, those of all ingested songs come after them.

    `cadrender ingest --remove CORPUS --root ROOT` deletes a corpus's songs and lists; rendered files stay.
    """
    if context.invoked_subcommand is None and remove is None and root is None:
        click.echo(context.get_help())
    elif context.invoked_subcommand is None:
        if remove is None or root is None:
            raise click.UsageError("--remove NAME and --root ROOT are needed, or the kind of a corpus.")
        _remove(remove, root)
    elif remove is not None:
        raise click.UsageError(
            f"--remove NAME does not go with {context.invoked_subcommand}: use one of them."
        )
    elif root is not None:
        raise click.UsageError(f"--root ROOT belongs after {context.invoked_subcommand}.")


def _remove(name: str, root: Path) -> None:
    from cadrender.config import load_settings
    from cadrender.corpora import remove
    from cadrender.metadata.scenes import read_scenes

    removed = remove(name, root)
    click.echo(f"{name}: {plural(len(removed.songs), 'song')} removed from {removed.folder}")
    settings = load_settings(root=root)
    if settings.scene_file.exists():
        gone = set(removed.songs)
        count = sum(scene.music in gone for scene in read_scenes(settings.scene_file))
        if count:
            click.echo(
                f"{settings.scene_file}: {plural(count, 'scene')} of songs that are gone "
                f"(cadrender scenes --root {root} draws new ones)"
            )
    rendered = settings.output_music_dir / name
    if rendered.exists():
        click.echo(f"{rendered}: the files rendered from the songs are left alone")


@dataclass(frozen=True)
class _Target:
    """Where the songs of a corpus go, and how."""

    root: Path
    scenes: bool
    sample_rate: int | None
    run: RunOptions


def _common(function: Command) -> Command:
    """Add the options of every corpus; the command receives SRC and a `_Target`, ``target``."""

    @functools.wraps(function)
    def wrapped(*, root: Path, scenes: bool, sample_rate: int | None, run: RunOptions, **others: Any) -> Any:
        return function(target=_Target(root, scenes, sample_rate, run), **others)

    for option in (
        click.option(
            "--root",
            type=PATH,
            required=True,
            help="The folder with audio/ and metadata/; made where it does not exist.",
        ),
        click.option("--scenes", is_flag=True, help="Draw the root's scenes again, with these songs."),
        click.option(
            "--sample-rate",
            type=click.IntRange(8000, 384_000),
            metavar="HZ",
            help="The songs' rate in the root; default: that of its HRIRs, or 44100.",
        ),
        click.argument("src", type=PATH),
    ):
        wrapped = option(wrapped)
    return run_options()(wrapped)


@command.command("medleydb")
@_common
@click.option(
    "--keep-musdb", is_flag=True, help="Also take the 46 songs that are in MUSDB18-HQ's training split."
)
@click.option("--skip-bleed", is_flag=True, help="Leave out songs with bleed between their stems.")
@click.option(
    "--instruments", type=PATH, help="Table of instruments; default: conf/medleydb_instruments.yaml."
)
@click.option(
    "--metadata", type=PATH, help="Folder of the _METADATA.yaml files; default: where they are in SRC."
)
def _medleydb(src: Path, target: _Target, **options: Any) -> None:
    """MedleyDB 1 and 2: stems summed by a table of instruments.

    The songs that are already in MUSDB18-HQ's training split are left out and listed.
    """
    from cadrender.corpora import medleydb

    _run(medleydb.scan(src, **options), target)


@command.command("bach10")
@_common
@click.option("--instruments", type=PATH, help="Table of instruments; default: conf/bach10_instruments.yaml.")
def _bach10(src: Path, target: _Target, **options: Any) -> None:
    """Bach10: the bassoon is the bass, the rest is other; vocals and drums are silent."""
    from cadrender.corpora import bach10

    _run(bach10.scan(src, **options), target)


@command.command("fma-small")
@_common
@click.option(
    "--metadata", type=PATH, help="FMA's tracks.csv, with the licences; default: looked for beside SRC."
)
@click.option(
    "--min-seconds",
    "minimum_seconds",
    type=click.FloatRange(min=0.4),
    default=2.0,
    show_default=True,
    callback=check_number,
    help="Length of the shortest clip to take.",
)
def _fma_small(src: Path, target: _Target, **options: Any) -> None:
    """FMA-small: MP3 clips as mixtures without stems.

    Clips that are damaged, or shorter than --min-seconds, are listed and left out.
    """
    from cadrender.corpora import fma

    _run(fma.scan(src, **options), target)


@command.command("folder")
@_common
@click.option(
    "--map",
    "pairs",
    multiple=True,
    metavar="NAME=STEM",
    help="Take the files NAME.* as this stem; repeatable.",
)
@click.option("--mixtures", is_flag=True, help="Take every file in all folders as a song without stems.")
@click.option("--name", default="folder", show_default=True, help="The corpus's name in ROOT.")
@click.option("--license", default="unknown", show_default=True, help="The songs' licence, for the list.")
@click.option("--genre", default="unknown", show_default=True, help="The songs' genre, for the list.")
def _folder(src: Path, target: _Target, pairs: tuple[str, ...], **options: Any) -> None:
    """Any tree of SONG/STEM.(wav|flac|mp3|...), STEM being mixture, vocals, drums, bass or other.

    Several files of one stem are summed; a song without a mixture gets the sum of its stems. A folder of songs,
    SRC/SONG.mp3, gives songs without stems.
    """
    from cadrender.corpora import folder

    stems = {}
    for pair in pairs:
        name, equals, stem = pair.rpartition("=")
        if not equals or not name:
            raise click.BadParameter(
                f"'{pair}'; expected NAME=STEM, such as singing=vocals", param_hint="--map"
            )
        stems[name] = stem
    _run(folder.scan(src, stems=stems, skip=(target.root,), **options), target)


def _run(corpus: "Corpus", target: _Target) -> None:
    """Convert the songs of a corpus, print a summary, and exit."""
    run = target.run
    if target.scenes and run.shard:
        raise click.UsageError("--scenes needs the whole corpus: draw them when all shards are complete.")
    from cadrender.cli import log
    from cadrender.cli.running import cluster_of, make
    from cadrender.cli.scenes import draw_scenes
    from cadrender.config import load_settings
    from cadrender.corpora import SongCatalogue, by_reason
    from cadrender.pipeline.plan import make_plan
    from cadrender.scenes import check_replaceable

    catalogue = SongCatalogue(corpus, target.root, target.sample_rate)
    if target.scenes:  # before the songs take an hour
        check_replaceable(catalogue.settings)
    if run.scheduler and not run.dry_run:  # the workers must see it
        catalogue.settings.root.mkdir(parents=True, exist_ok=True)
    with _own_screen(), cluster_of(run, catalogue.settings) as cluster:
        summary = make(make_plan(catalogue, shard=run.shard), run, cluster, tell=_tell)
        for line in by_reason(catalogue.notes) if summary else ():
            (log.record if run.quiet else log.tell)(line)
    failed = not all(song.expected for song in catalogue.left_out)
    if summary is None:
        sys.exit(1 if failed else 0)
    log.record(_summary(catalogue, summary))
    if not run.quiet:
        click.echo(_summary(catalogue, summary))
    if target.scenes:
        settings = load_settings(root=target.root)  # with the list that is there now
        draw_scenes(settings, listeners=settings.listeners_file.exists())
    others = set(summary.failures) - set(catalogue.broken.values())
    sys.exit(1 if failed or others else 0)


def _tell(event: "Event") -> str:
    """A line for an event: a song that cannot be converted is left out."""
    from cadrender.pipeline.events import Failed

    if isinstance(event, Failed) and event.song:
        return f"{event.song}: left out: {event.text}"
    return str(event)


@contextlib.contextmanager
def _own_screen() -> Iterator[None]:
    """Open standard error again: while this process decodes, file descriptor 2 leads nowhere."""
    encoding = getattr(sys.stderr, "encoding", None)
    try:
        screen = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace")
    except OSError:  # it is closed
        yield
        return
    with screen, contextlib.redirect_stderr(screen):
        yield


def _summary(catalogue: "SongCatalogue", summary: "Summary") -> str:
    (tally,) = summary.tallies
    left_out = catalogue.left_out
    failures = sum(not song.expected for song in left_out)
    return (
        f"{catalogue.corpus.name}: {plural(tally.done, 'song')} converted ({plural(tally.files, 'file')} in "
        f"{duration(summary.seconds)}), {tally.skipped} there already, {len(left_out) - failures} left out, "
        f"{failures} failed; {len(catalogue.listed)} listed in {catalogue.list_file}, remarks in "
        f"{catalogue.report_file}"
    )
