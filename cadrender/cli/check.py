"""``cadrender check``: what is wrong with a root, without rendering anything."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cadrender.cli.settings import (
    Given,
    check_number,
    jobs_option,
    json_option,
    quiet_option,
    settings_options,
)
from cadrender.wording import plural

if TYPE_CHECKING:
    from cadrender.check import Area

# Problems shown of an area.
_SHOWN = 5


@click.command()
@settings_options(split="Only this split; repeatable. Default: all that exist.", music=True)
@jobs_option
@click.option("--headers-only", is_flag=True, help="Do not read the songs' samples.")
@click.option(
    "--tolerance",
    type=float,
    callback=check_number,
    metavar="DB",
    help="How far a mixture may be from the sum of its stems without a remark, in dB of its energy; default: -20.",
)
@click.option(
    "--all", "everything", is_flag=True, help=f"Show everything, not the first {_SHOWN} lines of an area."
)
@json_option
@quiet_option
def command(
    given: Given,
    jobs: int,
    headers_only: bool,
    tolerance: float | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check everything that a root holds, and render nothing.

    Metadata files: their contract, and whether what they refer to exists. HRIRs: rate, channels, silence, and that
    the nearer ear receives sound earlier and louder. Songs: headers, equal lengths, and that the mixture is the sum
    of its stems. Listed at-mic files: their headers. A mixture that is not the sum of its stems, as after a limiter,
    is not a problem but is worth a remark.

    Exit status: 0 no problems, 1 something is wrong, 2 wrong usage.
    """
    from cadrender.check import SUM_TOLERANCE, check_root
    from cadrender.cli.progress import StageProgress

    splits = given.every_split()
    with StageProgress(quiet or as_json) as progress:
        areas = check_root(
            splits,
            jobs,
            headers_only=headers_only,
            tolerance=SUM_TOLERANCE if tolerance is None else tolerance,
            begin=lambda frames: progress.begin("reading songs", frames),
            advance=progress.advance,
        )
    count = sum(len(area.problems) for area in areas)
    if as_json:
        print(json.dumps(_as_json(splits[0].root, areas, count), indent=4))
    elif count or not quiet:
        _show(areas, count, None if everything else _SHOWN)
    sys.exit(1 if count else 0)


def _as_json(root: Path, areas: Sequence["Area"], count: int) -> dict[str, Any]:
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


def _show(areas: Sequence["Area"], count: int, most: int | None) -> None:
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
    result = plural(count, "problem") if count else "no problems"
    if remarks:
        result += f", {plural(remarks, 'remark')}"
    console.print(result, style="red" if count else "green")
