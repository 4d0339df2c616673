import json

import pytest

from cadrender.errors import MetadataError
from cadrender.metadata.listeners import Listener, listeners_json, read_listeners
from cadrender.metadata.writing import write_json

CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
ENTRY = {
    "name": "L0001",
    "audiogram_cfs": list(CFS),
    "audiogram_levels_l": [45, 45, 35, 45, 60, 65, 70, 65],
    "audiogram_levels_r": [40, 40, 45.5, 55, 60, 65, 75, 70],
}


def flat(left, right=None):
    return Listener("L1", CFS, (left,) * 8, (left if right is None else right,) * 8)


@pytest.fixture
def listeners_file(tmp_path):
    def write(**entries):
        file = tmp_path / "listeners.train.json"
        file.write_text(json.dumps(entries))
        return file

    return write


def test_a_listener_is_read(listeners_file):
    listeners = read_listeners(listeners_file(L0002={**ENTRY, "name": "L0002"}, L0001=ENTRY))
    assert list(listeners) == ["L0002", "L0001"]
    assert listeners["L0001"] == Listener(
        "L0001", CFS, (45, 45, 35, 45, 60, 65, 70, 65), (40, 40, 45.5, 55, 60, 65, 75, 70)
    )


def test_the_better_ear_by_hand(listeners_file):
    listener = read_listeners(listeners_file(L0001=ENTRY))["L0001"]
    # left (45 + 35 + 45 + 65) / 4 = 47.5, right (40 + 45.5 + 55 + 65) / 4 = 51.375
    assert listener.better_ear_average == 47.5
    assert listener.severity_who == "moderate"
    # left (45 + 45 + 35 + 45 + 65) / 5 = 47, right (40 + 40 + 45.5 + 55 + 65) / 5 = 49.1
    assert listener.severity_bsa == "moderate"
    swapped = Listener("x", listener.cfs, listener.levels_right, listener.levels_left)
    assert swapped.better_ear_average == 47.5


def test_only_the_four_frequencies_count():
    levels = [100.0] * 8
    for place in (1, 2, 3, 5):
        levels[place] = 10.0
    assert Listener("x", CFS, tuple(levels), (90.0,) * 8).better_ear_average == 10.0


@pytest.mark.parametrize(
    ("level", "grade"),
    [(-10, "normal"), (19.9, "normal"), (20, "mild"), (34.9, "mild"), (35, "moderate"), (49.9, "moderate"),
     (50, "moderately severe"), (64.9, "moderately severe"), (65, "severe"), (79.9, "severe"),
     (80, "profound"), (94.9, "profound"), (95, "complete"), (120, "complete")],
)  # fmt: skip
def test_who_grades_begin_where_the_report_says(level, grade):
    assert flat(level).severity_who == grade
    assert flat(130, level).severity_who == flat(level, 130).severity_who == grade


@pytest.mark.parametrize(
    ("level", "descriptor"),
    [(-10, "normal"), (19.9, "normal"), (20, "mild"), (40, "mild"), (40.5, "moderate"), (41, "moderate"),
     (70, "moderate"), (71, "severe"), (95, "severe"), (95.1, "profound"), (120, "profound")],
)  # fmt: skip
def test_bsa_descriptors_end_where_the_procedure_says(level, descriptor):
    assert flat(level).severity_bsa == descriptor
    assert flat(130, level).severity_bsa == flat(level, 130).severity_bsa == descriptor


def test_bsa_counts_250_hz_and_who_does_not():
    listener = Listener("x", CFS, (100, *(30,) * 7), (100, *(30,) * 7))
    assert listener.better_ear_average == 30
    assert (listener.severity_who, listener.severity_bsa) == ("mild", "moderate")


def test_a_lacking_frequency_is_named():
    listener = Listener("L7", (500, 1000, 2000), (1, 1, 1), (1, 1, 1))
    for attribute in ("better_ear_average", "severity_who"):
        with pytest.raises(MetadataError, match="'L7': no threshold at 4000 Hz"):
            getattr(listener, attribute)
    with pytest.raises(MetadataError, match="250 Hz"):
        _ = listener.severity_bsa


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": "L0002"}, "its name is 'L0002'"),
        ({"name": 3}, "name is the number 3"),
        ({"audiogram_cfs": []}, "rising"),
        ({"audiogram_cfs": [0, *CFS[1:]]}, "rising"),
        ({"audiogram_cfs": [500, 250, *CFS[2:]]}, "rising"),
        ({"audiogram_cfs": [250, 250, *CFS[2:]]}, "rising"),
        ({"audiogram_cfs": "250"}, "audiogram_cfs is the text '250'"),
        ({"audiogram_levels_l": [1] * 7}, "audiogram_levels_l has 7 numbers for 8 frequencies"),
        ({"audiogram_levels_r": [1] * 9}, "audiogram_levels_r has 9 numbers for 8 frequencies"),
        ({"audiogram_levels_r": [1] * 7 + [None]}, "audiogram_levels_r: item 8 is null"),
        ({"audiogram_levels_l": ["a"] + [1] * 7}, "audiogram_levels_l: item 1 is the text 'a'"),
    ],
)
def test_bad_listeners_are_named(change, named, listeners_file):
    file = listeners_file(L0001={**ENTRY, **change})
    with pytest.raises(MetadataError) as caught:
        read_listeners(file)
    assert str(caught.value).startswith(f"{file}: listener 'L0001'")
    assert named in str(caught.value)


def test_written_listeners_read_back(listeners_file, tmp_path):
    listeners = read_listeners(listeners_file(L0001=ENTRY))
    text = listeners_json(listeners.values())
    assert json.loads(text) == {"L0001": ENTRY}
    write_json(tmp_path / "again.json", text)
    assert read_listeners(tmp_path / "again.json") == listeners
