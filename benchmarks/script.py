"""What the command lines of all scripts share: options, a temporary folder, and where tables go."""

import argparse
import contextlib
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks import machine, markdown


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def parser(
    description: str, repeats: int, tables: bool = False, files: bool = True
) -> argparse.ArgumentParser:
    """A parser with ``--repeats``, ``--folder`` for scripts that need files, ``--write`` for those that make tables."""
    options = argparse.ArgumentParser(description=description, formatter_class=_Help)
    options.add_argument("--repeats", type=int, default=repeats, help="rounds")
    if files:
        options.add_argument(
            "--folder", type=Path, help="where temporary files go, if not to the system's place"
        )
    if tables:
        add_write(options)
    return options


def add_write(options: argparse.ArgumentParser) -> None:
    """Add ``--write``."""
    options.add_argument(
        "--write",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="put the tables into these documents (no FILE: wherever README.md and docs/ have a place for them)",
    )


def parse(
    options: argparse.ArgumentParser, arguments: Sequence[str] | None, **quick: object
) -> argparse.Namespace:
    """Parse a command line and start the log; ``--quick`` changes defaults, which options override."""
    options.add_argument("--quick", action="store_true", help="in small, to see that it works")
    if options.parse_known_args(arguments)[0].quick:
        options.set_defaults(**quick)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("benchmarks").setLevel(logging.INFO)
    return options.parse_args(arguments)


@contextlib.contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A temporary folder for a script."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cadrender-benchmarks-", dir=folder) as temporary:
        yield Path(temporary)


def conditions(folder: Path, module: str, about: str) -> str:
    """One paragraph below a table: date, machine, what was measured, and by which script."""
    day = time.strftime("%Y-%m-%d")
    return f"{day}: {machine.describe(folder)}. {about} Produced by `python -m benchmarks.{module}`."


def publish(blocks: Mapping[str, str], write: Sequence[Path] | None) -> None:
    """Print tables, and insert them into documents: none, some, or (an empty list) all that have a place."""
    print("\n\n".join(blocks.values()))
    if write is not None:
        markdown.write_blocks(write or markdown.documents(), blocks)
