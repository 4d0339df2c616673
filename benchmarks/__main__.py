"""``python -m benchmarks``: measure all figures of README.md and docs/, and insert the tables and the plot there.

Each table goes wherever a document has a place for it, from ``<!-- NAME -->`` to ``<!-- /NAME -->``. This takes about
half an hour on an otherwise idle machine. With --quick all scripts run on small inputs and nothing is written.
"""

import argparse
import importlib
from pathlib import Path

from benchmarks import markdown

# Scripts by the tables they make.
TABLES = {
    "table": ("speed table", "stage table", "start table"),
    "on_demand": ("on-demand table", "mount table"),
    "mixer": ("mixer table",),
    "scaling": ("scaling table",),
    # Measures nothing; picks from the output of the others.
    "overview": ("overview table",),
}
# These only print; the first also draws a figure.
OTHERS = ("hrir_lengths", "part_kernels", "block_lengths")


def shown() -> set[str]:
    """The tables for which documents have a place."""
    return {name for document in markdown.documents() for name in markdown.places(document)}


def main() -> None:
    """Run the scripts one after another: nothing else may run meanwhile."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="all scripts in small, nothing is written")
    options.add_argument(
        "--only", nargs="+", choices=(*TABLES, *OTHERS), help="these scripts (default: all that is shown)"
    )
    options.add_argument("--folder", type=Path, help="where temporary files go (default: the system's place)")
    given = options.parse_args()
    places = shown()
    needed = [name for name, tables in TABLES.items() if places & {*tables}] + [*OTHERS[:1]]
    names = given.only or ([*TABLES, *OTHERS] if given.quick else needed)
    for name in names:
        arguments = ["--quick"] if given.quick and name != "overview" else []
        if given.folder and name not in ("block_lengths", "overview"):
            arguments += ["--folder", str(given.folder)]
        if not given.quick and name in TABLES:
            arguments.append("--write")
        print(f"\n===== benchmarks.{name} {' '.join(arguments)}\n", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(arguments)


if __name__ == "__main__":
    main()
