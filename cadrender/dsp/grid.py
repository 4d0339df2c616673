"""How a signal is cut into blocks for a fast convolution: one value for whole stems and for parts of them."""

from typing import NamedTuple


class Grid(NamedTuple):
    """Equal blocks.

    Attributes
    ----------
    length : int
        Frames of a transform.
    block : int
        New frames of each block; neighbours overlap in the others.
    """

    length: int
    block: int

    @property
    def overlap(self) -> int:
        """Frames that a block shares with its neighbour."""
        return self.length - self.block

    def blocks(self, frames: int) -> int:
        """How many blocks some frames need."""
        return -(-frames // self.block)
