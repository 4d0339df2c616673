"""Blocks: their bytes, in whatever order and by whomever they are read, and their memory."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cadrender.config import load_settings
from cadrender.dsp.parts import helpers
from cadrender.errors import AudioError, CadrenderError
from cadrender.mount import trees_of
from cadrender.mount.blocks import BLOCK, BlockCache, ChangedError, MountedFile, Reader, look_at, state_of
from tests.roots import SONGS, tree


@pytest.fixture
def files(root):
    """All files of the tree, as opened."""
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


def read(reader, offset, size):
    """Some bytes, read into memory with other content."""
    memory = np.full(size, 0xA5, np.uint8)
    count = reader.read(memory, offset)
    assert (memory[count:] == 0xA5).all()
    return memory[:count].tobytes()


def blocks_of(file):
    return -(-file.size // BLOCK)


@pytest.mark.parametrize("ordered", [(0, 0), (0, 1), (3, 5), (0, 99)])
def test_pieces_of_any_size(files, stored, ordered):
    """Whether some blocks were queued ahead or not."""
    cache = BlockCache(64 << 20, 2)
    rng = random.Random(1)
    for name in rng.sample(sorted(files), 6):
        reader = Reader(files[name], cache)
        cache.ahead(files[name], range(ordered[0], min(ordered[1], blocks_of(files[name]))))
        size = len(stored[name])
        places = [
            (0, 44),
            (0, 45),
            (40, 8),
            (BLOCK - 1, 2),
            (size - 3, 10),
            (size, 5),
            (0, size),
            (0, size + 9),
        ]
        places += [
            (rng.randrange(size), rng.randrange(1, most)) for most in (3 * BLOCK, size) for _ in range(15)
        ]
        for offset, count in places:
            assert read(reader, offset, count) == stored[name][offset : offset + count]
    cache.close()


def test_threads_share_blocks_and_each_is_rendered_once(files, stored):
    cache = BlockCache(256 << 20, 2)
    names = sorted(files)

    def read_all(seed):
        for name in random.Random(seed).sample(names, len(names)):
            reader = Reader(files[name], cache)
            cache.ahead(files[name], range(blocks_of(files[name])))
            for offset in range(0, len(stored[name]), 100_000):
                assert read(reader, offset, 100_000) == stored[name][offset : offset + 100_000]
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_all, range(8)))
    assert cache.filled == 0
    assert cache.rendered == sum(blocks_of(file) for file in files.values())
    cache.close()


@pytest.mark.parametrize("limit", [BLOCK, 5 * BLOCK, 40 * BLOCK])
def test_no_more_is_kept_than_allowed(files, stored, limit):
    cache = BlockCache(limit, 2)
    kept = 0
    for name, file in files.items():
        reader = Reader(file, cache)
        for offset in range(0, file.size, BLOCK // 2):
            cache.ahead(file, range(offset // BLOCK, min(offset // BLOCK + 3, blocks_of(file))))
            assert read(reader, offset, BLOCK // 2) == stored[name][offset : offset + BLOCK // 2]
            assert cache.bytes <= limit
            kept = max(kept, cache.bytes)
    assert kept > limit // 2
    cache.clear()
    assert cache.bytes == 0
    cache.close()


@pytest.mark.parametrize("limit", [BLOCK, 3 * BLOCK, 24 * BLOCK])
def test_many_readers_of_a_small_cache(files, stored, limit):
    """Blocks are constantly queued, dropped, rendered, evicted and queued again; every reader gets its bytes."""
    cache = BlockCache(limit, 2)
    names = sorted(files)

    def read_some(seed):
        rng = random.Random(seed)
        for _ in range(30):
            name = rng.choice(names)
            reader, at = Reader(files[name], cache), rng.randrange(files[name].size)
            for _ in range(rng.randrange(1, 8)):
                size = rng.choice((100, BLOCK // 2, 4 * BLOCK))
                first = at // BLOCK + rng.randrange(3)
                cache.ahead(files[name], range(first, min(first + rng.randrange(3), blocks_of(files[name]))))
                assert read(reader, at, size) == stored[name][at : at + size]
                at += size
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_some, range(8)))
    cache.close()


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_reads_from_front_to_back_finds_blocks_ready(files, stored):
    name, file = max(files.items(), key=lambda item: item[1].size)
    cache = BlockCache(256 << 20, 2)
    reader = Reader(file, cache)
    assert blocks_of(file) >= 8
    for block in (0, 2, 1, 3):  # requests may overtake each other
        assert read(reader, block * BLOCK, BLOCK) == stored[name][block * BLOCK : (block + 1) * BLOCK]
    wait_until(lambda: cache.rendered >= 2)
    assert (cache.found, cache.filled) == (0, 4 * BLOCK)
    assert read(reader, 4 * BLOCK, BLOCK) == stored[name][4 * BLOCK : 5 * BLOCK]
    assert (cache.found, cache.filled) == (1, 4 * BLOCK)
    cache.close()


def test_nothing_is_rendered_ahead_of_large_requests(files, stored):
    """A program's single read may become many; the kernel reads ahead itself."""
    name, file = max(files.items(), key=lambda item: item[1].size)
    cache = BlockCache(256 << 20, 2)
    reader = Reader(file, cache)
    for offset in range(0, file.size, 4 * BLOCK):
        assert read(reader, offset, 4 * BLOCK) == stored[name][offset : offset + 4 * BLOCK]
    assert reader.whole
    cache.close()
    assert (cache.rendered, cache.filled) == (0, file.size)


def test_who_jumps_does_not(files):
    file = max(files.values(), key=lambda file: file.size)
    cache = BlockCache(256 << 20, 2)
    reader = Reader(file, cache)
    for block in (8, 1, 12, 4, 13, 3, 9, 0):
        read(reader, block * BLOCK, 10)
    cache.close()
    assert (cache.rendered, cache.filled) == (0, 80)


def test_blocks_ordered_together_do_not_share_an_error(files, stored):
    name, file = max(files.items(), key=lambda item: item[1].size)
    cache = BlockCache(64 << 20, 2)

    def render(memory, offset):
        if offset <= 5 * BLOCK < offset + len(memory):
            raise AudioError("damaged")
        MountedFile.render(file, memory, offset)

    file.render = render
    cache.ahead(file, range(8))
    reader = Reader(file, cache)
    for block in range(8):
        if block == 5:
            with pytest.raises(AudioError, match="damaged"):
                read(reader, block * BLOCK, BLOCK)
        else:
            assert read(reader, block * BLOCK, BLOCK) == stored[name][block * BLOCK : (block + 1) * BLOCK]
    cache.close()


def test_a_damaged_file_is_tried_again(files, root, stored):
    """Errors are not cached: what has been repaired can be read."""
    name = next(name for name in files if SONGS[0] in name and "bass" in name)
    source = root / f"audio/music/train/{SONGS[0]}/bass.wav"
    content, times = source.read_bytes(), source.stat()
    source.write_bytes(content[:1000])
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    cut = MountedFile(files[name].output, state_of(files[name].output.signal))
    cache = BlockCache(1 << 20, 1)
    for ordered in (0, 0, 2, 2):
        cache.ahead(cut, range(ordered))
        with pytest.raises(CadrenderError, match=r"bass\.wav: "):
            read(Reader(cut, cache), 0, 2 * BLOCK)
    for size in (BLOCK, 8 * BLOCK):
        with pytest.raises(ChangedError, match="changed while files made from it are open"):
            read(Reader(files[name], cache), 0, size)
    source.write_bytes(content)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert look_at(source) == (source.stat().st_ino, len(content), times.st_mtime_ns)
    for ordered in (0, 2):
        cache.ahead(cut, range(ordered))
        assert read(Reader(files[name], cache), 0, 2 * BLOCK) == stored[name][: 2 * BLOCK]
    cache.close()


def test_who_reads_through_a_mount_renders_alone_again_afterwards(files, stored):
    name, file = next(iter(files.items()))
    cache = BlockCache(1 << 20, 2)
    assert read(Reader(file, cache), 0, file.size) == stored[name]
    cache.close()
    assert helpers.get() is None
