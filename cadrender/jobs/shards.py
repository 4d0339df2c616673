"""A run's share of the work where several machines take one each, without talking to one another."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cadrender.errors import UsageError
from cadrender.jobs.stem import StemJob


@dataclass(frozen=True)
class Shard:
    """One of `count` shares.

    Attributes
    ----------
    index : int
        Which one, from 1 to `count`.
    count : int
        How many there are.
    """

    index: int
    count: int

    def __str__(self):
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

    def of(self, jobs: Sequence[StemJob]) -> list[StemJob]:
        """The jobs of this share.

        The largest job goes to the share that has least so far, and so on. What is done already plays no
        part, so that every run of the same scenes and songs divides the work in the same way, whenever it
        starts.

        Parameters
        ----------
        jobs : sequence of StemJob
            All there are, complete or not.
        """
        loads = [0] * self.count
        mine = []
        for job in sorted(jobs, key=lambda job: (-job.frame_scenes, job.song, job.stem)):
            least = loads.index(min(loads))
            loads[least] += job.frame_scenes
            if least == self.index - 1:
                mine.append(job)
        return mine
