"""Damaged metadata: each root is rendered or refused with one line, and nothing outside its output changes.

``CADRENDER_FUZZ`` sets how many inputs each file is damaged into.
"""

import copy
import json
import os
import random
import shutil
from typing import Any

import pytest

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.config import load_settings
from cadrender.errors import CadrenderError
from cadrender.pipeline.plan import make_plan
from cadrender.store.manifest import Manifest
from tests.fuzz.mutations import mutated
from tests.roots import POSITIONS, make_root, tree

INPUTS = int(os.environ.get("CADRENDER_FUZZ", "30"))
FILES = ("musdb18.train", "head_loudspeaker_positions", "scenes.train")
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**400,
    "",
    ".",
    "..",
    "../../escape",
    "/escape",
    "a/../../../escape",
    "a\\b",
    "nul\0",
    "line\nbreak",
    "\ud800",
    "x" * 300,
    "~",
    "${path.root}",
    [],
    {},
    [[]],
    {"a": {}},
    "train",
    "hlp_0001",
    22.5,
    -30.0,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root in the middle of a folder that is watched."""
    root = make_root(
        tmp_path_factory.mktemp("watched") / "in" / "root",
        songs=("Song",),
        seconds=(0.45,),
        positions=POSITIONS[:2],
    )
    shutil.copytree(root / "metadata", root.parent / "good")
    return root


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for k, item in enumerate(value):
            yield from places(item, (*path, k))


def hostile(content, rng):
    """The value with one to three places replaced, removed, doubled or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(list(places(content)))
        if not path:
            if rng.random() < 0.1:
                content = copy.deepcopy(rng.choice(HOSTILE))
            continue
        parent = content
        for step in path[:-1]:
            parent = parent[step]
        way = rng.randrange(5)
        if way < 3:
            parent[path[-1]] = copy.deepcopy(rng.choice(HOSTILE))
        elif way == 3:
            del parent[path[-1]]
        elif isinstance(parent, dict):
            parent[str(rng.choice(HOSTILE))] = parent.pop(path[-1])
        else:
            parent.append(copy.deepcopy(parent[path[-1]]))
    return content


def try_root(root):
    """Plan and render; what is refused is refused with one line."""
    try:
        plan = make_plan(AtMicCatalogue(load_settings(root=root)))
        lines = plan.failures + plan.run(1).failures
    except CadrenderError as error:
        lines = [str(error)]
    for line in lines:
        assert line.isprintable(), repr(line)
        assert len(line) < 3000


def check_watched(root):
    outputs = root / "audio/at_mic_music"
    inside = tree(outputs) if outputs.exists() else {}
    assert all(name.endswith(".wav") for name in inside)
    shutil.rmtree(outputs, ignore_errors=True)
    for file in (root / "metadata").iterdir():
        file.unlink()
    for file in (root.parent / "good").iterdir():
        shutil.copy(file, root / "metadata")


@pytest.mark.parametrize("name", FILES)
def test_hostile_values(root, name):
    check_watched(root)
    before = tree(root.parents[1])
    file = root / f"metadata/{name}.json"
    good = json.loads(file.read_text())
    for seed in range(INPUTS):
        file.write_text(json.dumps(hostile(good, random.Random(f"{name} {seed}"))))
        try_root(root)
        check_watched(root)
        assert tree(root.parents[1]) == before, seed


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes(root, name):
    check_watched(root)
    before = tree(root.parents[1])
    file = root / f"metadata/{name}.json"
    good = file.read_bytes()
    for seed in range(INPUTS):
        file.write_bytes(mutated(good, seed, len(good)))
        try_root(root)
        check_watched(root)
        assert tree(root.parents[1]) == before, seed


def test_a_damaged_manifest(root, tmp_path):
    check_watched(root)
    make_plan(AtMicCatalogue(load_settings(root=root))).run(1)
    good = (root / "metadata/at_mic_music.train.manifest.jsonl").read_bytes()
    names = set(Manifest(root / "metadata/at_mic_music.train.manifest.jsonl", root).read())
    file = tmp_path / "m.jsonl"
    for seed in range(10 * INPUTS):
        file.write_bytes(mutated(good, seed, len(good)))
        assert (
            len(Manifest(file, tmp_path).read()) <= len(names) + 4
        )  # a torn line is no line, and none is made up
    file = root / "metadata/at_mic_music.train.manifest.jsonl"
    for seed in range(INPUTS // 10):
        file.write_bytes(mutated(good, seed, len(good)))
        try_root(root)
    check_watched(root)
