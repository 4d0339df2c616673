"""Tables in Markdown, and the places in documents where scripts put them.

The pages of the documentation hold the tables, each between two comments that name it; README has an overview that is
picked from those pages (:mod:`benchmarks.overview`), so that no figure has two values.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_REPOSITORY = Path(__file__).parent.parent

README = _REPOSITORY / "README.md"
SPEED = _REPOSITORY / "docs" / "speed.md"
ON_DEMAND = _REPOSITORY / "docs" / "on-demand.md"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, the columns after the first aligned to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def read_tables(text: str) -> list[list[list[str]]]:
    """The tables of a text as rows of cells, the header first, without the rule under it."""
    found = []
    for lines in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def _place(name):
    return re.compile(rf"(<!-- {re.escape(name)} -->\n)(.*?)(<!-- /{re.escape(name)} -->)", re.DOTALL)


def read_block(file: Path, name: str) -> str:
    """What stands between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises
    ------
    SystemExit
        If the file has no such place.
    """
    if not (found := _place(name).search(file.read_text(encoding="utf-8"))):
        raise SystemExit(f"{file}: no <!-- {name} -->")
    return found[2].strip()


def replace_block(file: Path, name: str, text: str) -> bool:
    """Put ``text`` between ``<!-- NAME -->`` and ``<!-- /NAME -->``; tell whether the file has such a place."""
    document = file.read_text(encoding="utf-8")
    changed, count = _place(name).subn(lambda found: f"{found[1]}\n{text}\n\n{found[3]}", document)
    if count:
        file.write_text(changed, encoding="utf-8")
    return bool(count)


def add_write_option(options: argparse.ArgumentParser, page: Path) -> None:
    """Add ``--write [FILE ...]``: documents that get the tables, by default a page of the documentation."""
    options.add_argument(
        "--write",
        type=Path,
        nargs="*",
        metavar="FILE",
        help=f"put the tables into these documents (default: {page.relative_to(_REPOSITORY)})",
    )


def write_blocks(files: Sequence[Path] | None, page: Path, blocks: Mapping[str, str]) -> None:
    """Put every block into the files that have a place for it.

    Parameters
    ----------
    files : sequence of pathlib.Path, optional
        As ``--write`` gives them: nothing is written without it, and ``page`` if it names no file.
    page : pathlib.Path
    blocks : mapping of str to str
        Tables by name.

    Raises
    ------
    SystemExit
        If a file has a place for none of them.
    """
    if files is None:
        return
    for file in files or [page]:
        if not any([replace_block(file, name, text) for name, text in blocks.items()]):
            places = " or ".join(f"<!-- {name} -->" for name in blocks)
            raise SystemExit(f"{file}: has no place for these tables: a line {places} marks it")
