"""Damage done to bytes, the same for the same seed."""

import random
import struct

INTERESTING = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)


def mutated(content: bytes, seed: int, header: int = 200) -> bytes:
    """Damage `content` in one to four ways, mostly within its first `header` bytes."""
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(max(1, min(header, len(data)) if rng.random() < 0.8 else len(data)))
        way = rng.randrange(8)
        if not data:
            data += rng.randbytes(rng.randrange(64))
        elif way == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[place] = rng.randrange(256)
        elif way == 2:
            data[place : place + 4] = struct.pack("<I", rng.choice(INTERESTING))
        elif way == 3:
            data[place : place + 4] = struct.pack(">I", rng.choice(INTERESTING))
        elif way == 4:
            data[place : place + 2] = struct.pack("<H", rng.choice(INTERESTING) & 0xFFFF)
        elif way == 5:
            del data[rng.randrange(len(data)) :]
        elif way == 6:
            del data[place : place + rng.randrange(1, 40)]
        else:
            data[place:place] = rng.randbytes(rng.randrange(1, 40))
    return bytes(data)
