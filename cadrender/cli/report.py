"""``cadrender report``: a root on one page, to be looked at and listened to."""

import shlex
import sys
from pathlib import Path

import click

from cadrender.cli.settings import ONE_SPLIT, PATH, Given, quiet_option, settings_options


@click.command()
@settings_options(split=ONE_SPLIT, music=True)
@click.option(
    "-o",
    "--output",
    type=PATH,
    help="The page to write; default: cadrender-report.SPLIT.html in the root.",
)
@click.option(
    "--scenes",
    multiple=True,
    metavar="PATTERN",
    help="Take examples from these scenes, songs or samples, such as 'scene_1000*'; repeatable.",
)
@click.option("--examples", type=click.IntRange(0), default=4, show_default=True, help="Scenes to listen to.")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 60),
    default=5,
    show_default=True,
    help="Length of each example, in seconds.",
)
@click.option("--force", is_flag=True, help="Replace a file that is not a report.")
@quiet_option
def command(
    given: Given,
    output: Path | None,
    scenes: tuple[str, ...],
    examples: int,
    seconds: float,
    force: bool,
    quiet: bool,
) -> None:
    """Write a report: one HTML page with pictures and sound that needs no network.

    It shows the heads, the scenes, the listeners, loudness and clipping, plays a few seconds of songs against
    what the microphones pick up, and lists what is missing. The root need not be rendered or complete.
    """
    settings = given.settings()
    from cadrender.report import write_report
    from cadrender.report.wording import counted, size

    terminal = not quiet and sys.stderr.isatty()

    def tell(what: str) -> None:
        if terminal:  # each overwrites the last
            click.echo(f"\r\033[K{what}", err=True, nl=False)

    try:
        made = write_report(
            settings,
            output,
            scenes=scenes,
            examples=examples,
            seconds=seconds,
            force=force,
            command=shlex.join(["cadrender", *sys.argv[1:]]),
            advance=lambda what: tell(f"{what} ..."),
        )
    finally:
        tell("")
    if quiet:
        return
    for problem in made.problems:
        click.echo(f"{problem.what}{f' ({problem.remedy})' if problem.remedy else ''}", err=True)
    click.echo(
        f"{made.file}: {size(made.bytes)}, {counted(made.scenes, 'scene')} to listen to, "
        f"{made.complete} of {counted(made.samples, 'sample')} rendered"
    )
