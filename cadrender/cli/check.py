"""``cadrender check``: what is wrong with a root, without rendering anything."""

import json
import sys

import click

from cadrender.cli.settings import check_number, jobs_option, settings_options, splits_from
from cadrender.config import SPLITS

# Problems of an area that are shown; all of them with --json.
_SHOWN = 5


@click.command()
@settings_options(music=True)
@click.option(
    "--split", type=click.Choice(SPLITS), multiple=True, help="Only this one; repeatable. All that are there."
)
@jobs_option
@click.option("--headers-only", is_flag=True, help="Do not read the songs' samples.")
@click.option(
    "--tolerance",
    type=float,
    callback=check_number,
    metavar="DB",
    help="How far a mixture may be from the sum of its stems without a remark, in dB of its energy (default: -20).",
)
@click.option(
    "--all", "everything", is_flag=True, help=f"Show everything, not the first {_SHOWN} lines of an area."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing if all is well.")
def command(split, jobs, headers_only, tolerance, everything, as_json, quiet, **options) -> None:
    """Check everything that a root holds, and render nothing.

    Every metadata file is checked against its contract and against what it names in others; every HRIR: rate,
    channels, silence, and that the nearer ear hears earlier and louder; every song: headers, equal lengths, and
    that the mixture is the sum of its stems; every at-mic file that is listed: its header. A mixture that is not the
    sum of its stems, as after a limiter, is no problem but worth a remark.

    Exit status: 0 no problems, 1 something is wrong, 2 wrong usage.
    """
    from cadrender.check import SUM_TOLERANCE, check_root
    from cadrender.pipeline.pool import usable_cpus

    splits = splits_from(split, **options)
    tolerance = SUM_TOLERANCE if tolerance is None else tolerance
    n_jobs = usable_cpus() if jobs in (None, -1) else jobs
    with _Bar(quiet or as_json) as bar:
        areas = check_root(
            splits,
            n_jobs,
            headers_only=headers_only,
            tolerance=tolerance,
            begin=bar.begin,
            advance=bar.advance,
        )
    count = sum(len(area.problems) for area in areas)
    if as_json:
        print(json.dumps(_as_json(splits[0].root, areas, count), indent=4))
    elif count or not quiet:
        _show(areas, count, None if everything else _SHOWN)
    sys.exit(1 if count else 0)


def _as_json(root, areas, count):
    return {
        "root": str(root),
        "problems": count,
        "areas": [
            {
                "area": area.name,
                "checked": area.checked,
                "unit": area.unit,
                "problems": area.problems,
                "remarks": area.remarks,
            }
            for area in areas
        ],
    }


def _show(areas, count, most) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Area", "Checked", "Problems")
    for area in areas:
        verdict = Text(str(len(area.problems)), "bold red") if area.problems else Text("none", "green")
        table.add_row(area.name, f"{area.checked} {area.unit}", verdict)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    for area in areas:
        for lines in (area.problems, [f"remark: {remark}" for remark in area.remarks]):
            for line in lines[:most]:
                console.print(f"{area.name}: {line}", markup=False)
            if most is not None and len(lines) > most:
                console.print(f"{area.name}: and {len(lines) - most} more (--all shows them)", markup=False)
    remarks = sum(len(area.remarks) for area in areas)
    verdict = f"{count or 'no'} problem{'' if count == 1 else 's'}"
    if remarks:
        verdict += f", {remarks} remark{'' if remarks == 1 else 's'}"
    console.print(verdict, style="red" if count else "green")


class _Bar:
    """How much of the songs has been read; nothing where there is no terminal."""

    def __init__(self, quiet) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        terminal = console.is_terminal and console.file.isatty()  # FORCE_COLOR alone makes none
        self._bar = Progress(
            TextColumn("reading songs"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not terminal,
        )
        self._task = None

    def begin(self, frames) -> None:
        self._task = self._bar.add_task("", total=max(1, frames))

    def advance(self, frames) -> None:
        self._bar.advance(self._task, frames)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *exception):
        self._bar.stop()
