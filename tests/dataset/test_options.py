"""Gains, sums, mixed songs, swapped channels, places that are loud enough."""

import shutil

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.errors import CadrenderError, MetadataError
from cadrender.stems import STEMS, VDBO
from tests import reference
from tests.dataset.items import NAMES, POSITIONS, dataset, hrir, part, position_of, rendered, same, source
from tests.roots import SAMPLERATE, edit_json, make_root, write_wav


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


@pytest.mark.slow  # kernels of its own
def test_single_precision_is_off_by_one_step_now_and_then(root):
    exact, quick = dataset(root), dataset(root, precision="single")
    differing = total = 0
    for number in range(4):
        for stem in STEMS:
            steps = 32768 * (quick[number][stem] - exact[number][stem])
            assert np.abs(steps).max() <= 1
            differing += int(np.count_nonzero(steps))
            total += steps.size
    assert 0 < differing < total / 1000


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


def test_mixed_songs_need_no_scene_at_that_head(own):
    """As in the challenge: four scenes a song, of 144 positions."""
    once: dict[str, str] = {}

    def keep_one_of_each_song(scenes):
        for name, scene in list(scenes.items()):
            if once.setdefault(scene["music"], name) != name:
                del scenes[name]

    edit_json(own / "metadata/scenes.train.json", keep_one_of_each_song)
    edit_json(
        own / "metadata/scenes.train.json",
        lambda scenes: [
            scene.update(head_loudspeaker_positions=position.id)
            for scene, position in zip(scenes.values(), [*POSITIONS, POSITIONS[0]], strict=True)
        ],
    )
    items = dataset(own, songs="mixed", mixture="sum")
    for item in items:
        position = position_of(item["sample"].split(" / ")[0])
        for stem, song, start in zip(VDBO, item["song"].split(" / "), item["start"], strict=True):
            np.testing.assert_array_equal(item[stem], part(rendered(own, song, position, stem), start))


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
