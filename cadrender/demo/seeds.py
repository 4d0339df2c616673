"""The demo's random generators: one per item, by name, so that order does not matter."""

import hashlib

import numpy as np


def generator(*names: str) -> np.random.Generator:
    """A generator that depends only on the names, not on what else was drawn."""
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
