"""``cadrender ingest``: supplementary corpora into a root."""

import contextlib
import os
import sys
import time
from pathlib import Path

import click

from cadrender.cli.settings import check_jobs, check_number

_FOLDER = click.Path(path_type=Path)
_UNCOUNTED = 3
_SECONDS_BETWEEN_LINES = 10


@click.group("ingest", invoke_without_command=True)
@click.option("--remove", metavar="NAME", help="Take the corpus NAME out of ROOT again.")
@click.option("--root", type=_FOLDER, help="The root to take it out of.")
@click.pass_context
def command(context, remove, root):
    """Turn a corpus as it is on disk into songs of a root.

    The songs go to ROOT/audio/music/CORPUS/SONG as stereo PCM_16 WAV files at the rate of the root's HRIRs (44100 Hz
    where there are none), their list to ROOT/metadata/CORPUS.json: scenes, generate and remix find it there. What was
    left out, and what to know about the other songs, is listed in ROOT/metadata/CORPUS.ingest.json. A second run
    converts only what is missing. All songs of a root have different names.

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


def _remove(name, root):
    from cadrender.config import load_settings
    from cadrender.corpora import remove
    from cadrender.metadata import read_scenes

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
    """Add what every corpus needs: where from, where to, and how many workers."""
    for option in (
        click.option(
            "-j",
            "--jobs",
            type=int,
            default=-1,
            callback=check_jobs,
            help="Processes (default: -1, all usable CPUs).",
        ),
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
    return function


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
def _medleydb(src, root, jobs, scenes, sample_rate, **options):
    """MedleyDB 1 and 2: stems summed by a table of instruments.

    The songs that are already in MUSDB18-HQ's training split are left out and listed.
    """
    from cadrender.corpora import medleydb

    return _run(medleydb.scan(src, **options), root, jobs, scenes, sample_rate)


@command.command("bach10")
@_common
@click.option(
    "--instruments", type=_FOLDER, help="Another table of instruments than conf/bach10_instruments.yaml."
)
def _bach10(src, root, jobs, scenes, sample_rate, **options):
    """Bach10: the bassoon is the bass, the rest is other; vocals and drums are silent."""
    from cadrender.corpora import bach10

    return _run(bach10.scan(src, **options), root, jobs, scenes, sample_rate)


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
def _fma_small(src, root, jobs, scenes, sample_rate, **options):
    """FMA-small: MP3 clips as mixtures without stems.

    Clips that are damaged, or shorter than --min-seconds, are listed and left out.
    """
    from cadrender.corpora import fma

    return _run(fma.scan(src, **options), root, jobs, scenes, sample_rate)


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
def _folder(src, root, jobs, scenes, sample_rate, pairs, **options):
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
    return _run(folder.scan(src, stems=stems, skip=(root,), **options), root, jobs, scenes, sample_rate)


def _run(corpus, root, jobs, scenes, sample_rate):
    """Convert the songs that were found, say how it goes and what came of it; return the exit status."""
    from cadrender.cli.running import resumable
    from cadrender.corpora import ingest, root_samplerate

    sample_rate = sample_rate or root_samplerate(root)
    if scenes:
        _check_scenes(root)
    with _progress(corpus) as (say, on_outcome):
        for note in corpus.notes:
            say(note)
        if sample_rate != 44100:
            say(f"songs are written at {sample_rate} Hz: other commands need sample_rate={sample_rate}")
        _say_by_reason(say, [(song.name, f"left out: {song.reason}") for song in corpus.left_out])
        with resumable():
            report = ingest(corpus, root, jobs=jobs, samplerate=sample_rate, on_outcome=on_outcome)
        _say_by_reason(say, [(outcome.name, note) for outcome in report.outcomes for note in outcome.notes])
    click.echo(_summary(corpus, report))
    if scenes:
        _draw_scenes(root)
    return 1 if report.failed else 0


def _check_scenes(root):
    """See that the root's scenes can be drawn anew, before its songs take an hour."""
    from cadrender.config import load_settings
    from cadrender.scenes import check_replaceable

    check_replaceable(load_settings(root=root))


def _draw_scenes(root):
    from cadrender.cli.scenes import draw_scenes
    from cadrender.config import load_settings

    settings = load_settings(root=root)
    draw_scenes(settings, listeners=settings.listeners_file.exists())


@contextlib.contextmanager
def _progress(corpus):
    """Yield two functions: one prints a line, one is told of each outcome.

    On a terminal there is a progress bar below the lines; elsewhere a line now and then.
    """
    with _screen() as screen:
        if screen.isatty():
            yield from _bar(corpus, screen)
        else:
            yield _lines(corpus, screen)


def _screen():
    """Open standard error once more: while this process decodes, file descriptor 2 leads nowhere."""
    encoding = getattr(sys.stderr, "encoding", None)
    try:
        return os.fdopen(os.dup(2), "w", buffering=1, encoding=encoding, errors="backslashreplace")
    except OSError:  # it is closed
        return Path(os.devnull).open("w")


def _bar(corpus, screen):
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=screen, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(corpus.name, total=len(corpus.tracks), speed="")
        pace = _Pace()

        def on_outcome(outcome):
            pace.add(outcome)
            bar.update(task, advance=1, speed=pace.speed())
            if outcome.problem:
                console.print(f"{outcome.name}: {outcome.problem}", soft_wrap=True)

        yield (lambda line: console.print(line, soft_wrap=True)), on_outcome


def _lines(corpus, screen):
    pace = _Pace()
    last = [time.monotonic()]

    def say(line):
        print(line, file=screen)

    def on_outcome(outcome):
        pace.add(outcome)
        if outcome.problem:
            say(f"{outcome.name}: {outcome.problem}")
        if time.monotonic() - last[0] > _SECONDS_BETWEEN_LINES:
            last[0] = time.monotonic()
            say(f"{corpus.name}: {pace.songs} of {len(corpus.tracks)} songs, {pace.speed()}")

    say(
        f"{corpus.name}: {len(corpus.tracks)} song{'' if len(corpus.tracks) == 1 else 's'} in {corpus.folder}"
    )
    return say, on_outcome


class _Pace:
    """How many songs are done, and how fast they are converted."""

    def __init__(self):
        self.songs = 0
        self._seconds = 0.0
        self._started = time.monotonic()

    def add(self, outcome):
        self.songs += 1
        self._seconds += 0.0 if outcome.kept else outcome.seconds

    def speed(self):
        return f"{self._seconds / max(time.monotonic() - self._started, 1e-3):.0f} times real time"


def _say_by_reason(say, songs):
    """Print what is to be said of songs, those alike in one line."""
    names = {}
    for name, reason in songs:
        names.setdefault(reason, []).append(name)
    for reason, alike in names.items():
        count = f"{len(alike)} songs: " if len(alike) > _UNCOUNTED else ""
        say(f"{count}{', '.join(alike)}: {reason}")


def _summary(corpus, report):
    done = [outcome for outcome in report.outcomes if not outcome.problem]
    kept = sum(outcome.kept for outcome in done)
    seconds = sum(outcome.seconds for outcome in done if not outcome.kept)
    failures = sum(not song.expected for song in report.left_out)
    return (
        f"{corpus.name}: {len(done) - kept} songs converted"
        f" ({seconds / 60:.1f} min of music in {report.seconds:.1f} s), {kept} there already,"
        f" {len(report.left_out) - failures} left out, {failures} failed;"
        f" {report.listed} listed in {report.list_file}, remarks in {report.report_file}"
    )
