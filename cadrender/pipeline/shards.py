"""Dividing the work among several machines that do not communicate."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cadrender.catalogue.output import Batch
from cadrender.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` shares.

    Attributes
    ----------
    index : int
        Its number, from 1 to `count`.
    count : int
        The number of shares.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``I/N``.

        Raises
        ------
        UsageError
            Unless 1 <= I <= N.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"--shard {text!r} is not of the form I/N with I from 1 to N, such as 3/8")
        return cls(int(match[1]), int(match[2]))

    def of(self, batches: Sequence[Batch], by: Callable[[Batch], str] | None = None) -> list[Batch]:
        """The batches of this share.

        The largest group goes to the share with the least work so far, and so on. Complete files count too, so that
        every run of the same scenes and songs divides the work alike, whenever it starts.

        Parameters
        ----------
        batches : sequence of Batch
            All of them, complete or not.
        by : callable, optional
            A key that keeps batches together; default: each batch by itself.
        """
        groups: dict[Any, list[Batch]] = {}
        for batch in batches:
            groups.setdefault(by(batch) if by else (batch.song, batch.name), []).append(batch)
        costs = {key: sum(batch.frame_scenes for batch in group) for key, group in groups.items()}
        loads = [0] * self.count
        mine = []
        for key in sorted(groups, key=lambda key: (-costs[key], key)):
            least = loads.index(min(loads))
            loads[least] += costs[key]
            if least == self.index - 1:
                mine += groups[key]
        return mine

    def songs(self, batches: Sequence[Batch]) -> set[str]:
        """The songs of this share if the batches of a song stay together."""
        return {batch.song for batch in self.of(batches, by=lambda batch: batch.song)}
