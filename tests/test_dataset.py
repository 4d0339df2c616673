"""Training items: which they are, that they equal the files and the reference, and that nothing else changes them."""

import copy
import hashlib
import math
import multiprocessing
import operator
import pickle
import random
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.util import find_spec, module_from_spec, spec_from_file_location

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.dataset import _SharedNumber
from cadrender.demo import make_root as make_demo_root
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.positions import HeadPosition
from cadrender.stems import STEMS, VDBO
from tests import pages, reference
from tests.plausible import make_plausible_root
from tests.roots import REPOSITORY, SAMPLERATE, SONGS, edit_json, environment, make_root, run, write_wav

NAMES = (*SONGS, "Third", "Fourth & Last")
LENGTHS = (2.1, 1.3, 1.7, 0.9)
POSITIONS = (
    HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr"),
    HeadPosition("hlp_0002", "VP_E1", -22.5, 37.5, "BTE_fr"),
    HeadPosition("hlp_0003", "VP_E1", -30, 30.0, "BTE_fr"),
)
SECONDS = 0.5
FRAMES = 22050

needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four songs at three positions, one of them in two scenes; nothing is rendered."""
    folder = make_root(
        tmp_path_factory.mktemp("dataset") / "root", songs=NAMES, seconds=LENGTHS, positions=POSITIONS
    )
    (folder / "metadata/gains.json").write_text(gains_json(build_gains()))
    return folder


@pytest.fixture(scope="module")
def generated(root, tmp_path_factory):
    """The folder of the root's at-mic files as `generate` writes them, elsewhere."""
    out = tmp_path_factory.mktemp("generated")
    result = run(
        "generate",
        "--root",
        root,
        "--output-music-dir",
        out / "music",
        "--output-music-file",
        out / "m.json",
        "-j",
        "1",
    )
    assert result.returncode == 0, result.stderr
    return out / "music"


@pytest.fixture
def own(root, tmp_path):
    return shutil.copytree(root, tmp_path / "root")


def dataset(root, **options):
    return cadrender.Dataset(root, **{"seconds": SECONDS} | options)


def same(one, other):
    """Whether two items are equal in every key, type and value."""
    assert list(one) == list(other)
    for key, value in one.items():
        assert type(value) is type(other[key])
        if isinstance(value, np.ndarray):
            assert value.dtype == other[key].dtype and value.shape == other[key].shape
        assert np.array_equal(value, other[key]), key
    return True


def differ(one, other):
    return not all(np.array_equal(one[key], other[key]) for key in one)


def source(root, song, stem):
    return soundfile.read(root / "audio/music/train" / song / f"{stem}.wav", dtype="int16")[0]


def hrir(root, name):
    return soundfile.read(root / "audio/hrtf" / name)[0]


def rendered(root, song, position, stem):
    """A whole at-mic file by the reference."""
    left, right = hrir(root, position.left_hrir), hrir(root, position.right_hrir)
    return reference.render(source(root, song, stem), left, right, SAMPLERATE)


def part(pcm, start, frames=FRAMES):
    """As an item has it: (2, frames), full scale 1."""
    return pcm[start : start + frames].T / 32768


def position_of(sample):
    return next(position for position in POSITIONS if sample.endswith(f"-{position.id}"))


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
        item = dataset(root, dtype=np.float64)[number]
        assert item[stem].dtype == np.float64
        pcm = rendered(root, item["song"], position_of(item["sample"]), stem)
        np.testing.assert_array_equal(item[stem], part(pcm, item["start"]))


def test_items_of_another_subtype_equal_the_slices_of_their_files(root, tmp_path):
    places = {"output_music_dir": tmp_path / "music", "output_music_file": tmp_path / "at_mic.json"}
    overrides = [f"path.{key}={value}" for key, value in places.items()]
    result = run(
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
    result = run("excerpts", "--root", root, "--split", "valid", "--duration", "0.8", "-j", "1")
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
    for index in ("0", 1.0, slice(0, 2)):
        with pytest.raises(TypeError):
            items[index]
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
    starts = {name: [] for name in NAMES}
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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
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


# Options


def test_the_mixture_is_the_sum_of_the_stems(root):
    filed, summed = dataset(root), dataset(root, mixture="sum")
    alone = dataset(root, mixture="sum", stems=("mixture",))
    for number in range(4):
        item = summed[number]
        for stem in VDBO:
            np.testing.assert_array_equal(item[stem], filed[number][stem])
        exact = sum(item[stem].astype(np.float64) for stem in VDBO)
        np.testing.assert_array_equal(item["mixture"], exact)  # four numbers of 16 bits
        assert not np.array_equal(item["mixture"], filed[number]["mixture"])
        np.testing.assert_array_equal(alone[number]["mixture"], item["mixture"])


def test_gains_change_the_stems_and_the_sum_follows(root):
    plain, changed = dataset(root, mixture="sum"), dataset(root, mixture="sum", gain_db=(-12, 6))
    gains = []
    for number in range(13):
        item, before = changed[number], plain[number]
        assert (item["gain_db"].shape, item["gain_db"].dtype) == ((4,), np.float32)
        for stem, gain in zip(VDBO, item["gain_db"].tolist(), strict=True):
            np.testing.assert_allclose(item[stem], before[stem] * 10 ** (gain / 20), rtol=1e-6)
        np.testing.assert_allclose(item["mixture"], sum(item[stem].astype(float) for stem in VDBO), atol=1e-6)
        assert np.array_equal(item["gains"], before["gains"])
        gains += item["gain_db"].tolist()
    assert -12 <= min(gains) < -9 and 3 < max(gains) <= 6
    assert len(set(gains)) == len(gains)
    fixed = dataset(root, stems=("bass",), gain_db=[-6, -6])[0]
    np.testing.assert_allclose(fixed["bass"], dataset(root, stems=("bass",))[0]["bass"] * 10**-0.3, rtol=1e-6)


def test_mixed_songs_equal_each_song_at_one_head(root):
    items = dataset(root, songs="mixed", mixture="sum", heads="any", length=8)
    for item in items:
        songs, samples = item["song"].split(" / "), item["sample"].split(" / ")
        assert sorted(songs) == sorted(NAMES)
        position = position_of(samples[0])
        assert samples == [f"{song}-{position.id}" for song in songs]
        assert (item["start"].shape, item["start"].dtype) == ((4,), np.int64)
        for stem, song, start in zip(VDBO, songs, item["start"], strict=True):
            pcm = rendered(root, song, position, stem)
            np.testing.assert_array_equal(item[stem], part(pcm, start))
        np.testing.assert_array_equal(item["mixture"], sum(item[stem].astype(float) for stem in VDBO))
    assert len({item["song"] for item in items}) > 3


def test_mixed_songs_of_scenes_are_at_the_scenes_head(root):
    scenes = {scene.id: scene for scene in cadrender.open_root(root).scenes}
    items = dataset(root, songs="mixed", stems=("other", "drums"))
    for item in items:
        scene = scenes[item["scene"]]
        drums, other = item["song"].split(" / ")
        assert drums == scene.sample.track.name and other != drums
        assert item["sample"].endswith(f"{other}-{scene.sample.position.id}")
        assert item["gains"].tolist() == list(scene.gains.values())
    assert sorted(item["scene"] for item in items) == sorted(scenes)


def test_mixed_songs_must_be_enough(own):
    few = make_root(own.parent / "few", positions=POSITIONS[:1])
    shutil.copy(own / "metadata/gains.json", few / "metadata")
    with pytest.raises(
        ValueError, match="songs='mixed': 4 stems of as many songs, and only 2 songs can be used"
    ):
        dataset(few, songs="mixed", mixture="sum")
    assert len(dataset(few, songs="mixed", stems=("bass", "drums"))[0]["start"]) == 2


def test_a_swap_mirrors_channels_and_loudspeakers(root):
    """By the reference: the song with its channels swapped, from loudspeakers in mirrored places."""
    items, plain = dataset(root, swap_channels=True, length=26), dataset(root, length=26)
    mirrored = {
        "hlp_0001": ("BTE_fr-VP_E1-n22.5.wav", "BTE_fr-VP_E1-p37.5.wav"),
        "hlp_0002": ("BTE_fr-VP_E1-n37.5.wav", "BTE_fr-VP_E1-p22.5.wav"),
        "hlp_0003": ("BTE_fr-VP_E1-n30.wav", "BTE_fr-VP_E1-p30.0.wav"),  # -30 and 30.0 in the list
    }
    seen = []
    for number, item in enumerate(items):
        seen.append(item["swapped"])
        assert type(item["swapped"]) is bool
        if not item.pop("swapped"):
            same(item, plain[number])
            continue
        assert [item[key] for key in ("sample", "start")] == [
            plain[number][key] for key in ("sample", "start")
        ]
        left, right = (hrir(root, name) for name in mirrored[item["sample"][-8:]])
        stem = STEMS[number % 5]
        swapped = source(root, item["song"], stem)[:, ::-1]
        expected = part(reference.render(swapped, left, right, SAMPLERATE), item["start"])
        np.testing.assert_array_equal(item[stem], expected)
        assert not np.array_equal(item["drums"], plain[number]["drums"])
    assert 6 < sum(seen) < 20


def test_a_swap_needs_the_mirrored_hrirs(own):
    edit_json(
        own / "metadata/head_loudspeaker_positions.json",
        lambda positions: positions.pop("hlp_0002") and positions["hlp_0003"].update(left_angle=-37.5),
    )
    edit_json(
        own / "metadata/scenes.train.json",
        lambda scenes: [
            scenes.pop(name)
            for name in list(scenes)
            if scenes[name]["head_loudspeaker_positions"] == "hlp_0002"
        ],
    )
    (own / "audio/hrtf/BTE_fr-VP_E1-n22.5.wav").unlink()
    assert dataset(own)[0]
    with pytest.raises(MetadataError, match=r"n22\.5\.wav: no such file .*hlp_0001, mirrored"):
        dataset(own, swap_channels=True)


def test_quiet_places_are_drawn_again(root):
    minimum = -45.0
    plain, loud = dataset(root, length=39), dataset(root, length=39, minimum_lufs={"vocals": minimum})
    changed = 0
    for number in range(39):
        item, before = loud[number], plain[number]
        assert reference.loudness(item["vocals"].T.astype(float), SAMPLERATE) >= minimum
        if reference.loudness(before["vocals"].T.astype(float), SAMPLERATE) >= minimum:
            same(item, before)
        else:
            changed += 1
        stored = rendered(root, item["song"], position_of(item["sample"]), "vocals")
        np.testing.assert_array_equal(item["vocals"], part(stored, item["start"]))
    assert 3 < changed < 20  # vocals are silent for the first half


def test_quiet_places_of_every_stem_and_of_mixed_songs(root):
    options = {"songs": "mixed", "mixture": "sum", "heads": "any"}
    for items in (dataset(root, minimum_lufs=-45), dataset(root, minimum_lufs=-45, **options)):
        for item in items:
            for stem in STEMS:
                assert reference.loudness(item[stem].T.astype(float), SAMPLERATE) >= -45, stem
    quiet = [
        reference.loudness(item["vocals"].T.astype(float), SAMPLERATE) for item in dataset(root, **options)
    ]
    assert min(quiet) < -45


def test_a_silent_song_makes_way_for_the_next(own):
    for name in NAMES[:2]:
        file = own / "audio/music/train" / name / "vocals.wav"
        write_wav(file, np.zeros_like(soundfile.read(file)[0]))
    for options in ({}, {"heads": "any"}):
        items = dataset(own, minimum_lufs={"vocals": -60}, **options)
        scenes = {scene.id: scene for scene in cadrender.open_root(own).scenes}
        for item in items:
            assert item["song"] in NAMES[2:]
            if item["scene"]:
                assert scenes[item["scene"]].sample.name == item["sample"]


def test_what_is_never_loud_enough_is_an_error(root):
    items = dataset(root, minimum_lufs={"bass": 0.0})
    message = r"minimum_lufs \(bass 0\): none of 64 parts of 0\.5 s .* item 2 of epoch 0 is as loud; the last was of '"
    with pytest.raises(CadrenderError, match=message):
        items[2]


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds=0: a number greater than 0"),
        ({"seconds": math.nan}, "seconds=nan: a number"),
        ({"seconds": True}, "seconds=True: a number"),
        ({"seconds": "6"}, "seconds='6': a number"),
        ({"seconds": 1e-6}, "seconds=1e-06: less than one frame at 44100 Hz"),
        ({"seconds": 60}, r"no song can be used: 4 songs shorter than seconds=60: .*\(2.1 s\).* and 1 more"),
        ({"stems": "vocals"}, "stems='vocals': a sequence of some of mixture, vocals, drums, bass, other"),
        ({"stems": ()}, r"stems=\(\): a sequence"),
        ({"stems": ("vocals", "piano")}, "piano.*: a sequence of some of mixture"),
        ({"stems": ("bass", "bass")}, "each once"),
        ({"heads": "all"}, "heads='all': expected 'scenes', 'any'"),
        ({"mixture": None}, "mixture=None: expected 'file', 'sum'"),
        ({"songs": "two"}, "songs='two': expected 'one', 'mixed'"),
        ({"dtype": "int16"}, "dtype='int16': expected 'float32', 'float64'"),
        ({"dtype": "real"}, "dtype='real': expected"),
        ({"dtype": None}, "dtype=None: expected"),
        ({"length": 0}, "length=0: a whole number from 1 to 4294967295"),
        ({"length": 2.0}, "length=2.0: a whole number"),
        ({"seed": -1}, "seed=-1: a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296: a whole number"),
        ({"seed": True}, "seed=True: a whole number"),
        ({"gain_db": 6, "stems": ("bass",)}, r"gain_db=6: two numbers of dB .* such as \(-6, 6\)"),
        ({"gain_db": (6, -6), "stems": ("bass",)}, r"gain_db=\(6, -6\): .* lower one first"),
        ({"gain_db": (-6, math.inf), "stems": ("bass",)}, "gain_db=.*inf"),
        ({"gain_db": (-6, 6)}, r"gain_db=\(-6, 6\) with mixture='file': .* set mixture='sum', or leave"),
        ({"songs": "mixed"}, "songs='mixed' with mixture='file': .* set mixture='sum', or leave"),
        ({"swap_channels": 0.5}, "swap_channels=0.5: expected False, True"),
        ({"minimum_lufs": "quiet"}, "minimum_lufs='quiet': a number of LUFS"),
        ({"minimum_lufs": {"piano": -50}}, "minimum_lufs of 'piano': it can be set for mixture, vocals"),
        (
            {"minimum_lufs": {"bass": -50}, "stems": ["drums"]},
            "minimum_lufs of 'bass': it can be set for drums",
        ),
        (
            {"minimum_lufs": -50, "seconds": 0.3},
            "minimum_lufs with seconds=0.3: loudness is defined from 0.4 s",
        ),
        (
            {"minimum_lufs": {"mixture": -50}, "songs": "mixed", "mixture": "sum"},
            "minimum_lufs of 'mixture': it can be set for vocals, drums, bass, other",
        ),
    ],
)
def test_wrong_options(root, options, message):
    with pytest.raises(ValueError, match=message) as error:
        dataset(root, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("epoch", [-1, 2**32, 0.0, "1", None])
def test_wrong_epochs(root, epoch):
    items = dataset(root)
    with pytest.raises(ValueError, match="a whole number from 0 to 4294967295"):
        items.set_epoch(epoch)
    assert items.epoch == 0


def test_the_root_may_be_open_already(root):
    opened = cadrender.open_root(root)
    same(dataset(opened)[0], dataset(str(root), split="train")[0])
    with pytest.raises(ValueError, match="split='valid', but the root given is opened for 'train'"):
        dataset(opened, split="valid")
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        dataset(root / "nowhere")
    with pytest.raises(UsageError, match="is none of train, valid, test"):
        dataset(root, split="eval")


def test_any_head_needs_no_scenes(own, root):
    (own / "metadata/scenes.train.json").unlink()
    same(dataset(own, heads="any")[3], dataset(root, heads="any")[3])
    with pytest.raises(MetadataError, match=r"scenes\.train\.json"):
        dataset(own)


def test_no_scenes_at_all(own):
    (own / "metadata/scenes.train.json").write_text("{}")
    with pytest.raises(UsageError, match=r"scenes\.train\.json: empty"):
        dataset(own)


def test_gains_of_other_stems(own):
    (own / "metadata/gains.json").write_text(gains_json(build_gains(("vocals", "rest"))))
    with pytest.raises(CadrenderError, match="gain"):
        dataset(own)
    with pytest.raises(
        MetadataError, match=r"gains\.json: gain_0001: gains of vocals, rest; expected vocals"
    ):
        dataset(own, heads="any")


def test_a_missing_hrir_is_found_at_once(own):
    (own / "audio/hrtf/BTE_fr-VP_E1-p30.0.wav").unlink()
    for heads in ("scenes", "any"):
        with pytest.raises(MetadataError, match=r"p30\.0\.wav: no such file .*hlp_0003"):
            dataset(own, heads=heads)


def test_short_songs_are_left_out_with_a_warning(root):
    with pytest.warns(
        UserWarning, match=r"left out 2 songs shorter than seconds=1\.5: .*Vol\. 2.* \(1\.3 s\)"
    ) as seen:
        items = dataset(root, seconds=1.5)
    assert seen[0].filename == __file__ or "test_dataset" in seen[0].filename
    assert {item["song"] for item in items} == {NAMES[0], NAMES[2]}
    assert len(items) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset(root)


def test_songs_without_a_stem_are_left_out_with_a_warning(own):
    folder = own / "audio/music/train" / NAMES[2]
    for stem in VDBO:
        (folder / f"{stem}.wav").unlink()
    with pytest.warns(
        UserWarning, match=r"1 song without stems .*: 'Third' \(no vocals, drums, bass, other\)"
    ):
        items = dataset(own)
    assert NAMES[2] not in {item["song"] for item in items}
    with pytest.warns(UserWarning, match="1 song without stems"):
        dataset(own, stems=("mixture",), mixture="sum")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(dataset(own, stems=("mixture",))) == 13


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_damaged_song_is_an_error_when_it_is_needed(own, when):
    items = dataset(own)
    file = own / "audio/music/train" / NAMES[2] / "drums.wav"
    file.write_bytes(file.read_bytes()[:1000])
    if when == "before":
        items = dataset(own)
    failed = []
    for number in range(len(items)):
        try:
            failed += [name for name in [items[number]["song"]] if name == NAMES[2]]
        except AudioError as error:
            assert re.search(r"drums\.wav: .*", str(error)) and "\n" not in str(error)
            failed.append(number)
    assert len(failed) == 3 and all(isinstance(each, int) for each in failed)


def test_a_lost_hrir_is_an_error_when_it_is_needed(own):
    items = dataset(own, heads="any", length=30)
    (own / "audio/hrtf/BTE_fr-VP_E1-p30.0.wav").unlink()
    outcomes = set()
    for number in range(len(items)):
        try:
            outcomes.add(items[number]["sample"][-8:])
        except AudioError as error:
            outcomes.add(str(error))
    assert len(outcomes) == 3 and sum("p30.0.wav: no such file" in each for each in outcomes) == 1


# Frameworks

WITHOUT_TORCH = """
import hashlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "tensorflow", "jax", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import cadrender
items = cadrender.Dataset(sys.argv[1], seconds=0.5, heads="any", mixture="sum", gain_db=(-3, 3), swap_channels=True)
items.set_epoch(1)
print(hashlib.sha256(b"".join(items[k]["mixture"].tobytes() for k in range(len(items)))).hexdigest())
"""


def test_without_a_framework_everything_works(root):
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, root],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    items = dataset(root, heads="any", mixture="sum", gain_db=(-3, 3), swap_channels=True)
    items.set_epoch(1)
    digest = hashlib.sha256(b"".join(item["mixture"].tobytes() for item in items)).hexdigest()
    assert result.stdout.strip() == digest


@needs_torch
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize(
    ("workers", "method"),
    [
        (0, None),
        (2, "fork"),
        (4, "fork"),
        pytest.param(2, "spawn", marks=pytest.mark.slow),
        pytest.param(4, "spawn", marks=pytest.mark.slow),
    ],
)
def test_a_loader_gives_the_same_items_with_any_workers(root, workers, method):
    from torch.utils.data import DataLoader

    items = dataset(root, heads="any", mixture="sum", swap_channels=True, length=10)
    loader = DataLoader(
        items,
        batch_size=4,
        num_workers=workers,
        multiprocessing_context=method,
        persistent_workers=workers > 0,
    )
    for epoch in (0, 3):
        items.set_epoch(epoch)
        count = 0
        for batch in loader:
            assert batch["mixture"].shape[1:] == (2, FRAMES) and batch["mixture"].is_contiguous()
            for k, song in enumerate(batch["song"]):
                item = items[count]
                assert song == item["song"] and batch["sample"][k] == item["sample"]
                assert (
                    batch["start"][k].item() == item["start"]
                    and batch["swapped"][k].item() is item["swapped"]
                )
                for key in (*STEMS, "gains"):
                    np.testing.assert_array_equal(batch[key][k].numpy(), item[key])
                count += 1
        assert count == 10


@needs_torch
def test_a_loader_of_mixed_songs(root):
    from torch.utils.data import DataLoader

    items = dataset(root, songs="mixed", mixture="sum", gain_db=(-3, 3))
    (batch,) = DataLoader(items, batch_size=len(items), num_workers=2)
    np.testing.assert_array_equal(batch["start"].numpy(), [item["start"] for item in items])
    np.testing.assert_array_equal(batch["gain_db"].numpy(), [item["gain_db"] for item in items])


@needs_torch
def test_a_loader_reports_a_damaged_song(own):
    from torch.utils.data import DataLoader

    file = own / "audio/music/train" / NAMES[2] / "drums.wav"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(AudioError, match=r"drums\.wav: truncated"):
        for _ in DataLoader(dataset(own), num_workers=2):
            pass


# What is shown must work as it stands


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a small demo root, whose at-mic files are generated."""
    folder = tmp_path_factory.mktemp("beside")
    make_demo_root(folder / "cadrender-demo", songs=1, subjects=2)
    result = run("generate", "--root", folder / "cadrender-demo", "-j", "1")
    assert result.returncode == 0, result.stderr
    return folder


def run_python(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


@needs_torch
def test_the_readme_example_runs_beside_a_demo_folder(demo):
    example = pages.python_under("README.md", "Train on it")
    result = run_python("-c", example, cwd=demo)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("torch.Size([4, 2, 264600]) torch.Size([4, 2, 264600])") == 2


@needs_torch
@pytest.mark.slow
def test_the_worked_example_runs_beside_a_demo_folder(demo):
    script = REPOSITORY / "docs/train.py"
    result = run_python(script, "--seconds", "3", cwd=demo)
    assert result.returncode == 0, result.stderr
    for line in ("four stems rendered, any head", "four stems read from files"):
        assert float(re.search(rf"{line}: +([\d.]+) items a second", result.stdout)[1]) > 0
    assert re.search(r" s  step +\d+  loss \d\.\d{3}\n", result.stdout)
    result = run_python(script, "nowhere", cwd=demo)
    assert (result.returncode, result.stderr) == (
        1,
        f"{demo}/nowhere: no such folder: a root has audio/ and metadata/\n",
    )


@needs_torch
@pytest.mark.slow
def test_the_worked_example_learns(demo):
    import torch

    spec = spec_from_file_location("train", REPOSITORY / "docs/train.py")
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    torch.manual_seed(0)
    items = cadrender.Dataset(
        demo / "cadrender-demo", 1.0, heads="any", mixture="sum", length=25 * example.BATCH
    )
    losses = example.train(example.loader_of(items, 0), 1e9)
    assert len(losses) == 25
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
