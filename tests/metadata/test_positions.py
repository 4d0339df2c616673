import itertools
import json
import random

import pytest

from cadrender import metadata
from cadrender.errors import MetadataError

HUMANS = ["E1", "E2", "E4", "E5", "E6", "E7", "E8", "E9", "E11", "E12", "E13", "N1", "N3", "N4", "N5", "N6"]
OFFICIAL_FILES = [
    f"BTE_fr-VP_{human}-{side}{angle}.wav"
    for human in HUMANS
    for side in "np"
    for angle in (22.5, 30.0, 37.5)
]
ENTRY = {"subject": "VP_E1", "left_angle": -37.5, "right_angle": 22.5, "mic": "BTE_fr"}


@pytest.fixture
def positions_file(tmp_path):
    def write(text):
        file = tmp_path / "head_loudspeaker_positions.json"
        file.write_text(text if isinstance(text, str) else json.dumps(text))
        return file

    return write


@pytest.mark.parametrize(
    ("left", "right", "left_name", "right_name"),
    [
        ("-37.5", "22.5", "n37.5", "p22.5"),
        ("-30.0", "30.0", "n30.0", "p30.0"),
        ("-30", "30", "n30", "p30"),
        ("22.5", "-7.50", "n22.5", "p7.5"),
        ("-0.0", "0", "n0.0", "p0"),
        ("-2e1", "1e-7", "n20.0", "p1e-07"),
    ],
)
def test_hrir_files_are_named_as_python_prints_the_json_number(
    left, right, left_name, right_name, positions_file
):
    angles = f'"left_angle": {left}, "right_angle": {right}'
    file = positions_file(f'{{"hlp_0001": {{"subject": "VP_E1", {angles}, "mic": "BTE_fr"}}}}')
    position = metadata.read_positions(file)["hlp_0001"]
    assert position.left_hrir == f"BTE_fr-VP_E1-{left_name}.wav"
    assert position.right_hrir == f"BTE_fr-VP_E1-{right_name}.wav"


def test_positions_keep_the_order_of_the_file(positions_file):
    positions = metadata.read_positions(positions_file({"z": ENTRY, "a": ENTRY, "m": ENTRY}))
    assert list(positions) == ["z", "a", "m"]
    assert positions["a"] == metadata.HeadPosition("a", "VP_E1", -37.5, 22.5, "BTE_fr")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"subject": "../VP"}, "subject '../VP'"),
        ({"subject": None}, "subject is null"),
        ({"mic": "/BTE"}, "mic '/BTE'"),
        ({"mic": ""}, "mic ''"),
        ({"left_angle": "37.5"}, "left_angle is the text '37.5'"),
        ({"right_angle": True}, "right_angle is true"),
        ({"right_angle": 10**400}, "right_angle is not a finite number"),
        ({"subject": "x" * 250}, "HRIR file"),
    ],
)
def test_bad_positions_are_named(change, named, positions_file):
    file = positions_file({"hlp_0001": ENTRY, "hlp_0002": {**ENTRY, **change}})
    with pytest.raises(MetadataError) as caught:
        metadata.read_positions(file)
    assert str(caught.value).startswith(f"{file}: position 'hlp_0002'")
    assert named in str(caught.value)


@pytest.mark.parametrize("key", ENTRY)
def test_missing_fields_are_named(key, positions_file):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    with pytest.raises(MetadataError, match=f"position 'hlp_0001' has no '{key}'"):
        metadata.read_positions(positions_file({"hlp_0001": entry}))


def test_the_official_files_give_the_official_positions():
    names = [*OFFICIAL_FILES, "README.txt", "._BTE_fr-VP_E1-n22.5.wav"]
    random.Random(5).shuffle(names)
    positions = metadata.build_positions(names)
    expected = [
        (f"VP_{human}", left, right, "BTE_fr")
        for human in HUMANS
        for left in (-37.5, -30.0, -22.5)
        for right in (22.5, 30.0, 37.5)
    ]
    assert len(positions) == 144
    assert list(positions) == [f"hlp_{n:04d}" for n in range(1, 145)]
    assert [(p.subject, p.left_angle, p.right_angle, p.mic) for p in positions.values()] == expected
    assert positions["hlp_0001"] == metadata.HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr")
    assert {p.left_hrir for p in positions.values()} | {p.right_hrir for p in positions.values()} == set(
        OFFICIAL_FILES
    )


def test_a_smaller_folder_gives_what_it_holds():
    positions = metadata.build_positions(
        [
            "M-A-B-n5.wav",
            "M-A-B-n12.5.wav",
            "M-A-B-p5.wav",
            "M-left_only-n5.wav",
            "M-right_only-p5.wav",
            "L-Z-n1.wav",
            "L-Z-p2.0.wav",
        ]
    )
    assert [(p.mic, p.subject, p.left_angle, p.right_angle) for p in positions.values()] == [
        ("L", "Z", -1, 2.0),
        ("M", "A-B", -12.5, 5),
        ("M", "A-B", -5, 5),
    ]
    assert positions["hlp_0001"].left_hrir == "L-Z-n1.wav"
    assert positions["hlp_0001"].right_hrir == "L-Z-p2.0.wav"


def test_built_positions_name_only_files_that_are_there():
    angles = ["0", "0.0", "7.5", "30", "30.0", "172.5"]
    names = {f"m-s-{side}{angle}.wav" for side, angle in itertools.product("np", angles)}
    positions = metadata.build_positions(names)
    assert len(positions) == 36
    assert {p.left_hrir for p in positions.values()} | {p.right_hrir for p in positions.values()} == names


@pytest.mark.parametrize(
    "name",
    ["a-b-n30.flac", "a-b-x30.wav", "a-b-n30.00.wav", "a-b-n030.wav", "a-b-n.5.wav", "a-b-n3e1.wav",
     "a-n30.wav", "a-b-n٣.wav", "a-b\n-n30.wav", "a-b\udcff-n30.wav", "a-b/c-n30.wav", "a-b-n30.wav.bak", "",
     "a-b-n" + "9" * 400 + ".wav"],
)  # fmt: skip
def test_names_that_no_position_can_name_are_passed_over(name):
    assert metadata.parse_hrir_name(name) is None
    with pytest.raises(MetadataError, match=r"BTE_fr-VP_E1-n37\.5\.wav"):
        metadata.build_positions([name])


def test_a_folders_wav_files_are_listed(tmp_path):
    for name in ("b.wav", "a.wav", "._a.wav", "c.txt"):
        (tmp_path / name).touch()
    assert metadata.hrir_names(tmp_path) == ["a.wav", "b.wav"]
    with pytest.raises(MetadataError, match="none"):
        metadata.hrir_names(tmp_path / "none")


def test_written_positions_read_back(positions_file):
    positions = metadata.build_positions(OFFICIAL_FILES)
    text = metadata.positions_json(positions)
    assert metadata.read_positions(positions_file(text)) == positions
    assert text.startswith(
        '{\n    "hlp_0001": {\n        "subject": "VP_E1",\n        "left_angle": -37.5,\n'
        '        "right_angle": 22.5,\n        "mic": "BTE_fr"\n    },\n    "hlp_0002": {\n'
    )
    assert '"left_angle": -30.0,' in text
    assert text.endswith('        "mic": "BTE_fr"\n    }\n}')
