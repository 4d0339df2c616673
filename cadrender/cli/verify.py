"""``cadrender verify``: proof that what was made is what it should be."""

import json
import random
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cadrender.cli.settings import (
    ONE_SPLIT,
    Given,
    format_options,
    jobs_option,
    json_option,
    quiet_option,
    settings_options,
)

if TYPE_CHECKING:
    from cadrender.pipeline.events import Event
    from cadrender.pipeline.verify import Problem, Verdict
    from cadrender.store import AudioFormat

# Problems printed of each kind.
_SHOWN = 50


def _percentage(text: str) -> float:
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 100.0:
        raise click.BadParameter(f"{text!r} is not a percentage from 0 to 100.")
    return number


@click.command()
@settings_options(
    split=ONE_SPLIT,
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
    "--deep",
    metavar="N%",
    type=_percentage,
    default="0",
    help="Make N% of the files again and compare the samples.",
)
@click.option("--seed", type=int, help="Seed of the choice of these files; default: random.")
@click.option("--no-sources", is_flag=True, help="Do not read the songs and HRIRs.")
@click.option("--repair", is_flag=True, help="Make damaged and outdated files again.")
@click.option(
    "--all", "everything", is_flag=True, help=f"Print all problems, not the first {_SHOWN} of a kind."
)
@json_option
@quiet_option
def command(
    given: Given,
    jobs: int,
    audio_format: "AudioFormat | None",
    deep: float,
    seed: int | None,
    no_sources: bool,
    repair: bool,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Prove that what was made of a split is whole and up to date.

    At-mic files, rebalanced and amplified targets, submissions and excerpts' stems are read and compared with their
    manifests, and so are the songs and HRIRs that they were made from. Each problem is one line.

    Exit status: 0 all is as it should be (or has been repaired), 1 problems, 2 wrong usage or bad metadata.
    """
    settings = given.settings()
    from cadrender.cli.progress import StageProgress
    from cadrender.cli.running import resumable
    from cadrender.pipeline.verify import repair as repair_problems
    from cadrender.pipeline.verify import verify
    from cadrender.root import Root
    from cadrender.wording import duration, plural

    seed = random.randrange(10**6) if seed is None else seed
    root = Root(settings)

    def look(deep: float = 0.0, only: Collection[Path] | None = None) -> "Verdict":
        kinds: Counter[str] = Counter()

        def found(problem: "Problem") -> None:
            kinds[problem.kind] += 1
            if not as_json and (everything or kinds[problem.kind] <= _SHOWN):
                progress.say(str(problem))

        with StageProgress(quiet or as_json) as progress:
            verdict = verify(
                root.made(audio_format),
                jobs,
                sources=not no_sources,
                deep=deep,
                seed=seed,
                only=only,
                found=found,
                begin=progress.begin,
                advance=progress.advance,
            )
        for kind, count in kinds.items():
            if not as_json and not everything and count > _SHOWN:
                progress.say(f"{kind}: and {count - _SHOWN} more (--all prints them)")
        return verdict

    def tell(event: "Event") -> None:
        if not (quiet or as_json or event.detail):
            print(event, file=sys.stderr)

    first = last = look(deep)
    if repair:
        with resumable():
            redo = repair_problems(root.made(audio_format), first.problems, jobs, tell)
        if first.problems:
            last = look(only=redo)
            left = [problem for problem in first.problems if problem.kind in ("damaged", "absent")]
            last.problems += [problem for problem in left if problem not in last.problems]
    if as_json:
        print(json.dumps(_as_json(first, last, repair, seed), indent=4))
    elif not quiet:
        summary = (
            f"{plural(first.files, 'file')}, {first.bytes / 1e9:.2f} GB read in {duration(first.seconds)}"
        )
        if deep:
            summary += f", {first.compared} made again (--seed {seed})"
        if first.differing:
            summary += f", {plural(first.differing, 'PCM value')} of these one step off, which is accepted"
        if first.extra:
            summary += f", {plural(len(first.extra), 'other file')} there"
        summary += f": {_count(first.problems)}"
        if repair and first.problems:
            summary += f", {_count(last.problems)} after the repair"
        print(summary, file=sys.stderr)
    sys.exit(1 if last.problems else 0)


def _count(problems: Sequence["Problem"]) -> str:
    from cadrender.wording import plural

    return plural(len(problems), "problem") if problems else "no problems"


def _as_json(first: "Verdict", last: "Verdict", repair: bool, seed: int) -> dict[str, Any]:
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


def _problem(problem: "Problem") -> dict[str, Any]:
    return {"kind": problem.kind, "file": str(problem.file), "text": problem.text, "files": len(problem.redo)}
