"""``cadrender verify``: proof that what was made is what it should be."""

import json
import random
import sys
import time

import click

from cadrender.cli.settings import format_options, jobs_option, settings_from, settings_options

# Seconds between two lines where there is no terminal.
_LOG_INTERVAL = 10.0

# Problems that are printed of each kind.
_SHOWN = 50


def _percentage(context, parameter, value):
    try:
        number = 0.0 if value is None else float(value.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 100.0:
        raise click.BadParameter(f"{value!r} is no percentage from 0 to 100.")
    return number


@click.command()
@settings_options(
    split=True,
    music=True,
    places=(
        "output_music_dir",
        "output_music_file",
        "output_remix_dir",
        "output_remix_listeners_dir",
        "output_remix_file",
        "output_submission_dir",
        "excerpts_dir",
        "scene_file",
    ),
)
@jobs_option
@format_options
@click.option(
    "--deep", metavar="N%", callback=_percentage, help="Make this part again and compare the samples."
)
@click.option("--seed", type=int, help="Of the choice of that part; default: another one each time.")
@click.option("--no-sources", is_flag=True, help="Do not read the songs and HRIRs.")
@click.option("--repair", is_flag=True, help="Make again what is wrong.")
@click.option(
    "--all", "everything", is_flag=True, help=f"Print all problems, not the first {_SHOWN} of a kind."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the problems and nothing else.")
def command(
    jobs, audio_format, deep, seed, no_sources, repair, everything, as_json, quiet, **options
) -> None:
    """Prove that what was made of a split is whole and up to date.

    At-mic files, rebalanced and amplified targets, submissions and excerpts' stems are read and compared with the
    manifests that are kept of them, and so are the songs and HRIRs that they were made from. One line for each
    problem.

    Exit status: 0 all is as it should be (or has been repaired), 1 problems, 2 wrong usage or bad metadata.
    """
    settings = settings_from(**options)
    from cadrender.cli.running import resumable
    from cadrender.cli.settings import RunOptions
    from cadrender.pipeline.verify import repair as repair_problems
    from cadrender.pipeline.verify import verify
    from cadrender.root import Root
    from cadrender.wording import duration, plural

    n_jobs = RunOptions(jobs).processes
    seed = random.randrange(10**6) if seed is None else seed
    root = Root(settings)

    def look(catalogues, only=None, **more):
        with _Progress(quiet or as_json, None if everything else _SHOWN) as progress:
            return verify(
                catalogues,
                n_jobs,
                sources=not no_sources,
                only=only,
                found=(lambda problem: None) if as_json else progress.say,
                begin=progress.begin,
                advance=progress.advance,
                **more,
            )

    first = last = look(root.made(audio_format), deep=deep, seed=seed)
    if repair and first.problems:
        with resumable():
            redo = repair_problems(
                root.made(audio_format),
                first.problems,
                n_jobs,
                lambda event: None if quiet or as_json or event.detail else print(event, file=sys.stderr),
            )
        last = look(root.made(audio_format), redo)
    if as_json:
        print(json.dumps(_as_json(first, last, repair, seed), indent=4))
    elif not quiet:
        summary = (
            f"{plural(first.files, 'file')}, {first.bytes / 1e9:.2f} GB read in {duration(first.seconds)}"
        )
        if deep:
            summary += f", {first.compared} made again (--seed {seed})"
        if first.differing:
            differ = "differs" if first.differing == 1 else "differ"
            summary += (
                f", {plural(first.differing, 'PCM value')} of these {differ} by one step, which is accepted"
            )
        if first.extra:
            summary += f", {plural(len(first.extra), 'other file')} there"
        summary += f": {_count(first.problems)}"
        if repair and first.problems:
            summary += f", {_count(last.problems)} after the repair"
        print(summary, file=sys.stderr)
    sys.exit(1 if last.problems else 0)


def _count(problems) -> str:
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

    def __init__(self, quiet, most) -> None:
        from collections import Counter

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
        self._most, self._kinds = most, Counter()

    def begin(self, what, total) -> None:
        self._what, self._done, self._total = what, 0, total
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=max(total, 1))

    def advance(self, count) -> None:
        self._bar.update(self._task, advance=count)
        self._done += count  # for the log only: a count lost between two threads does no harm
        if self._log and time.monotonic() - self._spoke >= _LOG_INTERVAL:
            self._spoke = time.monotonic()
            print(
                f"{self._what}: {100 * self._done / max(self._total, 1):.0f} %", file=sys.stderr, flush=True
            )

    def say(self, problem) -> None:
        self._kinds[problem.kind] += 1
        if self._most is None or self._kinds[problem.kind] <= self._most:
            self._print(problem)

    def _print(self, line) -> None:
        if self._bar.disable:
            print(line, flush=True)
        else:
            self._bar.console.print(str(line), markup=False)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()
        for kind, count in self._kinds.items():
            if self._most is not None and count > self._most:
                self._print(f"{kind}: and {count - self._most} more (--all prints them)")
