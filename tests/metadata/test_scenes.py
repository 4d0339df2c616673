import hashlib
import json
from typing import Any

import numpy as np
import pytest

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.music import Track
from cadrender.metadata.scenes import (
    SceneRecord,
    generate_scene_listeners,
    generate_scenes,
    read_scene_listeners,
    read_scenes,
    scene_listeners_json,
    scenes_json,
)
from cadrender.metadata.writing import write_json

GAINS = [f"gain_{n:04d}" for n in range(1, 1106)]
POSITIONS = [f"hlp_{n:04d}" for n in range(1, 145)]
NAMES = [
    "A Classic Education - NightOwl",
    "Actions - One Minute Smile",
    "Café & B's",
    "Cafe\u0301",
    "音楽 - ...",
    "x",
]


def track(name, split="train"):
    return Track(name, "", "", "", split, f"{split}/{name}")


def seed_the_legacy_generator(text):
    np.random.seed(int(hashlib.md5(text.encode("utf-8")).hexdigest(), 16) % 10**8)


def draw(source, size):
    if len(source) <= size:
        return source
    return [str(item) for item in np.random.choice(source, size, replace=False)]


def scenes_by_hand(names, gains, positions, scenes_per_song):
    """The draws, slowly, with NumPy's global legacy generator and lists of names."""
    entries: dict[str, Any] = {}
    for name in names:
        seed_the_legacy_generator(name)
        gains_left, positions_left = list(gains), list(positions)
        for _ in range(scenes_per_song):
            gain = draw(gains_left, 1)[0]
            position = draw(positions_left, 1)[0]
            gains_left = [other for other in gains_left if other != gain]
            positions_left = [other for other in positions_left if other != position]
            entries["scene_" + str(10001 + len(entries))] = {
                "music": name,
                "gain": gain,
                "head_loudspeaker_positions": position,
            }
    return json.dumps(entries, indent=4)


def listeners_by_hand(scenes, listeners, listeners_per_scene, text="icassp2024"):
    seed_the_legacy_generator(text)
    return json.dumps({scene: draw(listeners, listeners_per_scene) for scene in scenes}, indent=4)


@pytest.mark.parametrize("scenes_per_song", [1, 4, 7, 144])
def test_scenes_equal_the_slow_draws(scenes_per_song):
    scenes = generate_scenes(map(track, NAMES), GAINS, POSITIONS, scenes_per_song)
    assert scenes_json(scenes) == scenes_by_hand(NAMES, GAINS, POSITIONS, scenes_per_song)


@pytest.mark.parametrize(
    ("gains", "positions"), [(GAINS[:1], POSITIONS), (GAINS, POSITIONS[:1]), (GAINS[:3], POSITIONS[:3])]
)
def test_short_lists_equal_the_slow_draws(gains, positions):
    count = min(len(gains), len(positions))
    scenes = generate_scenes(map(track, NAMES), gains, positions, count)
    assert scenes_json(scenes) == scenes_by_hand(NAMES, gains, positions, count)


def test_the_first_published_scene():
    # The challenge's data page shows this one.
    (scene,) = generate_scenes([track("A Classic Education - NightOwl")], GAINS, POSITIONS, 1)
    assert scene == SceneRecord("scene_10001", "A Classic Education - NightOwl", "gain_0639", "hlp_0056")


def test_the_scenes_text():
    scenes = generate_scenes([track("A Classic Education - NightOwl"), track("é")], GAINS, POSITIONS, 1)
    text = scenes_json(scenes)
    assert text.startswith(
        '{\n    "scene_10001": {\n        "music": "A Classic Education - NightOwl",\n'
        '        "gain": "gain_0639",\n        "head_loudspeaker_positions": "hlp_0056"\n    },\n'
        '    "scene_10002": {\n        "music": "\\u00e9",\n'
    )
    assert text.endswith("\n    }\n}")


def test_more_scenes_keep_the_first_ones():
    few = generate_scenes(map(track, NAMES), GAINS, POSITIONS, 4)
    many = generate_scenes(map(track, NAMES), GAINS, POSITIONS, 9)
    for number in range(len(NAMES)):
        for a, b in zip(few[4 * number : 4 * number + 4], many[9 * number :], strict=False):
            assert (a.music, a.gain, a.position) == (b.music, b.gain, b.position)
    assert [scene.id for scene in many] == [f"scene_{n}" for n in range(10001, 10001 + 9 * len(NAMES))]


def test_songs_added_after_others_change_nothing():
    alone = generate_scenes(map(track, NAMES), GAINS, POSITIONS, 4)
    together = generate_scenes(
        [*map(track, NAMES), track("01-AchGottundHerr", "bach10")], GAINS, POSITIONS, 4
    )
    assert together[: len(alone)] == alone
    assert {scene.music for scene in together[len(alone) :]} == {"01-AchGottundHerr"}


def test_the_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    generate_scenes(map(track, NAMES), GAINS, POSITIONS, 4)
    generate_scene_listeners(["a"], ["x", "y", "z"], 2)
    assert np.random.random() == expected


def test_a_song_gets_no_gain_or_position_twice():
    scenes = generate_scenes([track("x")], GAINS, POSITIONS, 144)
    assert sorted(scene.position for scene in scenes) == POSITIONS
    assert len({scene.gain for scene in scenes}) == 144


@pytest.mark.parametrize(
    ("names", "gains", "positions", "count", "named"),
    [
        (NAMES, GAINS, POSITIONS, 145, "positions, and there are 144"),
        (NAMES, GAINS[:3], POSITIONS, 4, "gains, and there are 3"),
        (NAMES, [], POSITIONS, 1, "there are 0"),
        (NAMES, GAINS, [], 1, "there are 0"),
        ([], GAINS, POSITIONS, 4, "music list is empty"),
        (NAMES, GAINS, POSITIONS, 0, "at least 1"),
    ],
)
def test_impossible_scenes_are_refused(names, gains, positions, count, named):
    with pytest.raises(UsageError, match=named):
        generate_scenes(map(track, names), gains, positions, count)


@pytest.mark.parametrize("listeners_per_scene", [1, 2, 5, 82, 83, 200])
@pytest.mark.parametrize("text", ["icassp2024", "another"])
def test_scene_listeners_equal_the_slow_draws(listeners_per_scene, text):
    scenes = [f"scene_{n}" for n in range(10001, 10041)]
    listeners = [f"L{n:04d}" for n in range(3, 86)]
    drawn = generate_scene_listeners(scenes, listeners, listeners_per_scene, text)
    assert scene_listeners_json(drawn) == listeners_by_hand(scenes, listeners, listeners_per_scene, text)


def test_too_few_listeners_are_all_taken_in_order():
    assert generate_scene_listeners(["a", "b"], ["y", "x"], 2) == {"a": ["y", "x"], "b": ["y", "x"]}
    assert generate_scene_listeners(["a"], ["y"], 2) == {"a": ["y"]}


def test_no_listeners_are_refused():
    with pytest.raises(UsageError, match="listeners file is empty"):
        generate_scene_listeners(["a"], [], 2)
    with pytest.raises(UsageError, match="at least 1"):
        generate_scene_listeners(["a"], ["x"], 0)


def test_written_scenes_read_back(tmp_path):
    scenes = generate_scenes(map(track, NAMES), GAINS, POSITIONS, 4)
    file = tmp_path / "scenes.json"
    write_json(file, scenes_json(scenes))
    assert read_scenes(file) == scenes
    drawn = generate_scene_listeners([scene.id for scene in scenes], ["x", "y", "z"], 2)
    write_json(file, scene_listeners_json(drawn))
    assert read_scene_listeners(file) == drawn


ENTRY = {"music": "x", "gain": "gain_0001", "head_loudspeaker_positions": "hlp_0001"}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({**ENTRY, "music": "../x"}, "music '../x'"),
        ({**ENTRY, "music": ["x"]}, "music is a list"),
        ({**ENTRY, "gain": 7}, "gain is the number 7"),
        ({**ENTRY, "head_loudspeaker_positions": "a/b"}, "'a/b'"),
        (
            {"music": "x", "gain": "g", "head_loudspeaker_position": "h"},
            "near ones: 'head_loudspeaker_position'",
        ),
        ([], "is a list, not an object"),
    ],
)
def test_bad_scenes_are_named(entry, named, tmp_path):
    file = tmp_path / "scenes.json"
    file.write_text(json.dumps({"scene_10001": ENTRY, "scene_10002": entry}))
    with pytest.raises(MetadataError) as caught:
        read_scenes(file)
    assert str(caught.value).startswith(f"{file}: scene 'scene_10002'")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "named"),
    [("L1", "not a list"), ([3], "number 3"), (["a", "a"], "twice"), ([".."], "'..'"), ({}, "an object")],
)
def test_bad_scene_listeners_are_named(entry, named, tmp_path):
    file = tmp_path / "scene_listeners.json"
    file.write_text(json.dumps({"scene_10001": entry}))
    with pytest.raises(MetadataError, match="scene_10001") as caught:
        read_scene_listeners(file)
    assert named in str(caught.value)
