import json

import pytest

from cadrender.errors import MetadataError
from cadrender.metadata.music import Track
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.samples import AtMicTrack, Sample, at_mic_json, read_at_mic, samples_of
from cadrender.metadata.scenes import SceneRecord
from cadrender.metadata.writing import write_json

TRACKS = [
    Track("Café & B's", "", "", "", "train", "train/Café & B's"),
    Track("A Classic Education - NightOwl", "", "", "", "valid", "elsewhere/night owl"),
]
POSITIONS = {
    f"hlp_{n:04d}": HeadPosition(f"hlp_{n:04d}", "VP_E1", -22.5, 30.0, "BTE_fr") for n in range(1, 4)
}


def scenes(*pairs):
    return [
        SceneRecord(f"scene_{n}", music, "gain_0001", position)
        for n, (music, position) in enumerate(pairs, 1)
    ]


def test_each_sample_comes_once_in_order_of_appearance():
    owl, cafe = "A Classic Education - NightOwl", "Café & B's"
    samples = samples_of(
        scenes(
            (owl, "hlp_0002"), (cafe, "hlp_0001"), (owl, "hlp_0002"), (owl, "hlp_0001"), (cafe, "hlp_0001")
        ),
        TRACKS,
        POSITIONS,
    )
    assert [sample.name for sample in samples] == [
        "A Classic Education - NightOwl-hlp_0002",
        "Café & B's-hlp_0001",
        "A Classic Education - NightOwl-hlp_0001",
    ]
    assert samples[0] == Sample(
        name="A Classic Education - NightOwl-hlp_0002",
        split="valid",
        path="valid/A Classic Education - NightOwl-hlp_0002",
        track=TRACKS[1],
        position=POSITIONS["hlp_0002"],
    )


def test_the_at_mic_text_is_the_references():
    samples = samples_of(scenes(("Café & B's", "hlp_0003"), (TRACKS[1].name, "hlp_0001")), TRACKS, POSITIONS)
    expected = (
        "{\n"
        '    "Caf\\u00e9 & B\'s-hlp_0003": {\n'
        '        "Track Name": "Caf\\u00e9 & B\'s-hlp_0003",\n'
        '        "Split": "train",\n'
        '        "Path": "train/Caf\\u00e9 & B\'s-hlp_0003",\n'
        '        "Original Track Name": "Caf\\u00e9 & B\'s",\n'
        '        "Head Position": "hlp_0003"\n'
        "    },\n"
        '    "A Classic Education - NightOwl-hlp_0001": {\n'
        '        "Track Name": "A Classic Education - NightOwl-hlp_0001",\n'
        '        "Split": "valid",\n'
        '        "Path": "valid/A Classic Education - NightOwl-hlp_0001",\n'
        '        "Original Track Name": "A Classic Education - NightOwl",\n'
        '        "Head Position": "hlp_0001"\n'
        "    }\n"
        "}"
    )
    assert at_mic_json(samples) == expected
    assert at_mic_json([]) == "{}"


def test_the_at_mic_list_reads_back(tmp_path):
    samples = samples_of(scenes(("Café & B's", "hlp_0003"), (TRACKS[1].name, "hlp_0001")), TRACKS, POSITIONS)
    file = tmp_path / "at_mic_music.train.json"
    write_json(file, at_mic_json(samples))
    entries = read_at_mic(file)
    assert list(entries) == [sample.name for sample in samples]
    assert entries["Café & B's-hlp_0003"] == AtMicTrack(
        "Café & B's-hlp_0003", "train", "train/Café & B's-hlp_0003", "Café & B's", "hlp_0003"
    )


def test_the_short_form_of_the_at_mic_list_is_read(tmp_path):
    file = tmp_path / "at_mic_music.valid.json"
    file.write_text('{"x-h": {"Track Name": "x-h", "Split": "valid", "Path": "valid/x-h"}}')
    assert read_at_mic(file) == {"x-h": AtMicTrack("x-h", "valid", "valid/x-h", "", "")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Track Name": "y"}, "its Track Name is 'y'"),
        ({"Split": "../x"}, "Split '../x'"),
        ({"Path": "/x"}, "Path '/x'"),
        ({"Original Track Name": 3}, "Original Track Name"),
        ({"Head Position": "a/b"}, "Head Position 'a/b'"),
    ],
)
def test_bad_at_mic_entries_are_named(change, named, tmp_path):
    file = tmp_path / "at_mic_music.train.json"
    file.write_text(
        json.dumps({"x-h": {"Track Name": "x-h", "Split": "train", "Path": "train/x-h", **change}})
    )
    with pytest.raises(MetadataError) as caught:
        read_at_mic(file)
    assert str(caught.value).startswith(f"{file}: sample 'x-h'")
    assert named in str(caught.value)


def test_unknown_names_come_with_near_ones():
    with pytest.raises(MetadataError, match=r"'scene_1': the track 'A Classic .*near ones: 'A Classic"):
        samples_of(scenes(("A Classic Education - Night Owl", "hlp_0001")), TRACKS, POSITIONS)
    with pytest.raises(MetadataError, match=r"'scene_1': .*positions 'hlp_1'.*near ones: 'hlp_0001'"):
        samples_of(scenes((TRACKS[0].name, "hlp_1")), TRACKS, POSITIONS)


def test_two_samples_of_one_name_are_refused():
    tracks = [Track(name, "", "", "", "train", f"train/{name}") for name in ("x", "x-a")]
    positions = {name: HeadPosition(name, "VP", -1, 1, "m") for name in ("a-b", "b")}
    with pytest.raises(MetadataError, match=r"'scene_2'.*'x' at 'a-b': 'x-a-b'"):
        samples_of(scenes(("x", "a-b"), ("x-a", "b")), tracks, positions)


def test_a_sample_name_too_long_for_a_folder_is_refused():
    long = Track("x" * 250, "", "", "", "train", "train/x")
    with pytest.raises(MetadataError, match=r"'scene_1': sample name .* longer"):
        samples_of(scenes((long.name, "hlp_0001")), [long], POSITIONS)
