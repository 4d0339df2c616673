"""The "Exactness" section of ``docs/contract.md``, and that sections referred to exist."""

import re
from pathlib import Path

import numpy as np
import pytest

import cadrender
from benchmarks import reference
from cadrender.stems import VDBO
from tests.roots import SAMPLERATE, music, pcm16

REPOSITORY = Path(__file__).parent.parent
SONGS = range(12)


def off_by_one(theirs, ours):
    """Whether the reference differs from the exact result, as it may only by a step toward zero."""
    lost = ours - theirs
    assert np.all((lost == 0) | (lost == np.sign(ours)))
    return bool(lost.any())


def song(seed):
    return pcm16(music(3.0, seed))


def test_hrirs_that_only_scale_give_the_stem_itself():
    """Whether the reference drops a step depends on how its gain happens to be rounded."""
    chance = set()
    for seed in SONGS:
        stem = song(seed)
        factor = 0.3 + 0.05 * seed
        left, right = np.array([[factor, 0.0]]), np.array([[0.0, factor]])
        ours = cadrender.at_mic_stem(stem, SAMPLERATE, left, right)
        np.testing.assert_array_equal(ours, stem)
        chance.add(off_by_one(reference.render(stem, left, right, SAMPLERATE), ours))
    assert chance == {False, True}


def test_a_target_with_one_active_stem_is_that_stem():
    chance = set()
    for seed in SONGS:
        stem = song(seed)
        stems = dict.fromkeys(VDBO, np.zeros_like(stem)) | {"drums": stem}
        gains = dict.fromkeys(VDBO, 0) | {"drums": (-10, -6, -3, 3, 6, 10)[seed % 6]}
        ours = cadrender.rebalance(stems, gains, stem, SAMPLERATE)
        np.testing.assert_array_equal(ours, stem)
        chance.add(off_by_one(reference.remix(stems, gains, stem, SAMPLERATE), ours))
    assert chance == {False, True}


@pytest.fixture(scope="module")
def contract():
    return (REPOSITORY / "docs/contract.md").read_text(encoding="utf-8")


def test_sections_that_docstrings_refer_to(contract):
    sections = dict(re.findall(r"^## (\d+)\. (.+)$", contract, re.MULTILINE))
    assert list(map(int, sections)) == list(range(1, 17))
    referred = set()
    for file in (REPOSITORY / "cadrender").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"\bsection \d+ of the (data )?contract", text), file
        referred |= set(re.findall(r"section (\d+) of\s+``docs/contract.md``", text))
    assert {"2", "7", "8"} <= referred <= sections.keys()


def test_links_within_it_lead_somewhere(contract):
    titles = re.findall(r"^## (.+)$", contract, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = re.findall(r"\]\(#([^)]+)\)", contract)
    assert len(links) == 17
    assert set(links) <= anchors
