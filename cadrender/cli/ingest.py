"""``cadrender ingest``: supplementary corpora into a root."""

import contextlib
import os
import sys
from pathlib import Path

import click

from cadrender.cli.settings import check_number, run_options
from cadrender.wording import duration, plural

_FOLDER = click.Path(path_type=Path)


@click.group("ingest", invoke_without_command=True)
@click.option("--remove", metavar="NAME", help="Take the corpus NAME out of ROOT again.")
@click.option("--root", type=_FOLDER, help="The root to take it out of.")
@click.pass_context
def command(context, remove, root) -> None:
    """Turn a corpus as it is on disk into songs of a root.

    The songs go to ROOT/audio/music/CORPUS/SONG as stereo PCM_16 WAV files at the rate of the root's HRIRs (44100 Hz
    where there are none), their list to ROOT/metadata/CORPUS.json: scenes, generate and remix find it there. What was
    left out, and what to know about the other songs, is listed in ROOT/metadata/CORPUS.ingest.json. Only what is
    missing, or made from other files, is converted: run it again after an interruption. All songs of a root have
    different names.

    With --scenes the root's scenes are drawn anew, as `cadrender scenes` does: those of the official songs stay as
    they are, those of all ingested songs come after them.

    `cadrender ingest --remove CORPUS --root ROOT` deletes a corpus's songs and lists; what was rendered stays.
    """
    if context.invoked_subcommand is None and remove is None and root is None:
        click.echo(context.get_help())
    elif context.invoked_subcommand is None:
        if remove is None or root is None:
            raise click.UsageError("--remove NAME and --root ROOT are needed, or the kind of a corpus.")
        _remove(remove, root)
    elif remove is not None:
        raise click.UsageError(
            f"--remove NAME and {context.invoked_subcommand} are two things: use one of them."
        )
    elif root is not None:
        raise click.UsageError(f"--root ROOT belongs after {context.invoked_subcommand}.")


def _remove(name, root) -> None:
    from cadrender.config import load_settings
    from cadrender.corpora import remove
    from cadrender.metadata.scenes import read_scenes

    removed = remove(name, root)
    songs = f"{len(removed.songs)} song{'' if len(removed.songs) == 1 else 's'}"
    click.echo(f"{name}: {songs} removed from {removed.folder}")
    settings = load_settings(root=root)
    if settings.scene_file.exists():
        gone = set(removed.songs)
        count = sum(scene.music in gone for scene in read_scenes(settings.scene_file))
        if count:
            scenes = "1 scene names" if count == 1 else f"{count} scenes name"
            click.echo(
                f"{settings.scene_file}: {scenes} a song that is gone (cadrender scenes --root {root} draws anew)"
            )
    rendered = settings.output_music_dir / name
    if rendered.exists():
        click.echo(f"{rendered}: what was rendered from the songs is left as it is")


def _common(function):
    """Add what every corpus needs: where from, where to, and how the run is to go."""
    for option in (
        click.option(
            "--root",
            type=_FOLDER,
            required=True,
            help="The folder that holds, or gets, audio/ and metadata/.",
        ),
        click.option("--scenes", is_flag=True, help="Draw the root's scenes anew, these songs included."),
        click.option(
            "--sample-rate",
            type=click.IntRange(8000, 384_000),
            metavar="HZ",
            help="The songs' rate in the root (default: that of its HRIRs, or 44100).",
        ),
        click.argument("src", type=_FOLDER),
    ):
        function = option(function)
    return run_options()(function)


@command.command("medleydb")
@_common
@click.option(
    "--keep-musdb", is_flag=True, help="Take the 46 songs that are in MUSDB18-HQ's training split too."
)
@click.option("--skip-bleed", is_flag=True, help="Leave out songs with bleed between their stems.")
@click.option(
    "--instruments", type=_FOLDER, help="Another table of instruments than conf/medleydb_instruments.yaml."
)
@click.option(
    "--metadata", type=_FOLDER, help="The folder of the _METADATA.yaml files, if they are elsewhere."
)
def _medleydb(src, root, scenes, sample_rate, run, **options) -> None:
    """MedleyDB 1 and 2: stems summed by a table of instruments.

    The songs that are already in MUSDB18-HQ's training split are left out and listed.
    """
    from cadrender.corpora import medleydb

    _run(medleydb.scan(src, **options), root, scenes, sample_rate, run)


@command.command("bach10")
@_common
@click.option(
    "--instruments", type=_FOLDER, help="Another table of instruments than conf/bach10_instruments.yaml."
)
def _bach10(src, root, scenes, sample_rate, run, **options) -> None:
    """Bach10: the bassoon is the bass, the rest is other; vocals and drums are silent."""
    from cadrender.corpora import bach10

    _run(bach10.scan(src, **options), root, scenes, sample_rate, run)


@command.command("fma-small")
@_common
@click.option(
    "--metadata", type=_FOLDER, help="FMA's tracks.csv, with the licences, if it is not beside SRC."
)
@click.option(
    "--min-seconds",
    "minimum_seconds",
    type=click.FloatRange(min=0.4),
    default=2.0,
    show_default=True,
    callback=check_number,
)
def _fma_small(src, root, scenes, sample_rate, run, **options) -> None:
    """FMA-small: MP3 clips as mixtures without stems.

    Clips that are damaged, or shorter than --min-seconds, are listed and left out.
    """
    from cadrender.corpora import fma

    _run(fma.scan(src, **options), root, scenes, sample_rate, run)


@command.command("folder")
@_common
@click.option(
    "--map", "pairs", multiple=True, metavar="NAME=STEM", help="Which stem the files NAME.* are; repeatable."
)
@click.option(
    "--mixtures", is_flag=True, help="Take every file in all folders as a song of its own, without stems."
)
@click.option("--name", default="folder", show_default=True, help="The corpus's name in ROOT.")
@click.option(
    "--license", default="unknown", show_default=True, help="What the list says of the songs' licence."
)
@click.option("--genre", default="unknown", show_default=True, help="What the list says of the songs' genre.")
def _folder(src, root, scenes, sample_rate, run, pairs, **options) -> None:
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
    _run(folder.scan(src, stems=stems, skip=(root,), **options), root, scenes, sample_rate, run)


def _run(corpus, root, scenes, sample_rate, run) -> None:
    """Convert the songs that were found and say what came of it; the exit status is the process's."""
    if scenes and run.shard:
        raise click.UsageError("--scenes needs the whole corpus: draw them when all shards are complete.")
    from cadrender.cli import log
    from cadrender.cli.running import cluster_of, make
    from cadrender.cli.scenes import draw_scenes
    from cadrender.config import load_settings
    from cadrender.corpora import SongCatalogue, by_reason
    from cadrender.pipeline.plan import make_plan
    from cadrender.pipeline.shards import Shard
    from cadrender.scenes import check_replaceable

    shard = Shard.parse(run.shard) if run.shard else None
    catalogue = SongCatalogue(corpus, root, sample_rate)
    if scenes:  # before the songs take an hour
        check_replaceable(catalogue.settings)
    if run.scheduler and not run.dry_run:  # its workers must see it
        catalogue.settings.root.mkdir(parents=True, exist_ok=True)
    with _own_screen(), cluster_of(run, catalogue.settings) as cluster:
        summary = make(make_plan(catalogue, shard=shard), run, cluster, tell=_tell)
        for line in by_reason(catalogue.notes) if summary else ():
            (log.record if run.quiet else log.tell)(line)
    failed = not all(song.expected for song in catalogue.left_out)
    if summary is None:
        sys.exit(1 if failed else 0)
    log.record(_summary(catalogue, summary))
    if not run.quiet:
        click.echo(_summary(catalogue, summary))
    if scenes:
        settings = load_settings(root=root)  # with the list that is there now
        draw_scenes(settings, listeners=settings.listeners_file.exists())
    others = set(summary.failures) - set(catalogue.broken.values())
    sys.exit(1 if failed or others else 0)


def _tell(event):
    """A line for an event: a song that cannot be converted is left out."""
    song = getattr(event, "song", "")
    return f"{song}: left out: {event.text}" if song else str(event)


@contextlib.contextmanager
def _own_screen():
    """Open standard error once more: while this process decodes, file descriptor 2 leads nowhere."""
    encoding = getattr(sys.stderr, "encoding", None)
    try:
        screen = os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace")
    except OSError:  # it is closed
        yield
        return
    with screen, contextlib.redirect_stderr(screen):
        yield


def _summary(catalogue, summary) -> str:
    (tally,) = summary.tallies
    left_out = catalogue.left_out
    failures = sum(not song.expected for song in left_out)
    return (
        f"{catalogue.corpus.name}: {plural(tally.done, 'song')} converted ({plural(tally.files, 'file')} in "
        f"{duration(summary.seconds)}), {tally.skipped} there already, {len(left_out) - failures} left out, "
        f"{failures} failed; {len(catalogue.listed)} listed in {catalogue.list_file}, remarks in "
        f"{catalogue.report_file}"
    )
