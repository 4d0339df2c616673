"""Gains: by how many decibels each stem is turned up or down (``gains.json``); section 5 of ``docs/contract.md``."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cadrender.errors import UsageError
from cadrender.metadata.contract import (
    check_name,
    check_number,
    check_object,
    collecting,
    is_safe_name,
    read_entries,
    shown,
)
from cadrender.stems import VDBO

STEPS = (-10, -6, -3, 3, 6, 10)
_MOST_GAINS = 100_000


def read_gains(file: Path, problems: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Read the gains in dB, by id and then by stem, in file order.

    The numbers are int or float, as the file has them.

    Parameters
    ----------
    file : pathlib.Path
    problems : list of str, optional
        If given, problems with single entries are appended here instead of raised, and the entries left out; the
        same in all readers of this package.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    gains: dict[str, dict[str, float]] = {}
    stems: set[str] = set()  # names that have been checked
    for name, item in read_entries(file, "gain", problems).items():
        if isinstance(item, dict) and item.keys() <= stems and all(map(_is_plain, item.values())):
            gains[name] = item
            continue
        what = f"gain {shown(name)}"
        with collecting(problems):
            gains[name] = {
                check_name(stem, file, f"{what}: stem"): check_number(value, file, f"{what}: {shown(stem)}")
                for stem, value in check_object(item, file, what).items()
            }
            stems |= gains[name].keys()
    return gains


def _is_plain(value: object) -> bool:
    """Whether a value passes :func:`check_number` for certain; the list has thousands."""
    return type(value) in (int, float) and -1e300 < value < 1e300  # type: ignore[operator]


def build_gains(stems: Sequence[str] = VDBO, steps: Sequence[float] = STEPS) -> dict[str, dict[str, float]]:
    """Build every combination of steps for one stem, two stems, ... up to all but one.

    See section 5 of ``docs/contract.md``.

    Parameters
    ----------
    stems : sequence of str
        Two or more names.
    steps : sequence of numbers
        In dB; none of them 0, which changes nothing.

    Raises
    ------
    UsageError
        For fewer than two stems, repeated or unsafe names, steps that are repeated, zero or not finite, or more than
        100 000 combinations.
    """
    if len(stems) < 2 or len(set(stems)) < len(stems) or not all(map(is_safe_name, stems)):
        raise UsageError(f"stems {shown(', '.join(stems))}: give two or more different names of files")
    if not steps or len(set(steps)) < len(steps) or not all(step and math.isfinite(step) for step in steps):
        raise UsageError(f"steps {shown(list(steps))}: give different numbers of dB, none of them 0")
    count = sum(math.comb(len(stems), k) * len(steps) ** k for k in range(len(stems)))
    if count > _MOST_GAINS:
        raise UsageError(
            f"{len(stems)} stems and {len(steps)} steps make {count} gains; at most {_MOST_GAINS}"
        )
    changes = (
        dict(zip(changed, values, strict=True))
        for size in range(len(stems))
        for changed in itertools.combinations(stems, size)
        for values in itertools.product(steps, repeat=size)
    )
    return {
        f"gain_{number:04d}": {stem: change.get(stem, 0) for stem in stems}
        for number, change in enumerate(changes, 1)
    }


def gains_json(gains: Mapping[str, Mapping[str, float]]) -> str:
    """Write gains as JSON text, in the layout of the distributed ``gains.json``."""
    return json.dumps(gains, indent=4)
