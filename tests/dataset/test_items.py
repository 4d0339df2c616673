"""Items equal the files and the reference, and depend on seed, epoch and index alone."""

import copy
import multiprocessing
import operator
import pickle
import random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.dataset import _SharedNumber
from cadrender.metadata.gains import build_gains
from cadrender.stems import STEMS, VDBO
from tests import reference
from tests.dataset.items import (
    FRAMES,
    LENGTHS,
    NAMES,
    dataset,
    differ,
    hrir,
    part,
    position_of,
    rendered,
    same,
)
from tests.plausible import make_plausible_root
from tests.roots import SAMPLERATE, invoke

# What an item is


def test_an_item_is_made_of_plain_values_and_arrays(root):
    items = dataset(root)
    item = items[0]
    assert list(item) == [*STEMS, "gains", "song", "sample", "scene", "start"]
    for stem in STEMS:
        array = item[stem]
        assert (array.shape, array.dtype) == ((2, FRAMES), np.float32)
        assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    scene = {scene.id: scene for scene in cadrender.open_root(root).scenes}[item["scene"]]
    assert item["gains"].dtype == np.float32
    assert item["gains"].tolist() == [scene.gains[stem] for stem in VDBO]
    assert (item["song"], item["sample"]) == (scene.sample.track.name, scene.sample.name)
    assert {type(item[key]) for key in ("song", "sample", "scene")} == {str} and type(item["start"]) is int
    assert repr(items) == f"<Dataset {str(root)!r}, train: 13 items of 0.5 s>"
    assert (items.frames, items.samplerate, items.seconds, items.epoch) == (FRAMES, SAMPLERATE, 0.5, 0)


@pytest.mark.parametrize("stems", [("vocals",), ("other", "mixture")])
def test_stems_are_those_asked_for_and_the_same_places_whichever_they_are(root, stems):
    everything, some = dataset(root), dataset(root, stems=stems)
    for number in range(5):
        item = some[number]
        assert tuple(item)[: len(stems) + 1] == (*stems, "gains")
        same(item, {key: everything[number][key] for key in item})


def test_items_equal_the_slices_of_the_files(root, generated):
    items = dataset(root, length=40)
    for epoch in (0, 1):
        items.set_epoch(epoch)
        for item in items:
            for stem in STEMS:
                file = generated / "train" / item["sample"] / f"{stem}.wav"
                stored, rate = soundfile.read(file, FRAMES, item["start"], dtype="float32")
                assert (rate, len(stored)) == (SAMPLERATE, FRAMES)
                np.testing.assert_array_equal(item[stem], stored.T)


def test_items_equal_the_reference(root):
    for number, stem in enumerate(STEMS):
        item = dataset(root)[number]
        pcm = rendered(root, item["song"], position_of(item["sample"]), stem)
        np.testing.assert_array_equal(item[stem], part(pcm, item["start"]))


@pytest.mark.slow
def test_items_in_double_precision_equal_the_reference(root):
    for number, stem in enumerate(STEMS):
        item = dataset(root, dtype=np.float64)[number]
        assert item[stem].dtype == np.float64
        pcm = rendered(root, item["song"], position_of(item["sample"]), stem)
        np.testing.assert_array_equal(item[stem], part(pcm, item["start"]))


def test_items_of_another_subtype_equal_the_slices_of_their_files(root, tmp_path):
    places = {"output_music_dir": tmp_path / "music", "output_music_file": tmp_path / "at_mic.json"}
    overrides = [f"path.{key}={value}" for key, value in places.items()]
    result = invoke(
        "generate", f"path.root={root}", *overrides, "--subtype", "FLOAT", "--songs", "Third", "-j", "1"
    )
    assert result.returncode == 0, result.stderr
    items = dataset(cadrender.open_root(root, *overrides))
    seen = 0
    for item in items:
        if item["song"] == "Third":
            file = tmp_path / "music/train" / item["sample"] / "bass.wav"
            stored = soundfile.read(file, FRAMES, item["start"], dtype="float32")[0].T
            np.testing.assert_allclose(item["bass"], stored, rtol=2**-22, atol=1e-9)
            seen += 1
    assert seen == 3


def test_excerpts_equal_the_slices_of_their_files(tmp_path):
    root = make_plausible_root(tmp_path / "root", subjects=("VP_E1",))
    result = invoke("excerpts", "--root", root, "--split", "valid", "--duration", "0.8", "-j", "1")
    assert result.returncode == 0, result.stderr
    items = dataset(root, split="valid", seconds=0.7)
    assert len(items) == 4
    for item in items:
        for stem in STEMS:
            file = root / "audio/at_mic_music/valid" / item["sample"] / f"{stem}.wav"
            stored = soundfile.read(file, items.frames, item["start"], dtype="float32")[0]
            np.testing.assert_array_equal(item[stem], stored.T)
    # At other heads: still the excerpt, which is cut before it is rendered.
    whole = dataset(root, split="valid", seconds=0.8, heads="any")
    positions = cadrender.open_root(root).positions
    for item in whole:
        name, _, head = item["sample"].rpartition("-")
        sample = name if item["sample"] != item["song"] else item["song"]
        pcm = soundfile.read(root / "audio/music/excerpts/valid" / sample / "drums.wav", dtype="int16")[0]
        position = positions[head]
        left, right = hrir(root, position.left_hrir), hrir(root, position.right_hrir)
        expected = reference.render(pcm, left, right, SAMPLERATE)
        assert item["start"] == 0
        np.testing.assert_array_equal(item["drums"], part(expected, 0, whole.frames))


# Which items there are


def test_every_run_of_items_holds_every_scene_once(root):
    items = dataset(root, stems=("bass",), length=30)
    ids = sorted(scene.id for scene in cadrender.open_root(root).scenes)
    orders = []
    for epoch in (0, 1):
        items.set_epoch(epoch)
        scenes = [item["scene"] for item in items]
        assert sorted(scenes[:13]) == sorted(scenes[13:26]) == ids
        orders += [scenes[:13], scenes[13:26]]
    assert len(set(map(tuple, orders))) == 4


def test_lengths(root):
    assert len(dataset(root)) == 13
    assert len(dataset(root, heads="any")) == 16  # four songs, four scenes each
    assert len(dataset(root, heads="any", length=5)) == 5
    few, many = dataset(root, length=3), dataset(root, length=200)
    for number in range(3):
        same(few[number], many[number])


def test_an_index_counts_as_in_a_list(root):
    items = dataset(root, stems=("bass",))
    same(items[-1], items[12])
    same(items[np.int64(-13)], items[0])
    for index in (13, -14):
        with pytest.raises(IndexError, match=f"index {index}: there are 13 items"):
            items[index]
    for other in ("0", 1.0, slice(0, 2)):
        with pytest.raises(TypeError):
            items[other]
    assert sum(1 for _ in items) == 13


def test_any_head_is_drawn_anew_for_every_item(root):
    items = dataset(root, heads="any", stems=("drums",), length=60)
    listed = [tuple(gains.values()) for gains in build_gains().values()]
    seen = set()
    for item in items:
        position = position_of(item["sample"])
        assert (item["scene"], item["sample"]) == ("", f"{item['song']}-{position.id}")
        assert tuple(item["gains"].tolist()) in listed
        seen.add((item["sample"], tuple(item["gains"].tolist())))
    songs = [item["song"] for item in items]
    assert all(sorted(songs[k : k + 4]) == sorted(NAMES) for k in range(0, 60, 4))
    assert len({sample for sample, _ in seen}) == 12 and len(seen) > 50
    item = items[17]
    pcm = rendered(root, item["song"], position_of(item["sample"]), "drums")
    np.testing.assert_array_equal(item["drums"], part(pcm, item["start"]))


def test_starts_are_spread_over_the_song(root):
    starts: dict[str, list[int]] = {name: [] for name in NAMES}
    for item in dataset(root, stems=("bass",), length=400):
        starts[item["song"]].append(item["start"])
    for name, seconds in zip(NAMES, LENGTHS, strict=True):
        last = round(seconds * SAMPLERATE) - FRAMES
        assert min(starts[name]) >= 0 and max(starts[name]) <= last
        assert min(starts[name]) < 0.1 * last and max(starts[name]) > 0.9 * last
        assert 0.4 * last < np.mean(starts[name]) < 0.6 * last


def test_a_song_as_long_as_an_item_begins_at_its_beginning(root):
    items = dataset(root, seconds=0.9, stems=("bass",))
    item = next(item for item in items if item["song"] == NAMES[3])
    assert item["start"] == 0


def draws(*key, count):
    """The documented random numbers, one by one."""
    raw = np.random.PCG64(np.random.SeedSequence(key))
    return [int(raw.random_raw()) for _ in range(count)]


def test_random_numbers_are_as_documented(root):
    items = dataset(root, seed=7, length=40, stems=("bass",))
    items.set_epoch(3)
    scenes = cadrender.open_root(root).scenes
    for number in (0, 12, 13, 39):
        keys = draws(7, 3, number // 13, 1, count=13)
        scene = scenes[sorted(range(13), key=keys.__getitem__)[number % 13]]
        frames = round(LENGTHS[NAMES.index(scene.sample.track.name)] * SAMPLERATE)
        (value,) = draws(7, 3, number, 2, count=1)
        assert items[number]["scene"] == scene.id
        assert items[number]["start"] == value * (frames - FRAMES + 1) // 2**64


def test_items_stay_what_they_were(root):
    """These may only change with a good reason: somebody's experiment depends on them."""
    items = dataset(root, seed=1, heads="any", length=4, stems=("bass",), swap_channels=True)
    items.set_epoch(2)
    assert [(item["sample"], item["start"], item["gains"].tolist(), item["swapped"]) for item in items] == [
        ("Third-hlp_0002", 12258, [-10, 3, 0, -6], False),
        ("The Dots... - Vol. 2-hlp_0003", 6083, [-3, 0, -10, 0], True),
        ("Señor Ñandú - What's Up & Away-hlp_0003", 18462, [-10, 3, 0, -3], True),
        ("Fourth & Last-hlp_0003", 11719, [6, 0, 0, -6], True),
    ]


def test_items_depend_on_seed_epoch_and_index_alone(root):
    one = dataset(root, heads="any")
    for epoch in (5, 0):
        one.set_epoch(epoch)
        other = dataset(root, heads="any")
        other.set_epoch(epoch)
        numbers = list(range(len(one)))
        expected = [one[number] for number in numbers]
        random.Random(epoch).shuffle(numbers)
        for number in numbers:
            same(other[number], expected[number])
    assert differ(dataset(root, heads="any", seed=1)[0], expected[0])
    one.set_epoch(1)
    assert differ(one[0], expected[0])


def test_options_do_not_change_what_else_is_drawn(root):
    plain = dataset(root, heads="any", mixture="sum", length=6)
    for options in ({"gain_db": (0, 0)}, {"swap_channels": True}):
        changed = dataset(root, heads="any", mixture="sum", length=6, **options)
        for number in range(6):
            item = changed[number]
            assert [item[key] for key in ("sample", "start")] == [
                plain[number][key] for key in ("sample", "start")
            ]
            assert np.array_equal(item["gains"], plain[number]["gains"])


def test_threads_get_the_same_items(root):
    items = dataset(root, heads="any", length=40)
    expected = [items[number] for number in range(40)]
    numbers = list(range(40)) * 2
    random.Random(0).shuffle(numbers)
    with ThreadPoolExecutor(4) as threads:
        for number, item in zip(numbers, threads.map(items.__getitem__, numbers), strict=True):
            same(item, expected[number])


def answer(items, connection):
    """A worker that stays: gives the items that it is asked for."""
    while (index := connection.recv()) is not None:
        connection.send(items[index])


@pytest.mark.parametrize("method", ["fork", "spawn", pytest.param("forkserver", marks=pytest.mark.slow)])
def test_processes_get_the_same_items_and_see_the_epoch(root, method):
    items = dataset(root, heads="any")
    items.set_epoch(2)
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(items, there))
    process.start()
    try:
        for epoch in (2, 3, 2**32 - 1):
            items.set_epoch(epoch)
            for index in (4, 0, -1):
                here.send(index)
                assert here.poll(60)
                same(here.recv(), items[index])
        here.send(None)
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()


def test_a_pickled_copy_gives_the_same_items_and_goes_its_own_way(root):
    items = dataset(root, mixture="sum", gain_db=(-3, 3), swap_channels=True, minimum_lufs={"bass": -70.0})
    for epoch in (0, 4):
        items.set_epoch(epoch)
        for other in (pickle.loads(pickle.dumps(items)), copy.deepcopy(items)):
            assert (other.epoch, len(other)) == (epoch, len(items))
            same(other[3], items[3])
            other.set_epoch(9)
            assert items.epoch == epoch
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        same(pool.submit(operator.getitem, items, 5).result(), items[5])


def test_a_shared_number_takes_the_largest_epoch():
    number = _SharedNumber()
    number.value = 2**32 - 1
    assert number.value == 2**32 - 1
