"""``cadrender verify``: proof that a data set is what it should be."""

import json
import random
import sys
import time
from pathlib import Path

import click

from cadrender.cli.settings import jobs_option, settings_from, settings_options

# Seconds between two lines where there is no terminal.
_LOG_INTERVAL = 10.0


def _percentage(context, parameter, value):
    try:
        number = 0.0 if value is None else float(value.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 100.0:
        raise click.BadParameter(f"{value!r} is no percentage from 0 to 100.")
    return number


@click.command()
@settings_options(split=True, music=True)
@jobs_option
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music is.")
@click.option("--output-music-file", type=click.Path(path_type=Path), help="Where its list is.")
@click.option("--scenes-file", type=click.Path(path_type=Path), help="The scenes that were rendered.")
@click.option("--format", "container", type=click.Choice(["wav", "flac"]), default="wav", show_default=True)
@click.option(
    "--subtype", type=click.Choice(["PCM_16", "PCM_24", "FLOAT"]), default="PCM_16", show_default=True
)
@click.option(
    "--deep", metavar="N%", callback=_percentage, help="Render this part again and compare the samples."
)
@click.option("--seed", type=int, help="Of the choice of that part; another one each time if not said.")
@click.option("--no-sources", is_flag=True, help="Do not read the songs and HRIRs.")
@click.option("--repair", is_flag=True, help="Render again what is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Name the problems and nothing else.")
def command(
    overrides,
    root,
    config,
    split,
    music_file,
    jobs,
    output_music_dir,
    output_music_file,
    scenes_file,
    container,
    subtype,
    deep,
    seed,
    no_sources,
    repair,
    as_json,
    quiet,
):
    """Prove that the at-mic music is whole and up to date.

    Every file is read and compared with the manifest that `generate` keeps, and so are the songs and HRIRs that it
    was rendered from. One line a problem.

    Exit status: 0 all is as it should be (or has been repaired), 1 problems, 2 wrong usage or bad metadata.
    """
    settings = settings_from(
        overrides,
        root,
        config,
        split=split,
        music_file=music_file,
        output_music_dir=output_music_dir,
        output_music_file=output_music_file,
        scene_file=scenes_file,
    )
    from cadrender.cli.running import run_plan
    from cadrender.jobs.plan import make_plan
    from cadrender.jobs.pool import usable_cpus
    from cadrender.jobs.progress import duration
    from cadrender.jobs.verify import verify
    from cadrender.store import AudioFormat

    n_jobs = usable_cpus() if jobs in (None, -1) else jobs
    seed = random.randrange(10**6) if seed is None else seed
    audio_format = AudioFormat(container, subtype)
    plan = make_plan(settings, audio_format=audio_format, compare=False)

    def look(only=None, **more):
        with _Progress(quiet or as_json) as progress:
            return verify(
                plan,
                n_jobs,
                sources=not no_sources,
                only=only,
                found=(lambda problem: None) if as_json else progress.say,
                begin=progress.begin,
                advance=progress.advance,
                **more,
            )

    first = last = look(deep=deep, seed=seed)
    if repair and first.problems:
        redo = {file for problem in first.problems for file in problem.redo}
        run_plan(make_plan(settings, audio_format=audio_format, again=redo), n_jobs, quiet=quiet or as_json)
        plan = make_plan(settings, audio_format=audio_format, compare=False)
        last = look(redo)
    if as_json:
        print(json.dumps(_as_json(first, last, repair, seed), indent=4))
    elif not quiet:
        summary = f"{first.files} files, {first.bytes / 1e9:.2f} GB read in {duration(first.seconds)}"
        if deep:
            summary += f", {first.compared} rendered again (--seed {seed})"
        if first.differing:
            summary += f", {first.differing} samples of these differ by one step, which is accepted"
        if first.extra:
            summary += f", {len(first.extra)} other files there"
        summary += f": {_count(first.problems)}"
        if repair and first.problems:
            summary += f", {_count(last.problems)} after the repair"
        print(summary, file=sys.stderr)
    sys.exit(1 if last.problems else 0)


def _count(problems):
    return f"{len(problems) or 'no'} problem{'s' if len(problems) != 1 else ''}"


def _as_json(first, last, repair, seed):
    return {
        "files": first.files,
        "bytes": first.bytes,
        "rendered_again": first.compared,
        "differing_samples": first.differing,
        "seed": seed,
        "seconds": round(first.seconds, 3),
        "problems": [_problem(problem) for problem in first.problems],
        "extra": [str(file) for file in first.extra],
    } | ({"after_repair": [_problem(problem) for problem in last.problems]} if repair else {})


def _problem(problem):
    return {"kind": problem.kind, "file": str(problem.file), "text": problem.text, "files": len(problem.redo)}


class _Progress:
    """A bar on a terminal, lines in a log, and problems between them; counts from several threads."""

    def __init__(self, quiet):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        terminal = console.is_terminal and console.file.isatty()  # FORCE_COLOR alone makes none
        self._log = not quiet and not terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not terminal,
        )
        self._task = None
        self._done = self._total = 0
        self._spoke = time.monotonic()

    def begin(self, what, total):
        self._what, self._done, self._total = what, 0, total
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=max(total, 1))

    def advance(self, count):
        self._bar.update(self._task, advance=count)
        self._done += count  # for the log only: a count lost between two threads does no harm
        if self._log and time.monotonic() - self._spoke >= _LOG_INTERVAL:
            self._spoke = time.monotonic()
            print(
                f"{self._what}: {100 * self._done / max(self._total, 1):.0f} %", file=sys.stderr, flush=True
            )

    def say(self, problem):
        if self._bar.disable:
            print(problem, flush=True)
        else:
            self._bar.console.print(str(problem), markup=False)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()
