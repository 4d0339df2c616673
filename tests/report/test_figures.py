import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from cadrender.metadata import HeadPosition, Listener
from cadrender.report import figures
from cadrender.report.diagrams import gain_bars, top_view, waveform
from cadrender.report.levels import FileLevel
from cadrender.report.responses import Response, frequencies
from tests.report.conftest import CFS, LISTENERS

BANDS = frequencies(44100)
HEADS = ("A", "B", "<C>")


def parsed(svg):
    named = svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
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
    left, right = (near, far) if azimuth < 0 else (far, near)
    return Response(head, azimuth, np.full(len(BANDS), left), np.full(len(BANDS), right), delay, level)


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
    assert figures.thinned(range(300), 3) == [0, 100, 200]


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
    assert "vocals: 0 dB 1 times, +10 dB 2 times; drums: −3 dB 1 times, 0 dB 2 times; bass: 0 dB 3" in label(
        svg
    )
    assert {"−3", "0", "+10", "vocals", "Gain (dB)"} <= set(texts(svg))


def test_gains_of_many_sizes_are_gathered():
    gains = [{"vocals": value, "drums": -value} for value in np.linspace(-9, 9, 55)]
    svg = figures.gains_by_stem(gains)
    (vocals,) = re.findall("vocals: ([^;]*);", label(svg))
    assert sum(map(int, re.findall(r"(\d+) times", vocals))) == 55


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


@pytest.mark.parametrize(("left", "right"), [(-37.5, 22.5), (37.5, 22.5), (-90, 150)])
def test_the_top_view_puts_loudspeakers_where_they_are(left, right):
    svg = parsed(top_view(HeadPosition("hlp", "<VP>", left, right, "BTE_fr")))
    turned = [group.get("transform") for group in svg.iter("g")]
    places = [tuple(map(float, re.match(r"translate\((\S+) (\S+)\)", turn).groups())) for turn in turned]
    angles = [np.degrees(np.arctan2(x, -y)) for x, y in places]
    assert angles == pytest.approx([-abs(left), right], abs=0.1)
    assert svg.get("aria-label").startswith("Head <VP> from above")
    x, y, width, height = map(float, svg.get("viewBox").split())
    assert all(x < px < x + width and y < py < y + height for px, py in places)
    near = [line for line in svg.iter("line") if line.get("class") == "path near"]
    assert [np.sign(float(line.get("x2"))) for line in near] == [-1, 1]


@pytest.mark.parametrize("degrees", [90, 110, 112.25, 157.5])
def test_the_top_view_has_room_for_every_angle(degrees):
    svg = parsed(top_view(HeadPosition("hlp", "A", -degrees, degrees, "m")))
    x, _, width, _ = map(float, svg.get("viewBox").split())
    for text in svg.iter("text"):
        assert text.text == f"{degrees:g}°"
        sign = -1 if text.get("text-anchor") == "end" else 1
        end = float(text.get("x")) + sign * 7.2 * len(
            text.text
        )  # digits of 12.5 px are 7 to 8 px wide at most
        assert x <= end <= x + width


@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_one_loudspeaker_is_drawn_once(degrees):
    svg = parsed(top_view(HeadPosition("hlp", "A", -degrees, degrees, "m")))
    assert [text.text for text in svg.iter("text")] == [f"{degrees:g}°"]
    assert [group.get("transform") is not None for group in svg.iter("g")] == [True]


def test_a_single_head_is_drawn_as_clearly_as_a_median():
    alone = Response("A", 30.0, -BANDS / 1000, -BANDS / 500, 250.0, 6.0)
    svg = figures.response_panel([alone], ["A"], BANDS, (-40, 5))
    assert svg.count('data-median="0"') == 4  # two ears, each with an outline
    assert "1 head. Median" in svg


def test_gain_bars():
    svg = parsed(gain_bars({"vocals": -10, "drums": 5, "bass": 0}))
    widths = [float(bar.get("width")) for bar in svg.iter("rect")]
    assert [bar.get("class") for bar in svg.iter("rect")] == ["bar down", "bar up"]
    assert widths[0] == pytest.approx(2 * widths[1])
    assert [text.text for text in svg.iter("text")][1::2] == ["−10", "+5", "0", "0"]
    assert svg.get("aria-label") == "Gains: vocals -10 dB, drums +5 dB, bass +0 dB, other +0 dB."


def test_a_waveform_fills_its_height_at_the_peak():
    envelope = np.array([[0.5, 0.0], [0.25, 0.5]])
    path = parsed(waveform(envelope, 0.5, "first")).find("path").get("d")
    assert path == "M2 2V74M6 49V98"
