"""Tables in Markdown, and the places in a document where scripts put them."""

import re
from collections.abc import Sequence
from pathlib import Path


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, the columns after the first aligned to the right."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, rule, *rows])


def replace_block(file: Path, name: str, text: str) -> bool:
    """Put ``text`` between ``<!-- NAME -->`` and ``<!-- /NAME -->``; tell whether the file has such a place."""
    document = file.read_text(encoding="utf-8")
    place = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    changed, count = place.subn(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", document)
    if count:
        file.write_text(changed, encoding="utf-8")
    return bool(count)


def write_blocks(files: Sequence[Path], blocks: dict[str, str]) -> None:
    """Put every block into the files that have a place for it.

    Raises
    ------
    SystemExit
        If a file has a place for none of them.
    """
    for file in files:
        if not any([replace_block(file, name, text) for name, text in blocks.items()]):
            places = " or ".join(f"<!-- {name} -->" for name in blocks)
            raise SystemExit(f"{file}: has no place for these tables: a line {places} marks it")
