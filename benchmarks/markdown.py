"""Markdown tables, and the documents that show them.

The documentation pages hold the tables, each between two comments that name it; README has an overview picked from
those pages (:mod:`benchmarks.overview`), so that no figure has two values.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

HOME = Path(__file__).parent.parent
README = HOME / "README.md"
_PLACE = re.compile(r"^<!-- ([\w-]+ table) -->$", re.MULTILINE)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, with all columns but the first right-aligned."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def places(document: Path) -> list[str]:
    """The names of the tables for which a document has a place: ``<!-- NAME -->`` to ``<!-- /NAME -->``."""
    return _PLACE.findall(document.read_text(encoding="utf-8"))


def documents() -> list[Path]:
    """README and the pages under ``docs/`` that have a place for a table."""
    pages = [README, *sorted((HOME / "docs").rglob("*.md"))]
    return [page for page in pages if places(page)]


def page_of(name: str) -> Path:
    """The document that shows a table.

    Raises
    ------
    SystemExit
        If none does.
    """
    for document in documents():
        if name in places(document):
            return document
    raise SystemExit(f"no place for the {name}: a line <!-- {name} --> marks it")


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {re.escape(name)} -->\n)(.*?)(<!-- /{re.escape(name)} -->)", re.DOTALL)


def read_block(file: Path, name: str) -> str:
    """The text between ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Raises
    ------
    SystemExit
        If the file has no such place.
    """
    if not (found := _block(name).search(file.read_text(encoding="utf-8"))):
        raise SystemExit(f"{file}: no <!-- {name} -->")
    return found[2].strip()


def read_tables(text: str) -> list[list[list[str]]]:
    """The tables in a text as rows of cells, header first, without the rule under it."""
    found = []
    for lines in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def _between(text: str, found: re.Match[str]) -> str:
    return f"{found[1]}\n{text}\n\n{found[3]}"


def write_blocks(files: Sequence[Path], blocks: Mapping[str, str]) -> None:
    """Insert every block into those files that have a place for it.

    Raises
    ------
    SystemExit
        If a block has no place in any of them; the others are written.
    """
    homeless = set(blocks)
    for file in files:
        document = file.read_text(encoding="utf-8")
        for name in blocks.keys() & set(places(file)):
            document = _block(name).sub(partial(_between, blocks[name]), document)
            homeless.discard(name)
        file.write_text(document, encoding="utf-8")
    if homeless:
        marks = ", ".join(f"<!-- {name} -->" for name in sorted(homeless))
        looked = ", ".join(str(file) for file in files)
        raise SystemExit(f"{looked}: no place for some tables: a line {marks} marks it")
