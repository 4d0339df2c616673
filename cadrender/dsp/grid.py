"""How a signal is cut into blocks for fast convolution, of whole stems and of parts alike."""

from typing import NamedTuple


class Grid(NamedTuple):
    """Equal blocks.

    Attributes
    ----------
    length : int
        Frames of a transform.
    block : int
        New frames per block; neighbours overlap in the others.
    """

    length: int
    block: int

    @property
    def overlap(self) -> int:
        """Frames that a block shares with its neighbour."""
        return self.length - self.block

    def blocks(self, frames: int) -> int:
        """Number of blocks needed for ``frames``."""
        return -(-frames // self.block)
