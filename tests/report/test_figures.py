import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from cadrender.metadata.listeners import Listener
from cadrender.metadata.positions import HeadPosition
from cadrender.report import figures
from cadrender.report.levels import FileLevel
from cadrender.report.responses import Response, frequencies
from tests.report.conftest import CFS, LISTENERS

BANDS = frequencies(44100)
HEADS = ("A", "B", "<C>")


def parsed(svg):
    named = str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    return ET.fromstring(named)


def label(svg):
    return parsed(svg).get("aria-label")


def texts(svg):
    return ["".join(text.itertext()) for text in parsed(svg).iter("text")]


def lines(svg, head):
    """The points of a head's lines, in pixels from the top left."""
    found = [group for group in parsed(svg).iter("g") if group.get("data-head") == str(head)]
    return [
        np.array(
            [
                [float(n) for n in point]
                for point in re.findall(r"[ML] (\S+) (\S+)", group.find("path").get("d"))
            ]
        )
        for group in found
    ]


def response(head, azimuth, near, far, delay=200.0, level=6.0):
    return Response(head, azimuth, np.full(len(BANDS), near), np.full(len(BANDS), far), delay, level)


def test_a_response_panel_draws_both_ears_of_every_head_where_they_belong():
    found = [response(head, -30.0, near=k, far=-10.0 - k) for k, head in enumerate(HEADS)]
    svg = figures.response_panel(found, HEADS, BANDS, (-20, 5))
    for k in range(3):
        far, near = lines(svg, k)
        # 250 pixels high, 10 above the axes and 40 below, 25 dB.
        assert near[0, 1] == pytest.approx(10 + (5 - k) * 8, abs=0.1)
        assert far[0, 1] == pytest.approx(10 + (15 + k) * 8, abs=0.1)
        assert np.ptp(near[:, 0]) == pytest.approx(292 * np.log(BANDS[-1] / 100) / np.log(200), abs=0.2)
    assert "−30°" in label(svg) and "3 heads" in label(svg)
    assert "at 4 kHz: near ear 1 dB, far ear -11 dB" in label(svg)
    assert {"100", "1k", "20k", "Frequency (Hz)", "Magnitude (dB)"} <= set(texts(svg))


def strongest(svg, hue):
    """Width and opacity of the boldest line of a colour."""
    styles = [
        path.get("style")
        for path in parsed(svg).iter("path")
        if f"stroke: var(--{hue})" in path.get("style", "")
    ]
    look = [
        [float((re.findall(f"{key}: ([0-9.]+)", style) or [1])[0]) for key in ("width", "opacity")]
        for style in styles
    ]
    return max(look)


def test_a_single_head_is_drawn_as_boldly_as_a_median():
    for heads in (HEADS[:1], HEADS):
        found = [response(head, -30.0, near=0.0, far=-10.0) for head in heads]
        svg = figures.response_panel(found, heads, BANDS, (-20, 5))
        assert strongest(svg, "warm") == strongest(svg, "cool") == [2.2, 1.0]
        assert strongest(figures.interaural(found, heads, "delay"), "ink") == [2.2, 1.0]
    assert "1 head." in label(figures.response_panel(found[:1], HEADS, BANDS, (-20, 5)))


def test_the_axis_of_magnitudes_takes_all_that_matters():
    low, high = figures.response_limits([response("A", 30.0, 4.0, -21.0), response("A", -30.0, 2.0, -200.0)])
    assert (low, high) == (-60, 5)


def test_individuality_is_the_difference_from_the_median():
    found = [
        response(head, azimuth, near=offset, far=0.0)
        for head, offset in zip(HEADS, (0.0, 1.0, 4.0), strict=True)
        for azimuth in (-30.0, 30.0)
    ]
    svg, span = figures.individuality(found, HEADS, BANDS, "near")
    assert "The largest is +3.0 dB, of <C>" in label(svg) and span == 3
    assert set(HEADS) <= set(texts(svg))
    svg, span = figures.individuality(found, HEADS, BANDS, "far")
    assert "+0.0 dB" in label(svg) and span == 1


def test_many_heads_are_thinned_and_long_names_shortened():
    heads = [f"head {k:03d} with a long name" for k in range(300)]
    found = [response(head, -30.0, 0.0, -1.0) for head in heads]
    svg, _ = figures.individuality(found, heads, BANDS, "near")
    assert "head 000 wi…" in texts(svg) and len(texts(svg)) < 70
    assert figures.response_panel(found, heads, BANDS, (-5, 5)).count("data-head") == 240
    assert figures.thinned(range(300), 4) == [0, 100, 199, 299]


def test_interaural_medians_are_told():
    found = [
        response(head, azimuth, 0, 0, delay=100.0 * k + abs(azimuth), level=float(k))
        for k, head in enumerate(HEADS)
        for azimuth in (-30.0, 22.5, 30.0)
    ]
    delay, level = (figures.interaural(found, HEADS, what) for what in ("delay", "level"))
    assert "−30° 130 µs, +22.5° 122 µs, +30° 130 µs" in label(delay)
    assert "−30° 1 dB" in label(level)
    left, right = lines(delay, 1)
    assert len(left) == 1 and len(right) == 2 and left[0, 0] < right[0, 0] < right[1, 0]
    assert right[0, 1] > right[1, 1], "later is higher"


def test_gains_are_counted_by_stem():
    gains = [{"vocals": 10, "drums": -3}, {"vocals": 10}, {"other": -3, "brass": 6}]
    svg = figures.gains_by_stem(gains)
    assert "vocals: 0 dB 1 time, +10 dB 2 times; drums: −3 dB 1 time, 0 dB 2 times; bass: 0 dB 3" in label(
        svg
    )
    assert {"−3", "0", "+10", "vocals", "Gain (dB)"} <= set(texts(svg))


def test_gains_of_many_sizes_are_gathered():
    gains = [{"vocals": value, "drums": -value} for value in np.linspace(-9, 9, 55)]
    svg = figures.gains_by_stem(gains)
    (vocals,) = re.findall("vocals: ([^;]*);", label(svg))
    assert sum(map(int, re.findall(r"(\d+) times?", vocals))) == 55


def test_positions_used_are_counted_by_head_and_pair():
    positions = [
        HeadPosition(f"hlp_{k}", head, -left, right, "BTE_fr")
        for k, (head, left, right) in enumerate(
            (h, a, b) for h in "AB" for a in (30, 22.5) for b in (30, 37.5)
        )
    ]
    svg = figures.positions_used(positions, [positions[0], positions[0], positions[7]])
    assert "2 of 8 combinations are used, at most 2 times" in label(svg)
    assert texts(svg).count("2") == 1 and texts(svg).count("1") == 1


def test_a_pair_in_one_place_is_named_once():
    positions = [
        HeadPosition(f"hlp_{k}", "A", -angle, angle, "BTE_fr") for k, angle in enumerate((0, 110, 180))
    ]
    svg = figures.positions_used(positions, positions)
    names = [text for text in texts(svg) if text.strip("−+").isdigit() and text != "1"]
    assert sorted(names) == ["+110", "+180", "0", "−110"]


def test_audiograms_go_down_with_hearing_loss():
    svg = figures.audiogram_panel(LISTENERS, "left")
    assert "3 listeners, left ear" in label(svg)
    assert "250 Hz 10 dB HL, 500 Hz 15 dB HL" in label(svg) and "8000 Hz 78 dB HL" in label(svg)
    places = {
        text.text: float(text.get("y"))
        for text in parsed(svg).iter("text")
        if text.text in ("0", "20", "80", "120")
    }
    assert places["0"] < places["20"] < places["80"] < places["120"]
    assert {"250", "1k", "8k", "Hearing threshold (dB HL)"} <= set(texts(svg))


def test_grades_are_counted():
    assert figures.grade_of(LISTENERS[0]) == "mild" and figures.grade_of(LISTENERS[2]) == ""
    svg = figures.grade_bars([*LISTENERS, Listener("L", CFS, (90,) * 8, (99,) * 8)])
    assert label(svg).endswith("mild 1, moderately severe 1, profound 1, not graded 1.")
    assert "var(--grade1)" in svg and "var(--grade5)" in svg and "var(--grade2)" not in svg


def levels():
    for k in range(9):
        yield FileLevel(f"sample {k}", "mixture", 44100, -20.0 - k, -22.0 - k, 10 ** (2 / 20), 0)
        yield FileLevel(f"sample {k}", "vocals", 44100, -np.inf, -np.inf, 0.0, 0)
        yield FileLevel(f"sample {k}", "bass", 44100, -30.0, -28.0 + k, 10 ** ((-2 - k) / 20), 0)


def test_loudness_before_and_after():
    svg = figures.loudness_strips(list(levels()))
    assert label(svg) == (
        "Median loudness in LUFS: mixture -24.0 before and -26.0 after; bass -30.0 before and -24.0 after."
    )
    assert "silent" in texts(svg) and "drums" not in texts(svg)
    assert "Integrated loudness (LUFS)" in texts(svg)


def test_gains_applied():
    svg = figures.gain_strips(list(levels()))
    assert "mixture +2.0 (+2.0 to +2.0); bass -6.0 (-10.0 to -2.0)" in label(svg)


def test_only_silence_can_be_drawn():
    silent = [FileLevel("sample", "vocals", 44100, -np.inf, -np.inf, 0.0, 0)]
    assert "silent" in texts(figures.loudness_strips(silent))
    assert "silent" in texts(figures.gain_strips(silent))


def points(group):
    """The points of everything drawn in a group, (n, 2)."""
    data = " ".join(path.get("d") for path in group.iter("path"))
    return np.array(re.findall(r"(-?[0-9.]+) (-?[0-9.]+)", data), float)


def marked(svg, *kinds):
    """Groups by their mark, in order: ``data-near="0"`` is of the kind ``near``."""
    return [group for group in svg.iter("g") for kind in kinds if f"data-{kind}" in group.attrib]


def head_of(svg):
    """The middle of the head: the last thing drawn."""
    drawn = points([group for group in svg.iter("g") if group.find("path") is not None][-1])
    return (drawn.min(axis=0) + drawn.max(axis=0)) / 2


@pytest.mark.parametrize(
    ("left", "right"), [(-37.5, 22.5), (37.5, 22.5), (-90, 150), (110, 110), (-90, 0), (0, 30), (135.5, 180)]
)
def test_the_top_view_puts_loudspeakers_where_they_are(left, right):
    svg = parsed(figures.top_view(HeadPosition("hlp", "<VP>", left, right, "BTE_fr")))
    head = head_of(svg)
    speakers = marked(svg, "speaker")
    places = [points(speaker).mean(axis=0) - head for speaker in speakers]
    angles = [np.degrees(np.arctan2(x, -y)) for x, y in places]
    assert np.cos(np.radians(angles)) == pytest.approx(np.cos(np.radians([left, right])), abs=0.02)
    assert angles[0] <= 0.5 and (angles[1] >= -0.5 or right == 180)
    assert svg.get("aria-label").startswith("Head <VP> from above")
    _, _, width, height = map(float, svg.get("viewBox").split())
    for speaker in speakers:
        assert (points(speaker) > 0).all() and (points(speaker) < (width, height)).all()
    for number in svg.iter("text"):
        (x,) = re.findall(r"translate\((\S+) ", number.get("transform") or f"translate({number.get('x')} ")
        length = 7.5 * len(number.text) * (-1 if "end" in number.get("style") else 1)
        assert 0 < float(x) + length < width, "the whole number is in the picture"
    assert [number.text for number in svg.iter("text")] == [f"{abs(angle):g}°" for angle in (left, right)]


def test_the_near_ear_is_the_one_on_the_side_of_the_loudspeaker():
    svg = parsed(figures.top_view(HeadPosition("hlp", "VP", -110, 200, "BTE_fr")))
    for near, far in zip(marked(svg, "near"), marked(svg, "far"), strict=True):
        (x, _), (ear, _) = points(near)
        assert np.sign(ear - head_of(svg)[0]) == np.sign(x - head_of(svg)[0]) == -1
        assert points(far)[1, 0] > head_of(svg)[0]


@pytest.mark.parametrize("angle", [0, 0.0, 180])
def test_two_loudspeakers_in_one_place_are_one(angle):
    svg = parsed(figures.top_view(HeadPosition("hlp", "VP", -angle, angle, "BTE_fr")))
    assert len(marked(svg, "speaker")) == 1 and len(list(svg.iter("text"))) == 1
    assert len(marked(svg, "near")) == 2 and not marked(svg, "far"), "it is as near to either ear"


def test_gain_bars():
    svg = parsed(figures.gain_bars({"vocals": -10, "drums": 5, "bass": 0}))
    bars = [points(bar)[:, 0] for bar in marked(svg, "bar")]
    assert np.ptp(bars[0]) == pytest.approx(2 * np.ptp(bars[1]))
    assert bars[0].max() == bars[1].min(), "down goes left and up goes right"
    assert [np.ptp(bar) for bar in bars[2:]] == [0, 0]
    numbers = {text.text for text in svg.iter("text")}
    assert numbers == {"vocals", "drums", "bass", "other", "−10", "+5", "0"}
    assert svg.get("aria-label") == "Gains: vocals -10 dB, drums +5 dB, bass +0 dB, other +0 dB."


def test_a_waveform_fills_its_height_at_the_peak():
    envelope = np.array([[0.5, 0.0], [0.25, 0.5]])
    assert figures.waveform(envelope, 0.5) == "M2 2V74M6 49V98"
