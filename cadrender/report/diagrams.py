"""Small drawings written as SVG directly: a head between loudspeakers, gains, sound."""

import math
from collections.abc import Mapping

import numpy as np

from cadrender.metadata import HeadPosition, on_median_plane
from cadrender.report.markup import Html, el, join
from cadrender.stems import VDBO

_HEAD = 17.0
_DISTANCE = 104.0
_BESIDE = 20.0  # from a loudspeaker's middle to its angle
_DIGIT = 8.0  # at least the width of a digit


def top_view(position: HeadPosition) -> Html:
    """The head seen from above, its two loudspeakers, and the paths to its ears."""
    speakers = [
        ("left", math.radians(-abs(position.left_angle)), abs(position.left_angle)),
        ("right", math.radians(abs(position.right_angle)), abs(position.right_angle)),
    ]
    if abs(position.left_angle) == abs(position.right_angle) and on_median_plane(position.left_angle):
        del speakers[0]  # one loudspeaker plays both channels
    paths, boxes, angles = [], [], []
    half_width = 125.0
    for side, azimuth, degrees in speakers:
        x, y = _DISTANCE * math.sin(azimuth), -_DISTANCE * math.cos(azimuth)
        sign = -1 if side == "left" else 1
        for ear, kind in ((sign, "near"), (-sign, "far")):
            paths.append(_line(x, y, ear * _HEAD, 0, cls=f"path {kind}"))
        turn = f"translate({x:.1f} {y:.1f}) rotate({math.degrees(azimuth) % 360:.1f})"
        boxes.append(
            el(
                "g",
                el("rect", x=-12, y=-13, width=24, height=17, rx=2.5, cls="speaker"),
                el("circle", cx=0, cy=-4.5, r=4.6, cls="cone"),
                transform=turn,
            )
        )
        angles.append(_angle(azimuth, degrees, sign, x, y))
        half_width = max(half_width, sign * x + _BESIDE + _DIGIT * len(f"{degrees:g}°"))
    head = [
        el("path", d="M -5 -16 L 0 -23 L 5 -16", cls="head"),
        el("ellipse", cx=-_HEAD, cy=0, rx=3.6, ry=6, cls="head"),
        el("ellipse", cx=_HEAD, cy=0, rx=3.6, ry=6, cls="head"),
        el("circle", cx=0, cy=0, r=_HEAD, cls="head"),
    ]
    ahead = _line(0, -28, 0, -_DISTANCE + 4, cls="ahead")
    alt = (
        f"Head {position.subject} from above: left loudspeaker {abs(position.left_angle):g} degrees to the left, "
        f"right loudspeaker {abs(position.right_angle):g} degrees to the right."
    )
    behind = max(-math.cos(azimuth) for _, azimuth, _ in speakers)
    bottom = max(30.0, behind * _DISTANCE + 24)
    box = f"{-half_width:.0f} -128 {2 * half_width:.0f} {128 + bottom:.0f}"
    return el(
        "svg", ahead, paths, angles, boxes, head, viewBox=box, role="img", aria_label=alt, cls="diagram"
    )


def _angle(azimuth, degrees, sign, x, y):
    """The angle as an arc from straight ahead, and its number beside the loudspeaker."""
    radius = 44.0
    end = f"{radius * math.sin(azimuth):.1f} {-radius * math.cos(azimuth):.1f}"
    arc = f"M 0 {-radius} A {radius} {radius} 0 0 {int(sign > 0)} {end}"
    number = el(
        "text",
        f"{degrees:g}°",
        x=f"{x + _BESIDE * sign:.1f}",
        y=f"{y + 4:.1f}",
        text_anchor="end" if sign < 0 else "start",
    )
    return join(el("path", d=arc, cls="arc"), number)


def _line(x1, y1, x2, y2, **attributes):
    return el("line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", **attributes)


def gain_bars(gains: Mapping[str, float]) -> Html:
    """The gain of each stem as a bar from the middle."""
    span = max(10.0, *(abs(gains.get(stem, 0.0)) for stem in VDBO))
    middle, reach, row = 152.0, 62.0, 27.0
    height = row * len(VDBO)
    parts = [_line(middle, 2, middle, height - 2, cls="zero")]
    for k, stem in enumerate(VDBO):
        gain = gains.get(stem, 0.0)
        y = row * k + row / 2
        width = reach * abs(gain) / span
        kind = "up" if gain > 0 else "down"
        parts.append(el("text", stem, x=0, y=y + 4, cls="stem"))
        if gain:
            x = middle if gain > 0 else middle - width
            parts.append(
                el("rect", x=f"{x:.1f}", y=y - 7, width=f"{width:.1f}", height=14, rx=2, cls=f"bar {kind}")
            )
        sign = -1 if gain < 0 else 1
        label = f"{gain:+.4g}".replace("-", "−") if gain else "0"
        parts.append(
            el(
                "text",
                label,
                x=f"{middle + sign * (width + 7):.1f}",
                y=y + 4,
                text_anchor="end" if sign < 0 else "start",
                cls="value" if gain else "value none",
            )
        )
    alt = "Gains: " + ", ".join(f"{stem} {gains.get(stem, 0.0):+g} dB" for stem in VDBO) + "."
    return el("svg", parts, viewBox=f"0 0 250 {height:.0f}", role="img", aria_label=alt, cls="diagram")


def waveform(envelope: np.ndarray, peak: float, kind: str) -> Html:
    """The left channel's envelope upwards, the right channel's downwards.

    Parameters
    ----------
    envelope : ndarray
        (2, n)
    peak : float
        What fills the height.
    kind : str
        A class of the element.
    """
    count = envelope.shape[1]
    heights = np.maximum(48 * envelope / max(peak, 1e-4), 1.0)
    bars = "".join(f"M{4 * k + 2} {50 - up:.0f}V{50 + down:.0f}" for k, (up, down) in enumerate(heights.T))
    return el(
        "svg",
        el("path", d=bars),
        viewBox=f"0 0 {4 * count} 100",
        preserveAspectRatio="none",
        aria_hidden="true",
        cls=f"wave {kind}",
    )
