"""``python -m benchmarks.overview``: README's table, picked from the tables of the documentation pages.

Nothing is measured here. Run it with ``--write`` after another script has updated a page.
"""

import argparse
import re
from collections.abc import Sequence

from benchmarks import markdown, script

_CONDITIONS = re.compile(r"^(\d{4}-\d\d-\d\d): (.*?), (\d+) cores?,", re.MULTILINE)


class Page:
    """The tables between two comments of a page."""

    def __init__(self, *names: str):
        self._file = markdown.page_of(names[0])
        self._text = "\n\n".join(markdown.read_block(self._file, name) for name in names)
        self._tables = markdown.read_tables(self._text)

    def cell(self, row: str, column: str) -> str:
        """The cell in the row of this name, in the column whose name matches a regular expression.

        Raises
        ------
        SystemExit
            If no table has it.
        """
        for header, *rows in self._tables:
            columns = [k for k, name in enumerate(header) if re.fullmatch(column, name)]
            for cells in rows:
                if cells[0] == row and columns:
                    return cells[columns[-1]]
        raise SystemExit(f"{self._file}: no table has a row {row!r} with a column {column!r}")

    def conditions(self) -> Sequence[str]:
        """Date, processor, number of cores.

        Raises
        ------
        SystemExit
            If the page does not give them.
        """
        if not (found := _CONDITIONS.search(self._text)):
            raise SystemExit(f"{self._file}: no line gives the date and the machine")
        return found.groups()


def overview() -> str:
    """The table, and the sources of its figures."""
    speed = Page("speed table", "start table")
    parts, mount = Page("on-demand table"), Page("mount table")
    _, _, cores = speed.conditions()
    _, _, workers = parts.conditions()
    ours, challenge = "**cadrender generate**", "the reference: lfilter, pyloudnorm, soundfile"
    copy = "the limit: the same bytes copied with `read` and `write`"
    items, stored = "**`cadrender.Dataset`**", "soundfile: stored WAV"
    any_head = '**`cadrender.Dataset`, `heads="any"`**'
    whole, one, processes = r"the 88 GB set, \d+ cores?", "1 core: ns", r"\d+ process(es)?"
    part, disk, rate = "5 stems, 6 s", "disk for the whole set", "`cp -r`: MB/s"
    rows = [
        [
            f"the 88 GB training set, {cores} cores",
            speed.cell(ours, whole),
            f"{speed.cell(challenge, whole)}: the challenge's way",
        ],
        [
            "one core: ns per frame of a stem and scene",
            speed.cell(ours, one),
            f"{speed.cell(challenge, one)}: the challenge's way; {speed.cell(copy, one)}: copying the bytes",
        ],
        [
            "from the command to the first samples",
            speed.cell("every later run, `-j 1`: the same", "time"),
            f"{speed.cell('first run on a machine: from the command to the first samples', 'time')}: first run",
        ],
        [
            "disk for the whole set",
            parts.cell(items, disk),
            f"{parts.cell(stored, disk)}: stored files",
        ],
        [
            "a part: five stems of 6 s, float32",
            f"{parts.cell(part, re.escape('**cadrender**: nothing stored'))} ms",
            f"{parts.cell(part, 'soundfile: stored WAV')} ms: soundfile, stored WAV",
        ],
        [
            f"training items a second, {workers} processes",
            parts.cell(items, processes),
            f"{parts.cell(stored, processes)}: soundfile, stored WAV",
        ],
        [
            "the same, at any of 144 head positions",
            parts.cell(any_head, processes),
            re.sub(r".*\((.*)\)", r"\1", parts.cell(any_head, disk)),
        ],
        [
            "copying the mounted tree",
            f"{mount.cell('**`cadrender mount`**', rate)} MB/s",
            f"{mount.cell('`cadrender generate`, writing WAV', rate)} MB/s: `generate` writing it",
        ],
    ]
    table = markdown.table(["", "cadrender", "for comparison"], rows)
    speeds, on_demand, last = map(_where, (speed, parts, mount))
    return (
        f"{table}\n\nThe first three rows: {speeds} ([docs/speed.md](docs/speed.md)); the last one: {last}, and the "
        f"others: {on_demand} ([docs/on-demand.md](docs/on-demand.md)). Files in memory; medians."
    )


def _where(page: Page) -> str:
    date, processor, cores = page.conditions()
    return f"{date}, {processor}, {cores} cores"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; insert it into README on request."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    script.add_write(options)
    script.publish({"overview table": overview()}, options.parse_args(arguments).write)


if __name__ == "__main__":
    main()
