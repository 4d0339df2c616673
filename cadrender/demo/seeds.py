"""The demo's random generators: one for each thing made, told apart by name, so that order is no matter."""

import hashlib

import numpy as np


def generator(*names):
    """Return a NumPy generator that depends on the names alone, never on what was drawn elsewhere."""
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
