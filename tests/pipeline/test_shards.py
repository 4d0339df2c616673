"""Shards: every batch in exactly one of them, the same whenever it is asked, and about as much in each."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.catalogue.output import Batch, Output
from cadrender.errors import UsageError
from cadrender.pipeline.shards import Shard
from cadrender.signals.at_mic import AtMic
from cadrender.stems import STEMS
from cadrender.store.manifest import Manifest
from tests.roots import POSITIONS, SONGS, invoke, leftovers, make_root, start, tree


def batches_of(lengths):
    manifest = Manifest(Path("manifest"), Path())
    return [
        Batch(f"Song {k}", tuple(output_of(k, stem, frames, head) for head in range(heads)), manifest)
        for k, (frames, heads) in enumerate(lengths)
        for stem in STEMS
    ]


def output_of(song, stem, frames, head):
    name = f"Song {song}-{head}/{stem}.wav"
    signal = AtMic(stem, Path("in"), Path("left"), Path("right"), frames, 44100)
    return Output(signal, Path("out"), name, "wav", f"Song {song}-{head}")


LENGTHS = st.lists(st.tuples(st.integers(1, 10**8), st.integers(1, 16)), min_size=1, max_size=30)


@given(LENGTHS, st.integers(1, 40), st.randoms())
def test_each_batch_is_in_one_shard_in_whatever_order_they_come(lengths, count, rng):
    batches = batches_of(lengths)
    parts = [Shard(index, count).of(batches) for index in range(1, count + 1)]
    assert sorted(batch.name for part in parts for batch in part) == sorted(batch.name for batch in batches)
    shuffled = batches[:]
    rng.shuffle(shuffled)
    assert [Shard(index, count).of(shuffled) for index in range(1, count + 1)] == parts


@given(LENGTHS, st.integers(1, 40))
def test_shards_differ_by_one_batch_at_most(lengths, count):
    batches = batches_of(lengths)
    loads = [sum(batch.frame_scenes for batch in Shard(i, count).of(batches)) for i in range(1, count + 1)]
    assert max(loads) - min(loads) <= max(batch.frame_scenes for batch in batches)


@given(LENGTHS, st.integers(1, 40), st.randoms())
def test_shards_of_whole_songs_share_none(lengths, count, rng):
    batches = batches_of(lengths)
    parts = [Shard(index, count).songs(batches) for index in range(1, count + 1)]
    assert sorted(song for part in parts for song in part) == sorted({batch.song for batch in batches})
    rng.shuffle(batches)
    assert [Shard(index, count).songs(batches) for index in range(1, count + 1)] == parts


def test_the_official_set_is_balanced_to_a_percent_on_32_machines():
    rng = random.Random(1)
    batches = batches_of([(rng.randrange(100 * 44100, 400 * 44100), 4) for _ in range(100)])
    loads = [sum(batch.frame_scenes for batch in Shard(i, 32).of(batches)) for i in range(1, 33)]
    assert max(loads) < 1.01 * sum(loads) / 32


def test_reading():
    assert Shard.parse("3/8") == Shard(3, 8)
    assert str(Shard(3, 8)) == "3/8"


@pytest.mark.parametrize(
    "text", ["", "3", "0/8", "9/8", "-1/8", "1/0", "a/b", "1/2/3", " 1/2", "1/2\n", "1.0/2", "١/٢"]
)
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UsageError, match="I/N"):
        Shard.parse(text)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("rendered") / "root")
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    return root


@pytest.fixture
def root(rendered, tmp_path):
    root = shutil.copytree(rendered, tmp_path / "root")
    shutil.rmtree(root / "audio/at_mic_music")
    for file in (root / "metadata").glob("at_mic_music.*"):
        file.unlink()
    return root


def test_shards_one_after_the_other_make_the_whole(rendered, root):
    listed = root / "metadata/at_mic_music.train.json"
    seen: dict[Any, Any] = {}
    for index in (1, 2, 3):
        assert not listed.exists()
        done = invoke("generate", "--root", root, "-j", 1, "--shard", f"{index}/3")
        assert done.returncode == 0, done.stderr
        assert f"shard {index}/3 of the work" in done.stderr
        now = tree(root / "audio/at_mic_music")
        assert len(now) > len(seen)
        assert all(now[name] == data for name, data in seen.items())
        seen = now
    assert seen == tree(rendered / "audio/at_mic_music")
    # The last one found everything complete.
    assert listed.read_bytes() == (rendered / "metadata/at_mic_music.train.json").read_bytes()
    listed.unlink()
    assert "0 files to render" in invoke("generate", "--root", root, "-j", 1).stderr
    assert listed.read_bytes() == (rendered / "metadata/at_mic_music.train.json").read_bytes()
    assert invoke("verify", "--root", root).returncode == 0


@pytest.mark.slow
def test_shards_at_once(rendered, root):
    runs = [start("generate", "--root", root, "-j", 1, "--shard", f"{index}/4") for index in range(1, 5)]
    for process in runs:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")
    assert (root / "metadata/at_mic_music.train.json").exists()
    assert not leftovers(root)


def test_a_shard_that_ran_again_has_nothing_to_do(root):
    assert invoke("generate", "--root", root, "-j", 1, "--shard", "1/2").returncode == 0
    before = tree(root / "audio/at_mic_music")
    done = invoke("generate", "--root", root, "-j", 1, "--shard", "1/2")
    assert "0 files to render" in done.stderr
    assert tree(root / "audio/at_mic_music") == before
    assert 0 < len(before) < len(SONGS) * len(POSITIONS) * 5


def test_more_shards_than_batches(rendered, root):
    done = invoke("generate", "--root", root, "-j", 1, "--shard", "999/999")
    assert done.returncode == 0
    assert "0 files to render" in done.stderr


@pytest.mark.parametrize("text", ["0/4", "5/4", "x"])
def test_the_command_refuses_what_is_no_shard(root, text):
    done = invoke("generate", "--root", root, "--shard", text)
    assert done.returncode == 2
    assert "is not of the form I/N" in done.stderr
    assert "Traceback" not in done.stderr
