import itertools
import json
import random

import pytest

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.positions import (
    HeadPosition,
    add_positions,
    build_positions,
    hrir_name,
    hrir_names,
    parse_angles,
    parse_hrir_name,
    positions_json,
    read_positions,
)

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
    position = read_positions(file)["hlp_0001"]
    assert position.left_hrir == f"BTE_fr-VP_E1-{left_name}.wav"
    assert position.right_hrir == f"BTE_fr-VP_E1-{right_name}.wav"


def test_positions_keep_the_order_of_the_file(positions_file):
    positions = read_positions(positions_file({"z": ENTRY, "a": ENTRY, "m": ENTRY}))
    assert list(positions) == ["z", "a", "m"]
    assert positions["a"] == HeadPosition("a", "VP_E1", -37.5, 22.5, "BTE_fr")


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
        read_positions(file)
    assert str(caught.value).startswith(f"{file}: position 'hlp_0002'")
    assert named in str(caught.value)


@pytest.mark.parametrize("key", ENTRY)
def test_missing_fields_are_named(key, positions_file):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    with pytest.raises(MetadataError, match=f"position 'hlp_0001' has no '{key}'"):
        read_positions(positions_file({"hlp_0001": entry}))


def test_the_official_files_give_the_official_positions():
    names = [*OFFICIAL_FILES, "README.txt", "._BTE_fr-VP_E1-n22.5.wav"]
    random.Random(5).shuffle(names)
    positions = build_positions(names)
    expected = [
        (f"VP_{human}", left, right, "BTE_fr")
        for human in HUMANS
        for left in (-37.5, -30.0, -22.5)
        for right in (22.5, 30.0, 37.5)
    ]
    assert len(positions) == 144
    assert list(positions) == [f"hlp_{n:04d}" for n in range(1, 145)]
    assert [(p.subject, p.left_angle, p.right_angle, p.mic) for p in positions.values()] == expected
    assert positions["hlp_0001"] == HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr")
    assert {p.left_hrir for p in positions.values()} | {p.right_hrir for p in positions.values()} == set(
        OFFICIAL_FILES
    )


def test_a_smaller_folder_gives_what_it_holds():
    positions = build_positions(
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
    positions = build_positions(names)
    assert len(positions) == 36
    assert {p.left_hrir for p in positions.values()} | {p.right_hrir for p in positions.values()} == names


@pytest.mark.parametrize(
    "name",
    ["a-b-n30.flac", "a-b-x30.wav", "a-b-n30.00.wav", "a-b-n030.wav", "a-b-n.5.wav", "a-b-n3e1.wav",
     "a-n30.wav", "a-b-n٣.wav", "a-b\n-n30.wav", "a-b\udcff-n30.wav", "a-b/c-n30.wav", "a-b-n30.wav.bak", "",
     "a-b-n" + "9" * 400 + ".wav"],
)  # fmt: skip
def test_names_that_no_position_can_name_are_passed_over(name):
    assert parse_hrir_name(name) is None
    with pytest.raises(MetadataError, match=r"BTE_fr-VP_E1-n37\.5\.wav"):
        build_positions([name])


def test_a_folders_wav_files_are_listed(tmp_path):
    for name in ("b.wav", "a.wav", "._a.wav", "c.txt"):
        (tmp_path / name).touch()
    assert hrir_names(tmp_path) == ["a.wav", "b.wav"]
    with pytest.raises(MetadataError, match="none"):
        hrir_names(tmp_path / "none")


def test_written_positions_read_back(positions_file):
    positions = build_positions(OFFICIAL_FILES)
    text = positions_json(positions)
    assert read_positions(positions_file(text)) == positions
    assert text.startswith(
        '{\n    "hlp_0001": {\n        "subject": "VP_E1",\n        "left_angle": -37.5,\n'
        '        "right_angle": 22.5,\n        "mic": "BTE_fr"\n    },\n    "hlp_0002": {\n'
    )
    assert '"left_angle": -30.0,' in text
    assert text.endswith('        "mic": "BTE_fr"\n    }\n}')


@pytest.mark.parametrize("side", "np")
@pytest.mark.parametrize("angle", ["0", "0.0", "180", "180.0"])
def test_one_file_ahead_or_behind_is_left_and_right(side, angle):
    positions = build_positions([f"m-s-{side}{angle}.wav", "m-s-n30.wav", "m-s-p45.wav"])
    left = angle if float(angle) == 0 else f"-{angle}"
    found = {(str(p.left_angle), str(p.right_angle)) for p in positions.values()}
    assert found == {(a, b) for a in (left, "-30") for b in (angle, "45")}
    (alone,) = build_positions([f"m-s-{side}{angle}.wav"]).values()
    assert (str(alone.left_angle), str(alone.right_angle)) == (left, angle)


@pytest.mark.parametrize("angle", ["0.0", "180.0"])
@pytest.mark.parametrize("there", ["n", "p", "np", ""])
def test_the_one_file_ahead_serves_both_loudspeakers(tmp_path, angle, there):
    for side in there:
        (tmp_path / f"m-s-{side}{angle}.wav").touch()
    number = float(angle)
    files = HeadPosition("x", "s", -number, number, "m").hrir_files(tmp_path)
    expected = there * 2 if len(there) == 1 else "np"
    assert files == tuple(tmp_path / f"m-s-{side}{angle}.wav" for side in expected)


def test_off_the_middle_each_side_has_its_own_file(tmp_path):
    (tmp_path / "m-s-n30.0.wav").touch()
    files = HeadPosition("x", "s", -30.0, 30.0, "m").hrir_files(tmp_path)
    assert files == (tmp_path / "m-s-n30.0.wav", tmp_path / "m-s-p30.0.wav")


@pytest.mark.parametrize(
    ("text", "angles"),
    [
        ("22.5,30", (-30.0, -22.5, 22.5, 30.0)),
        ("-30,+45", (-30.0, 45.0)),
        (" 0 , 180,-0,+180,-180", (0.0, 180.0)),
        ("5,-5,+5", (-5.0, 5.0)),
    ],
)
def test_angles_without_a_sign_are_on_both_sides(text, angles):
    assert [str(angle) for angle in parse_angles(text)] == [str(angle) for angle in angles]


@pytest.mark.parametrize("text", ["", "30,", "x", "nan", "inf", "181", "-180.5", "3_0", "30 40"])
def test_other_angles_are_refused(text):
    with pytest.raises(UsageError, match="is not a number of degrees from -180 to 180"):
        parse_angles(text)


@pytest.mark.parametrize("angle", [-37.5, 30, 0.0, -180.0, 180, 6.43])
def test_hrir_names_read_back(angle):
    name = hrir_name("BTE_fr", "VP-E1, n", angle)
    parts = parse_hrir_name(name)
    assert parts
    mic, subject, side, number = parts
    assert (mic, subject, number) == ("BTE_fr", "VP-E1, n", abs(angle))
    assert side == ("n" if -180 < angle < 0 else "p")


@pytest.mark.parametrize(
    ("mic", "subject", "angle"),
    [("BTE-fr", "A", 30), ("", "A", 30), (".x", "A", 30), ("m", "", 30), ("m", "a/b", 30), ("m", "A", 1e-7),
     ("m", "x" * 250, 30), ("m", "a\n", 30)],
)  # fmt: skip
def test_names_that_would_not_read_back_are_refused(mic, subject, angle):
    with pytest.raises(UsageError, match="no HRIR file can be named"):
        hrir_name(mic, subject, angle)


def test_positions_are_added_once_and_ids_continue(positions_file):
    file = positions_file({"hlp_0007": {**ENTRY, "note": 1}, "other": {**ENTRY, "left_angle": -30}})
    new = [
        HeadPosition("", "VP_E1", -37.5, 22.5, "BTE_fr"),
        HeadPosition("", "VP_E1", -30.0, 22.5, "BTE_fr"),
        HeadPosition("", "KEMAR", -30, 30, "ear"),
    ]
    text, ids = add_positions(file, [*new, new[1]])
    assert ids == ["hlp_0008", "hlp_0009"]  # -30.0 is another file than -30
    content = json.loads(text)
    assert list(content) == ["hlp_0007", "other", *ids]
    assert content["hlp_0007"] == {**ENTRY, "note": 1}
    assert content["hlp_0009"] == {"subject": "KEMAR", "left_angle": -30, "right_angle": 30, "mic": "ear"}
    assert add_positions(file.with_name("none.json"), new[2:])[1] == ["hlp_0001"]
