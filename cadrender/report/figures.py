"""The pictures of the report: functions from numbers to inline SVG (`markupsafe.Markup`)."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from cadrender.dsp.arrays import Floats
from cadrender.errors import MetadataError
from cadrender.metadata.listeners import Listener
from cadrender.metadata.positions import HeadPosition
from cadrender.report.charts import colour, drawing, frequency_axis, hertz, to_svg
from cadrender.report.levels import FileLevel
from cadrender.report.responses import HIGHEST, LOWEST, Response, wrapped
from cadrender.report.wording import counted, signed, typographic
from cadrender.stems import STEMS, VDBO

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_Item = TypeVar("_Item")

GRADES = ("normal", "mild", "moderate", "moderately severe", "severe", "profound", "complete")
# Widths in CSS pixels: of three pictures in a row of a wide window, and of two.
NARROW, WIDE = 340, 420

_MOST_LINES = 120
_MOST_DOTS = 500
_MOST_ROWS = 48
_FREQUENCY_MARKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def thinned(items: Iterable[_Item], most: int) -> list[_Item]:
    """At most `most` (2 or more) of the items, evenly spread, with the first and the last one."""
    items = list(items)
    if len(items) <= most:
        return items
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]


def _short(text: str) -> str:
    """A name that fits beside a picture."""
    return text if len(text) <= 12 else f"{text[:11]}…"


def _bold(axes: "Axes", x: npt.ArrayLike, y: npt.ArrayLike, hue: str, style: str = "-") -> None:
    """A median that stands out from thin lines."""
    for shade, width, alpha in (("paper", 4.6, 0.8), (hue, 2.2, 1.0)):
        line = axes.plot(x, y, style, color=colour(shade), lw=width, ms=4.2, mew=0, alpha=alpha)[0]
        line.set_gid("median:0")


def _rows(axes: "Axes", names: Sequence[str], cells: bool = False, **ticks: Any) -> None:
    """One row for each name, from the top; rows of cells have no lines between them."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", **ticks)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="both" if cells else "y")
    axes.spines["bottom"].set_visible(not cells)


def _table(found: Sequence[Response], heads: Sequence[str], what: str) -> tuple[list[float], Floats]:
    """The azimuths, and (heads, azimuths, ...) numbers: NaN where a head lacks an azimuth."""
    azimuths = sorted({response.azimuth for response in found})
    table = np.full((len(heads), len(azimuths), *np.shape(getattr(found[0], what))), np.nan)
    for response in found:
        table[heads.index(response.head), azimuths.index(response.azimuth)] = getattr(response, what)
    return azimuths, table


_HEAD = 17.0
_DISTANCE = 104.0


def top_view(position: HeadPosition) -> "Markup":
    """The head seen from above, its loudspeakers, and the paths to its ears."""
    from matplotlib.patches import Arc, Circle, Ellipse, FancyBboxPatch
    from matplotlib.transforms import Affine2D

    angles = abs(position.left_angle), abs(position.right_angle)
    # By azimuth: two straight ahead, or behind, are the same loudspeaker.
    speakers = {wrapped(sign * angle): (sign, angle) for sign, angle in zip((-1, 1), angles, strict=True)}
    places = {azimuth: Affine2D().rotate_deg(-azimuth).transform((0, _DISTANCE)) for azimuth in speakers}
    beside = 20 + 8 * max(len(f"{angle:g}°") for angle in angles)
    half = max(125.0, *(abs(x) + beside for x, _ in places.values()))
    bottom = min(-30.0, *(y - 24 for _, y in places.values()))
    ink, paper = colour("ink"), colour("raised")
    faint: dict[str, Any] = {"color": colour("rule"), "linewidth": 1.2}
    outline: dict[str, Any] = {"facecolor": paper, "edgecolor": ink, "linewidth": 1.6, "zorder": 3}
    with drawing(2 * half, 128 - bottom) as (figure, axes):
        axes.set(xlim=(-half, half), ylim=(bottom, 128))
        axes.set_axis_off()
        axes.plot([0, 0], [28, _DISTANCE - 4], **faint)
        for k, (azimuth, (sign, angle)) in enumerate(speakers.items()):
            x, y = places[azimuth]
            side = sign if abs(x) < 1 else np.sign(x)
            for ear in (-1, 1):
                near = abs(x) < 1 or ear == side
                (path,) = axes.plot(
                    [x, ear * _HEAD], [y, 0], color=colour("warm" if near else "cool"), lw=1.6
                )
                path.set(ls="-" if near else (0, (1.9, 2.5)), gid=f"{'near' if near else 'far'}:{k}")
            start, end = sorted((90.0, 90.0 - azimuth))
            axes.add_patch(Arc((0, 0), 88, 88, theta1=start, theta2=end, **faint))
            box = FancyBboxPatch((-12, -4), 24, 17, "round,pad=0,rounding_size=2.5", fc=ink, lw=0)
            box.set_gid(f"speaker:{k}")
            for patch in (box, Circle((0, 4.5), 4.6, fill=False, ec=paper, lw=1.4)):
                patch.set(
                    transform=Affine2D().rotate_deg(-azimuth).translate(x, y) + axes.transData, zorder=3
                )
                axes.add_patch(patch)
            text = axes.text(x + 20 * side, y, f"{angle:g}°", fontsize=12.5, va="center")
            text.set(color=colour("muted"), ha="left" if side > 0 else "right")
        axes.plot([-5, 0, 5], [16, 23, 16], color=ink, lw=1.6)
        for place in (-_HEAD, _HEAD):
            axes.add_patch(Ellipse((place, 0), 7.2, 12, **outline))
        axes.add_patch(Circle((0, 0), _HEAD, **outline))
        alt = (
            f"Head {position.subject} from above: left loudspeaker {angles[0]:g} degrees to the left, "
            f"right loudspeaker {angles[1]:g} degrees to the right."
        )
        return to_svg(figure, alt)


def gain_bars(gains: Mapping[str, float]) -> "Markup":
    """The gain of each stem as a bar from the middle."""
    values = np.array([gains.get(stem, 0.0) for stem in VDBO])
    middle, height = 152, 27 * len(VDBO)
    with drawing(250, height) as (figure, axes):
        axes.set(xlim=(0, 250), ylim=(height, 0))
        axes.set_axis_off()
        axes.plot([middle, middle], [2, height - 2], color=colour("muted"), lw=1)
        rows = np.arange(13.5, height, 27)
        hues = [colour("warm" if gain > 0 else "cool") for gain in values]
        bars = axes.barh(rows, 62 * values / max(10, *abs(values)), 14, left=middle, color=hues)
        numbers = [typographic(f"{gain:+.4g}") if gain else "0" for gain in values]
        labels = axes.bar_label(bars, numbers, padding=7, fontsize=12.5, weight="bold")
        for k, stem in enumerate(VDBO):
            axes.text(0, rows[k], stem, fontsize=12.5, va="center")
            bars[k].set_gid(f"bar:{k}")
            if not values[k]:
                labels[k].set(weight="normal", color=colour("muted"))
        listed = ", ".join(f"{stem} {gain:+g} dB" for stem, gain in zip(VDBO, values, strict=True))
        return to_svg(figure, f"Gains: {listed}.")


def waveform(envelope: Floats, peak: float) -> str:
    """An envelope, (2, n), as SVG path data, 4 n wide; `peak` is 100 high, left upwards, right downwards."""
    heights = np.maximum(48 * envelope / max(peak, 1e-4), 1.0)
    return "".join(f"M{4 * k + 2} {50 - up:.0f}V{50 + down:.0f}" for k, (up, down) in enumerate(heights.T))


def response_panel(
    found: Sequence[Response], heads: Sequence[str], bands: Floats, limits: tuple[float, float]
) -> "Markup":
    """Magnitude at both ears for one loudspeaker: a thin line for each head, a bold one for the median."""
    at = [int(np.argmin(np.abs(bands - f))) for f in (500, 4000)]
    medians = {}
    with drawing(NARROW, 250, (38, 10, 40, 10)) as (figure, axes):
        for ear, hue in (("far", "cool"), ("near", "warm")):
            curves = np.array([getattr(response, ear) for response in found])
            for response, curve in thinned(list(zip(found, curves, strict=True)), _MOST_LINES):
                line = axes.plot(bands, curve, color=colour(hue), lw=0.9, alpha=0.32)[0]
                line.set_gid(f"head:{heads.index(response.head)}")
            median = np.median(curves, axis=0)
            _bold(axes, bands, median, hue)
            medians[ear] = median[at]
        frequency_axis(axes, LOWEST, HIGHEST, _FREQUENCY_MARKS)
        axes.set_ylim(*limits)
        axes.set_ylabel("Magnitude (dB)", labelpad=2)
        low, high = zip(medians["near"], medians["far"], strict=True)
        alt = (
            f"Magnitude in dB by frequency from 100 Hz to 20 kHz for the loudspeaker at {signed(found[0].azimuth)}, "
            f"{counted(len(found), 'head')}. Median at 500 Hz: near ear {low[0]:.0f} dB, far ear {low[1]:.0f} dB; "
            f"at 4 kHz: near ear {high[0]:.0f} dB, far ear {high[1]:.0f} dB."
        )
        return to_svg(figure, alt)


def response_limits(found: Sequence[Response]) -> tuple[float, float]:
    """The limits of all panels' magnitude axes: for nearly all curves, in steps of 5 dB."""
    values = np.concatenate([[response.near, response.far] for response in found]).ravel()
    low, high = np.percentile(values, [0.5, 100])
    low = max(low, high - 60)
    return 5 * np.floor((low - 1) / 5), 5 * np.ceil((high + 1) / 5)


def individuality(
    found: Sequence[Response], heads: Sequence[str], bands: Floats, ear: str
) -> tuple["Markup", float]:
    """Each head's difference from the median of all, averaged over the loudspeakers; and the dB of full colour."""
    shown = thinned(heads, _MOST_ROWS)
    _, curves = _table(found, heads, ear)
    mean = np.nanmean(curves - np.nanmedian(curves, axis=0), axis=1)[[heads.index(head) for head in shown]]
    wanted = np.percentile(np.abs(mean), 99)  # full colour is a round number that few values exceed
    span = next((step for step in (1.0, 2.0, 3.0, 5.0, 10.0, 20.0) if step >= wanted), 40.0)
    row = 13 if len(shown) <= 24 else 9
    with drawing(WIDE, 56 + row * len(shown), (58, 10, 38, 8)) as (figure, axes):
        axes.imshow(_diverging(mean / span), aspect="auto", interpolation="nearest")
        marks = [f for f in _FREQUENCY_MARKS if f <= bands[-1] * 1.03]
        axes.set_xticks([12 * np.log2(f / bands[0]) for f in marks], hertz(marks))
        axes.set(xlim=(-0.5, len(bands) - 0.5), xlabel="Frequency (Hz)")
        _rows(axes, [_short(head) for head in shown], cells=True, labelsize=9 if row == 13 else 7)
        largest = np.unravel_index(np.argmax(np.abs(mean)), mean.shape)
        alt = (
            f"Difference of each of {len(shown)} heads from the median at the {ear} ear, by frequency. "
            f"The largest is {mean[largest]:+.1f} dB, of {shown[largest[0]]} at {bands[largest[1]]:.0f} Hz."
        )
        return to_svg(figure, alt), span


def _diverging(values: Floats) -> Floats:
    """Warm above zero, cool below, transparent at zero, so that it suits any background."""
    hues = np.where(values[..., None] > 0, (0.83, 0.36, 0.17), (0.20, 0.49, 0.69))
    return np.concatenate([hues, np.clip(np.abs(values), 0, 1)[..., None] ** 0.8], axis=-1)


def interaural(found: Sequence[Response], heads: Sequence[str], what: str) -> "Markup":
    """Delay or level between the ears by azimuth: one line for each head, the median in bold."""
    unit, label = {"delay": ("µs", "Far ear later by (µs)"), "level": ("dB", "Near ear louder by (dB)")}[what]
    azimuths, table = _table(found, heads, what)
    medians = np.nanmedian(table, axis=0)
    # One place for each loudspeaker, with a gap between the sides, where nothing was measured.
    left = sum(azimuth < 0 for azimuth in azimuths)
    places = np.arange(len(azimuths)) + np.where(np.arange(len(azimuths)) < left, 0.0, 0.8)
    with drawing(WIDE, 220, (44, 12, 38, 10)) as (figure, axes):
        for columns in filter(len, np.split(np.arange(len(azimuths)), [left])):
            for k in thinned(range(len(heads)), _MOST_LINES):
                thin: dict[str, Any] = {"color": colour("ink"), "lw": 0.9, "ms": 2.4, "mew": 0, "alpha": 0.28}
                axes.plot(places[columns], table[k, columns], "o-", gid=f"head:{k}", **thin)
            _bold(axes, places[columns], medians[columns], "ink", "o-")
        shown = thinned(range(len(azimuths)), 8)
        axes.set_xticks(places[shown], [signed(azimuths[k]) for k in shown])
        axes.set_xlabel("Loudspeaker")
        axes.set_ylabel(label, labelpad=4)
        axes.margins(x=0.08, y=0.12)
        listed = ", ".join(f"{signed(a)} {m:.3g} {unit}" for a, m in zip(azimuths, medians, strict=True))
        what = label.partition(" (")[0]
        return to_svg(figure, f"{what}, median of {counted(len(heads), 'head')}: {listed}.")


def _count_table(
    rows: Sequence[str],
    columns: Sequence[str],
    counts: npt.NDArray[np.intp],
    hues: Sequence[str],
    label: str,
    alt: str,
) -> "Markup":
    """Counts, (rows, columns), as shaded cells with their numbers; each column has a colour."""
    from matplotlib.patches import FancyBboxPatch

    cell = 16 if len(rows) > 8 else 30
    rows = [_short(row) for row in rows]
    left = 14 + 6 * max(map(len, rows))
    bottom, top = 38 + (12 if any("\n" in name for name in columns) else 0), 10
    with drawing(WIDE, bottom + top + cell * len(rows), (left, 8, bottom, top)) as (figure, axes):
        most = max(int(counts.max(initial=0)), 1)
        for (row, column), count in np.ndenumerate(counts):
            if not count:
                axes.plot(column, row, "o", ms=2, mew=0, color=colour("rule"))
                continue
            alpha = float((0.16 + 0.64 * count / most) * (0.45 if hues[column] == "muted" else 1))
            look: dict[str, Any] = {"facecolor": colour(hues[column]), "linewidth": 0, "alpha": alpha}
            corner, style = (column - 0.45, row - 0.42), "round,pad=0,rounding_size=0.12"
            axes.add_patch(FancyBboxPatch(corner, 0.9, 0.84, style, **look))
            axes.text(column, row, f"{count}", ha="center", va="center_baseline", fontsize=9.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set(xlim=(-0.5, len(columns) - 0.5), xlabel=label)
        _rows(axes, rows, cells=True)
        axes.tick_params(length=0)
        return to_svg(figure, alt)


def gains_by_stem(gains: Sequence[Mapping[str, float]]) -> "Markup":
    """The number of scenes with each gain of each stem."""
    table = np.array([[gain.get(stem, 0) for stem in VDBO] for gain in gains], float)
    values = np.unique(table)
    names = [typographic(f"{value:+g}") if value else "0" for value in values]
    edges = np.append(values, np.inf)
    if len(values) > 13:
        edges = np.linspace(values[0], values[-1], 12)
        values = (edges[:-1] + edges[1:]) / 2
        names = [typographic(f"{value:+.1f}") for value in values]
    counts = np.array([np.histogram(column, edges)[0] for column in table.T])
    hues = ["cool" if value < 0 else "warm" if value > 0 else "muted" for value in values]
    lines = "; ".join(
        f"{stem}: "
        + ", ".join(f"{name} dB {counted(n, 'time')}" for name, n in zip(names, row, strict=True) if n)
        for stem, row in zip(VDBO, counts.tolist(), strict=True)
    )
    return _count_table(VDBO, names, counts, hues, "Gain (dB)", f"Scenes by stem and gain. {lines}.")


def positions_used(positions: Sequence[HeadPosition], used: Sequence[HeadPosition]) -> "Markup":
    """The number of scenes with each head and pair of loudspeakers."""
    rows = thinned(list(dict.fromkeys(position.subject for position in positions)), _MOST_ROWS)
    columns = thinned(sorted(set(map(_pair, positions))), 12)
    uses = Counter((position.subject, _pair(position)) for position in used)
    counts = np.array([[uses[row, pair] for pair in columns] for row in rows])
    # A pair straight ahead, or behind, is a single loudspeaker.
    names = ["\n".join(signed(angle).strip("°") for angle in dict.fromkeys(pair)) for pair in columns]
    alt = (
        f"Scenes by head and pair of loudspeakers: {int((counts > 0).sum())} of {counts.size} combinations "
        f"are used, at most {counted(int(counts.max(initial=0)), 'time')}."
    )
    label = "Left and right loudspeaker (degrees)"
    return _count_table(rows, names, counts, ["warm"] * len(names), label, alt)


def _pair(position: HeadPosition) -> tuple[float, float]:
    return wrapped(-abs(position.left_angle)), wrapped(abs(position.right_angle))


def grade_of(listener: Listener) -> str:
    """The WHO grade of a listener; empty if the audiogram lacks a frequency for it."""
    try:
        return listener.severity_who
    except MetadataError:
        return ""


def _hue(grade: str) -> str:
    return colour(f"grade{GRADES.index(grade)}" if grade in GRADES else "muted")


def audiogram_panel(listeners: Sequence[Listener], ear: str) -> "Markup":
    """All audiograms of one ear, coloured by the listener's grade, and their median."""
    audiograms = [(grade_of(one), one.cfs, getattr(one, f"levels_{ear}")) for one in listeners]
    audiograms.sort(key=lambda one: GRADES.index(one[0] or "normal"))
    by_frequency: dict[float, list[float]] = {}
    for _, cfs, levels in audiograms:
        for f, level in zip(cfs, levels, strict=True):
            by_frequency.setdefault(f, []).append(level)
    frequencies = sorted(by_frequency)
    common = [f for f in frequencies if 2 * len(by_frequency[f]) >= len(listeners)]
    medians = [float(np.median(by_frequency[f])) for f in common]
    with drawing(NARROW, 290, (42, 10, 40, 10)) as (figure, axes):
        for grade, cfs, levels in thinned(audiograms, 200):
            axes.plot(cfs, levels, color=_hue(grade), lw=0.9, alpha=0.55)
        _bold(axes, common, medians, "ink", "o-")
        marks = [f for f in frequencies if f not in (3000, 6000)]
        frequency_axis(axes, frequencies[0] / 1.12, frequencies[-1] * 1.12, thinned(marks, 9))
        softest, loudest = (limit(map(limit, by_frequency.values())) for limit in (min, max))
        axes.set_ylim(min(120, max(100, loudest + 5)), max(-20, min(-10, softest - 5)))
        axes.set_yticks(range(0, 121, 20))
        axes.set_ylabel("Hearing threshold (dB HL)", labelpad=4)
        table = ", ".join(f"{f:g} Hz {m:.0f} dB HL" for f, m in zip(common, medians, strict=True))
        many = counted(len(listeners), "listener")
        return to_svg(figure, f"Audiograms of {many}, {ear} ear. Median: {table}.")


def grade_bars(listeners: Sequence[Listener]) -> "Markup":
    """The number of listeners with each grade of hearing loss."""
    counts = Counter(grade_of(listener) or "not graded" for listener in listeners)
    grades = [grade for grade in (*GRADES, "not graded") if counts[grade]]
    with drawing(NARROW, 44 + 30 * len(grades), (124, 34, 34, 10)) as (figure, axes):
        for row, grade in enumerate(grades):
            axes.bar_label(axes.barh(row, counts[grade], 0.58, color=_hue(grade)), padding=5)
        _rows(axes, grades, labelcolor=colour("ink"))
        axes.set(xlim=(0, max(counts.values()) * 1.02), xlabel="Listeners")
        axes.locator_params("x", integer=True, nbins=5)
        axes.spines["bottom"].set_visible(False)
        alt = ", ".join(f"{grade} {counts[grade]}" for grade in grades)
        return to_svg(figure, f"Listeners by grade of hearing loss: {alt}.")


def loudness_strips(levels: Sequence[FileLevel]) -> "Markup":
    """Loudness of each stem's files: of the song, and of its convolution with the HRIRs."""

    def draw(axes: "Axes", row: int, files: Sequence[FileLevel]) -> str:
        before = _strip(axes, [level.before for level in files], row - 0.19, "cool")
        after = _strip(axes, [level.after for level in files], row + 0.19, "warm")
        return f"{before:.1f} before and {after:.1f} after"

    return _by_stem(levels, draw, "Integrated loudness (LUFS)", "Median loudness in LUFS")


def gain_strips(levels: Sequence[FileLevel]) -> "Markup":
    """The gain that brings each file to its source's loudness."""

    def draw(axes: "Axes", row: int, files: Sequence[FileLevel]) -> str:
        values = [level.gain_db for level in files]
        median = _strip(axes, values, row, "muted", spread=0.3)
        return f"{median:+.1f} ({min(values):+.1f} to {max(values):+.1f})"

    return _by_stem(
        levels, draw, "Gain applied after the HRIRs (dB)", "Median gain in dB and range", zero=True
    )


def _by_stem(
    levels: Sequence[FileLevel],
    draw: "Callable[[Axes, int, Sequence[FileLevel]], str]",
    label: str,
    what: str,
    zero: bool = False,
) -> "Markup":
    """A row for each stem, drawn by `draw`, which returns a description."""
    stems = [stem for stem in STEMS if any(level.stem == stem for level in levels)]
    told = []
    with drawing(WIDE, 54 + 46 * len(stems), (54, 10, 38, 8)) as (figure, axes):
        if zero:
            axes.axvline(0, color=colour("muted"), lw=1)
        for row, stem in enumerate(stems):
            if row:
                axes.axhline(row - 0.5, color=colour("rule"), lw=0.8)
            files = [level for level in levels if level.stem == stem and not level.silent]
            if files:
                told.append(f"{stem} {draw(axes, row, files)}")
            else:
                axes.text(0.5, row, "silent", transform=axes.get_yaxis_transform(), va="center", ha="center")
        _rows(axes, stems, labelcolor=colour("ink"))
        axes.locator_params("x", nbins=7)
        axes.margins(x=0.05)
        if zero:
            low, high = axes.get_xlim()
            axes.set_xlim(min(low, -0.5), max(high, 0.5))
        axes.set_xlabel(label)
        return to_svg(figure, f"{what}: {'; '.join(told)}.")


def _strip(axes: "Axes", values: Sequence[float], row: float, hue: str, spread: float = 0.11) -> float:
    """Dots along a line, shifted across it so that equal ones are visible; a bar at the median."""
    shown = np.array(thinned(sorted(values), _MOST_DOTS))
    # The golden ratio spreads neighbours evenly.
    shift = ((np.arange(len(shown)) * 0.618034) % 1 - 0.5) * 2 * spread
    alpha = 0.6 if len(shown) < 100 else 0.3
    axes.plot(shown, row + shift, "o", color=colour(hue), ms=4.2, mew=0, alpha=alpha)
    median = float(np.median(values))
    axes.plot([median] * 2, [row - spread - 0.06, row + spread + 0.06], color=colour("ink"), lw=2)
    return median
