import json
import math

import pytest

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.gains import build_gains, gains_json, read_gains

VDBO = ("vocals", "drums", "bass", "other")
STEPS = (-10, -6, -3, 3, 6, 10)


def official_by_hand():
    """List the 1105 gains, written as nested loops over places and values."""
    gains: list[dict[int, float]] = [{}]
    gains += [{i: a} for i in range(4) for a in STEPS]
    gains += [{i: a, j: b} for i in range(4) for j in range(i + 1, 4) for a in STEPS for b in STEPS]
    gains += [
        {i: a, j: b, k: c}
        for i in range(4)
        for j in range(i + 1, 4)
        for k in range(j + 1, 4)
        for a in STEPS
        for b in STEPS
        for c in STEPS
    ]
    return {
        f"gain_{n:04d}": {stem: gain.get(place, 0) for place, stem in enumerate(VDBO)}
        for n, gain in enumerate(gains, 1)
    }


def test_the_official_gains():
    gains = build_gains()
    assert len(gains) == 1105 == 1 + 24 + 216 + 864
    assert list(gains.items()) == list(official_by_hand().items())
    assert gains["gain_0001"] == {"vocals": 0, "drums": 0, "bass": 0, "other": 0}
    assert gains["gain_0007"] == {"vocals": 10, "drums": 0, "bass": 0, "other": 0}
    assert gains["gain_0138"] == {"vocals": 0, "drums": -10, "bass": 6, "other": 0}
    assert gains["gain_0381"] == {"vocals": 3, "drums": 10, "bass": -6, "other": 0}
    assert all(isinstance(value, int) for gain in gains.values() for value in gain.values())


def test_the_official_text():
    text = gains_json(build_gains())
    assert text.startswith(
        '{\n    "gain_0001": {\n        "vocals": 0,\n        "drums": 0,\n'
        '        "bass": 0,\n        "other": 0\n    },\n'
    )
    assert text.endswith("\n    }\n}")
    assert list(json.loads(text)) == [f"gain_{n:04d}" for n in range(1, 1106)]


def test_other_stems_and_steps():
    gains = build_gains(("lead", "rest"), (-1.5, 2))
    assert list(gains.values()) == [
        {"lead": 0, "rest": 0},
        {"lead": -1.5, "rest": 0},
        {"lead": 2, "rest": 0},
        {"lead": 0, "rest": -1.5},
        {"lead": 0, "rest": 2},
    ]


@pytest.mark.parametrize(
    ("stems", "steps", "named"),
    [
        (("a",), STEPS, "two or more"),
        ((), STEPS, "two or more"),
        (("a", "a"), STEPS, "a, a"),
        (("a", ""), STEPS, "two or more"),
        (("a", "../b"), STEPS, "../b"),
        (VDBO, (), "steps"),
        (VDBO, (3, 3), "3, 3"),
        (VDBO, (3, 0), "3, 0"),
        (VDBO, (math.inf,), "inf"),
        (VDBO, (math.nan,), "nan"),
        (tuple("abcdefgh"), tuple(range(1, 11)), "100000"),
    ],
)
def test_impossible_choices_are_named(stems, steps, named):
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        build_gains(stems, steps)


def test_gains_are_read_as_written(tmp_path):
    file = tmp_path / "gains.json"
    file.write_text('{"b": {"vocals": 3, "other": -2.0}, "a": {}}')
    gains = read_gains(file)
    assert list(gains) == ["b", "a"]
    assert gains["b"] == {"vocals": 3, "other": -2.0}
    assert [type(value) for value in gains["b"].values()] == [int, float]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"g": 3}', "gain 'g' is the number 3"),
        ('{"g": {"vocals": "3"}}', "gain 'g': 'vocals' is the text '3'"),
        ('{"g": {"vocals": null}}', "'vocals' is null"),
        ('{"g": {"../x": 3}}', "stem '../x'"),
        ('{"../g": {}}', "gain id '../g'"),
        ('{"g": {"vocals": 3, "vocals": 4}}', "duplicate key 'vocals'"),
    ],
)
def test_bad_gains_are_named(text, named, tmp_path):
    file = tmp_path / "gains.json"
    file.write_text(text)
    with pytest.raises(MetadataError) as caught:
        read_gains(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert named in str(caught.value)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "true", "null", '"3"', "[]", "{}"])
def test_a_bad_value_is_named_wherever_it_stands(value, tmp_path):
    file = tmp_path / "gains.json"
    file.write_text(f'{{"a": {{"vocals": 1, "bass": 2.5}}, "b": {{"vocals": 0.5, "bass": {value}}}}}')
    with pytest.raises(MetadataError) as caught:
        read_gains(file)
    assert str(caught.value).startswith(f"{file}: gain 'b': 'bass' is ")
