"""Blocks: their bytes, whoever asks for them in which order, and the memory that they take."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cadrender.config import load_settings
from cadrender.errors import CadrenderError
from cadrender.mount import trees_of
from cadrender.mount.blocks import BLOCK, BlockCache, ChangedError, MountedFile, Reader, look_at, state_of
from tests.roots import SONGS, tree


@pytest.fixture
def files(root):
    """All files of the tree, as they are opened."""
    (catalogue,) = trees_of([load_settings(root=root)])[0].catalogues
    outputs = [
        catalogue.find(f"train/{folder}{name}")
        for folder in catalogue.names("train")
        for name in catalogue.names(f"train/{folder[:-1]}")
    ]
    return {output.name: MountedFile(output, state_of(output.signal)) for output in outputs}


@pytest.fixture
def stored(generated):
    return tree(generated / "audio/at_mic_music")


def test_pieces_of_any_size(files, stored):
    cache = BlockCache(64 << 20, 2)
    rng = random.Random(1)
    for name in rng.sample(sorted(files), 6):
        reader = Reader(files[name], cache)
        places = [
            (0, 44),
            (0, 45),
            (40, 8),
            (BLOCK - 1, 2),
            (len(stored[name]) - 3, 10),
            (len(stored[name]), 5),
        ]
        places += [(rng.randrange(len(stored[name])), rng.randrange(3 * BLOCK)) for _ in range(20)]
        for offset, size in places:
            read = b"".join(piece.data for piece in reader.read(offset, size))
            assert read == stored[name][offset : offset + size]
    cache.close()


def test_threads_share_blocks_and_each_is_rendered_once(files, stored):
    cache = BlockCache(256 << 20, 2)
    names = sorted(files)

    def read(seed):
        rng = random.Random(seed)
        for name in rng.sample(names, len(names)):
            reader = Reader(files[name], cache)
            for offset in range(0, len(stored[name]), 100_000):
                assert (
                    b"".join(piece.data for piece in reader.read(offset, 100_000))
                    == stored[name][offset : offset + 100_000]
                )
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert cache.rendered == sum(-(-file.size // BLOCK) for file in files.values())
    cache.close()


@pytest.mark.parametrize("limit", [BLOCK, 5 * BLOCK])
def test_no_more_is_kept_than_allowed(files, stored, limit):
    cache = BlockCache(limit, 2)
    for name, file in files.items():
        reader = Reader(file, cache)
        for offset in range(0, file.size, BLOCK // 2):
            assert (
                b"".join(piece.data for piece in reader.read(offset, BLOCK // 2))
                == stored[name][offset : offset + BLOCK // 2]
            )
            assert cache.bytes <= limit
    cache.clear()
    assert cache.bytes == 0
    cache.close()


@pytest.mark.parametrize("limit", [BLOCK, 3 * BLOCK])
def test_many_readers_of_a_small_cache(files, stored, limit):
    """Blocks are ordered, left, rendered, evicted and ordered again all the time; every reader gets its bytes."""
    cache = BlockCache(limit, 2)
    names = sorted(files)

    def read(seed):
        rng = random.Random(seed)
        for _ in range(30):
            name = rng.choice(names)
            reader, at = Reader(files[name], cache), rng.randrange(files[name].size)
            for _ in range(rng.randrange(1, 8)):
                size = rng.choice((100, BLOCK // 2, 4 * BLOCK))
                assert b"".join(piece.data for piece in reader.read(at, size)) == stored[name][at : at + size]
                at += size
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    cache.close()


def test_who_reads_from_front_to_back_finds_blocks_ready(files):
    file = max(files.values(), key=lambda file: file.size)
    cache = BlockCache(256 << 20, 2)
    reader = Reader(file, cache)
    blocks = -(-file.size // BLOCK)
    assert blocks >= 4
    reader.read(0, BLOCK)
    reader.read(BLOCK, BLOCK)
    deadline = time.monotonic() + 30
    while cache.rendered < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert cache.found == 0
    reader.read(2 * BLOCK, BLOCK)
    assert cache.found == 1
    cache.close()


def test_who_jumps_does_not(files):
    file = max(files.values(), key=lambda file: file.size)
    cache = BlockCache(256 << 20, 2)
    reader = Reader(file, cache)
    for block in (3, 0, 2):
        reader.read(block * BLOCK, 10)
    cache.close()
    assert cache.rendered == 3


def test_a_damaged_file_is_tried_again(files, root):
    """An error is not kept: what has been repaired can be read."""
    name = next(name for name in files if SONGS[0] in name and "bass" in name)
    source = root / f"audio/music/train/{SONGS[0]}/bass.wav"
    content, times = source.read_bytes(), source.stat()
    source.write_bytes(content[:1000])
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    cut = MountedFile(files[name].output, state_of(files[name].output.signal))
    cache = BlockCache(1 << 20, 1)
    for _ in range(2):
        with pytest.raises(CadrenderError, match=r"bass\.wav: "):
            cache.get(cut, 0, 1)
    with pytest.raises(ChangedError, match="changed while files made from it are open"):
        cache.get(files[name], 0, 0)
    source.write_bytes(content)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look_at(source) == (source.stat().st_ino, len(content), times.st_mtime_ns)
    assert isinstance(cache.get(files[name], 0, 0)[0], np.ndarray)
    cache.close()
