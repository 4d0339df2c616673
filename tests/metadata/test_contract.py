import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cadrender.errors import MetadataError
from cadrender.metadata.contract import check_name, check_number, check_path, read_json
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import read_listeners
from cadrender.metadata.music import read_tracks
from cadrender.metadata.positions import read_positions
from cadrender.metadata.samples import read_at_mic
from cadrender.metadata.scenes import read_scene_listeners, read_scenes

READERS = [
    read_tracks,
    read_positions,
    read_gains,
    read_scenes,
    read_scene_listeners,
    read_listeners,
    read_at_mic,
]
every_reader = pytest.mark.parametrize("reader", READERS)

HOSTILE_NAMES = [
    "",
    ".",
    "..",
    "/",
    "/etc/passwd",
    "../x",
    "a/../../x",
    "a/b",
    "a\\b",
    "..\\x",
    "a\0b",
    "a\nb",
    "a\x7fb",
    "\ud800",
    "x" * 256,
    "é" * 128,
    None,
    3,
    True,
    ["a"],
]
GOOD_NAMES = [
    "A Classic Education - NightOwl",
    "Clara Berry & Wooldog's",
    "é",
    "e\u0301",
    "...And You",
    "Mr. X.",
    ".hidden",
    " ",
    "音楽 🎵",
    "x" * 255,
    "a:b*c?|<>\"'",
    "-rf",
    "~",
]


def refused(read, *arguments):
    with pytest.raises(MetadataError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    message.encode()
    return message


@every_reader
def test_files_that_cannot_be_read_are_named(reader, tmp_path):
    assert "none.json" in (message := refused(reader, tmp_path / "none.json")) and "No such file" in message
    assert str(tmp_path) in refused(reader, tmp_path)
    assert "not a file name" in refused(reader, Path("a\0b"))


@every_reader
@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "line 1 column 1"),
        (b'{"a": 1,\n "b" 2}', "line 2 column 6"),
        (b'{"a": 1} {}', "line 1 column 10"),
        (b"\xff\xfe{}", "offset 0"),
        ("{}".encode("utf-16"), "UTF-8"),
        (b"\0", "line 1"),
        (b'{"a": {}, "b": {}, "a": {}}', "duplicate key 'a'"),
        (b'[{"x": 1, "x": 1}]', "duplicate key 'x'"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": ' + b"1" * 5000 + b"}", "digits"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"null", "null"),
        (b"3", "number 3"),
        (b'"text"', "'text'"),
        (b"true", "true"),
    ],
)
def test_bad_json_is_named_with_its_place(reader, content, named, tmp_path):
    file = tmp_path / "bad.json"
    file.write_bytes(content)
    message = refused(reader, file)
    assert message.startswith(f"{file}: ")
    assert named in message


@every_reader
def test_the_wrong_outer_structure_is_refused(reader, tmp_path):
    file = tmp_path / "bad.json"
    file.write_text('{"a": {}}' if reader is read_tracks else "[{}]")
    assert str(file) in refused(reader, file)


@every_reader
def test_an_empty_file_of_the_right_structure_is_empty(reader, tmp_path):
    file = tmp_path / "empty.json"
    file.write_text("[]" if reader is read_tracks else "{}")
    assert len(reader(file)) == 0


@every_reader
@pytest.mark.parametrize("name", [name for name in HOSTILE_NAMES if isinstance(name, str)])
def test_hostile_ids_are_refused(reader, name, tmp_path):
    file = tmp_path / "bad.json"
    entry = {"Track Name": name, "Split": "train"}
    file.write_text(json.dumps([entry] if reader is read_tracks else {name: {}}))
    assert str(file) in refused(reader, file)


def test_a_byte_order_mark_is_passed_over(tmp_path):
    file = tmp_path / "bom.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file) == {"a": 1}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused(name):
    message = refused(check_name, name, Path("list.json"), "Track Name")
    assert message.startswith("list.json: Track Name")
    if isinstance(name, str) and len(name) < 50:
        assert repr(name) in message


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_ordinary_names_are_returned_as_they_are(name):
    assert check_name(name, Path("list.json"), "Track Name") == name
    assert check_path(f"train/{name}", Path("list.json"), "Path") == f"train/{name}"


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/", "a//b", "./a", "a/.", "../a", "a/..", "a/../b", "a/b\0", "a\\b/c", None, 3]
)
def test_hostile_paths_are_refused(path):
    assert "list.json" in refused(check_path, path, Path("list.json"), "Path")


@given(st.text())
def test_a_name_that_passes_stays_in_its_folder(name):
    try:
        check_name(name, Path("list.json"), "name")
    except MetadataError:
        return
    folder = Path("/folder")
    assert (folder / name).parent == folder
    assert len((folder / name).parts) == 3
    assert not re.search(r"[\0/\\]", name)


@given(st.text())
def test_a_path_that_passes_stays_in_its_folder(path):
    try:
        check_path(path, Path("list.json"), "path")
    except MetadataError:
        return
    parts = Path("/folder", path).parts
    assert parts[:2] == ("/", "folder") and len(parts) > 2 and ".." not in parts


def test_numbers_are_neither_bools_nor_infinite():
    file = Path("x.json")
    assert check_number(-30, file, "angle") == -30
    value: Any
    for value in (True, "3", None, [], 10**400, float("nan"), float("inf")):
        assert "angle" in refused(check_number, value, file, "angle")


# The contracts, with every key that a reader looks for and values of every kind in its place.
KEYS = [
    "Track Name",
    "Genre",
    "Split",
    "Path",
    "music",
    "gain",
    "head_loudspeaker_positions",
    "subject",
    "left_angle",
    "right_angle",
    "mic",
    "name",
    "audiogram_cfs",
    "audiogram_levels_l",
    "audiogram_levels_r",
    "Original Track Name",
    "Head Position",
    "vocals",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["train", "VP_E1", "BTE_fr", "..", -30, 22.5])
    | st.lists(st.floats(-10, 120), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner)
    ),
    max_leaves=30,
)


@every_reader
@given(data=st.data())
def test_whatever_the_json_only_a_metadata_error_comes_out(reader, data, tmp_path_factory):
    entry = st.dictionaries(st.sampled_from(KEYS), VALUES) | VALUES
    tree = data.draw(
        st.lists(entry, max_size=3) | st.dictionaries(st.text(max_size=5), entry, max_size=3) | VALUES
    )
    file = tmp_path_factory.mktemp("json") / "x.json"
    file.write_text(json.dumps(tree))
    try:
        reader(file)
    except MetadataError as error:
        assert str(error).startswith(f"{file}: ")
        assert "\n" not in str(error)
        assert len(str(error)) < len(str(file)) + 500


@every_reader
@given(
    content=st.binary(max_size=80)
    | st.text(alphabet='{}[],:"\\ue1.-NaIntrue \n', max_size=80).map(str.encode)
)
def test_whatever_the_bytes_only_a_metadata_error_comes_out(reader, content, tmp_path_factory):
    file = tmp_path_factory.mktemp("bytes") / "x.json"
    file.write_bytes(content)
    try:
        reader(file)
    except MetadataError as error:
        assert "\n" not in str(error)


@every_reader
def test_deep_values_inside_entries_do_not_overflow(reader, tmp_path):
    # Just deep enough that JSON reads it: what is shown of it in a message must not recurse.
    for depth in range(700, 1000, 23):
        deep = "[" * depth + "]" * depth
        file = tmp_path / "deep.json"
        fields = ", ".join(f'"{key}": {deep}' for key in KEYS)
        file.write_text(f"[{{{fields}}}]" if reader is read_tracks else f'{{"a": {{{fields}}}}}')
        refused(reader, file)
