import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.config import load_settings
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.scenes import SceneRecord
from cadrender.report.examples import Clip, Example
from cadrender.report.page import make_page
from cadrender.report.survey import Survey
from cadrender.report.wording import counted, decibels, signed, size


class Reader(HTMLParser):
    """Collects what a browser would see: tags, attributes, and the text of each tag's elements."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self._open = [], [], {}, []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.texts.setdefault(tag, []).append("")
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]][-1] += data


def page_with(text):
    """A page on which `text` stands as a name, in an attribute, in a message and in a command."""
    position = HeadPosition("hlp", text, -30, 30, "BTE_fr")
    scene = SceneRecord("scene", text, "gain", "hlp")
    sample = SimpleNamespace(name="sample", position=position, source="song", frames=0)
    survey = Survey(
        load_settings(root="/nowhere"),
        scenes=(scene,),
        samples={"sample": cast("Any", sample)},
        positions={"hlp": position},
        source_problems={"song": text},
    )
    clip = Clip("data:audio/flac;base64,", np.ones((2, 3)))
    example = Example(scene, cast("Any", sample), 0.0, 1.0, clip, clip)
    return make_page(survey, [example], [], command=text, made=datetime.now(UTC))


@pytest.fixture(scope="module")
def plain():
    return Reader(page_with("plain"))


@given(st.text(st.characters(exclude_characters="\r\0"), min_size=1))
def test_no_text_becomes_markup(plain, text):
    reader = Reader(page_with(text))
    assert reader.tags == plain.tags
    assert [key for key, _ in reader.attributes] == [key for key, _ in plain.attributes]
    assert reader.texts["bdi"][1] == text and text in reader.texts["code"] and text in reader.texts["li"]
    assert f"Player: {text}" in [value for _, value in reader.attributes]


def test_a_name_keeps_its_direction_of_writing_to_itself():
    assert "<bdi>\u202eabc&lt;</bdi>" in page_with("\u202eabc<")


def test_no_template_leaves_a_word_unset_or_a_brace_behind():
    page = page_with("{{ 7 * 7 }}{% raw %}")
    assert Reader(page).texts["bdi"][1] == "{{ 7 * 7 }}{% raw %}"
    assert "Undefined" not in page and "None" not in re.sub("'none'", "", page)


def test_numbers_are_worded():
    assert (counted(1, "scene"), counted(0, "scene"), counted(12345, "scene")) == (
        "1 scene",
        "0 scenes",
        "12\u202f345 scenes",
    )
    assert (size(999), size(1_500_000), size(2_340_000_000)) == ("1 kB", "1.5 MB", "2.34 GB")
    assert (decibels(-16.24), decibels(1.25e-3, sign=True), decibels(2.0, sign=True)) == (
        "−16.2",
        "0.0",
        "+2.0",
    )
    assert (decibels(float("-inf")), signed(-37.5), signed(-0.0)) == ("−∞", "−37.5°", "0°")
