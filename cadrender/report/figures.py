"""The pictures of the report, each a function from numbers to inline SVG."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from cadrender.errors import MetadataError
from cadrender.metadata import HeadPosition, Listener
from cadrender.report.charts import colour, drawing, frequency_axis, to_svg
from cadrender.report.levels import FileLevel
from cadrender.report.markup import Html
from cadrender.report.responses import HIGHEST, LOWEST, Response
from cadrender.stems import STEMS, VDBO

GRADES = ("normal", "mild", "moderate", "moderately severe", "severe", "profound", "complete")
# Widths in CSS pixels at the size of type that is drawn: three a row on a wide window, and two.
NARROW, WIDE = 340, 420

_MOST_LINES = 120
_MOST_DOTS = 500
_MOST_ROWS = 48
_FREQUENCY_MARKS = (100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def thinned(items: Sequence, most: int) -> list:
    """At most so many of the items, evenly chosen."""
    items = list(items)
    return items if len(items) <= most else [items[k * len(items) // most] for k in range(most)]


def _short(text: str) -> str:
    """A name that fits beside a picture."""
    return text if len(text) <= 12 else f"{text[:11]}…"


def signed(azimuth: float) -> str:
    """An azimuth to be read: ``−37.5°``."""
    return f"{azimuth:+g}°".replace("-", "−") if azimuth else "0°"


def response_panel(found: Sequence[Response], heads: Sequence[str], bands: np.ndarray, limits) -> Html:
    """Magnitude at both ears for one loudspeaker: a thin line a head, a bold one for the median."""
    azimuth = found[0].azimuth
    with drawing(NARROW, 250, (38, 10, 40, 10)) as (figure, axes):
        for ear, hue in (("far", "cool"), ("near", "warm")):
            curves = np.array([getattr(response, ear) for response in found])
            for response, curve in thinned(list(zip(found, curves, strict=True)), _MOST_LINES):
                line = axes.plot(bands, curve, color=colour(hue), lw=0.9, alpha=0.32)[0]
                line.set_gid(f"head:{heads.index(response.head)}")
            _bold(axes, bands, np.median(curves, axis=0), hue)
        frequency_axis(axes, LOWEST, HIGHEST, _FREQUENCY_MARKS)
        axes.set_ylim(*limits)
        axes.set_ylabel("Magnitude (dB)", labelpad=2)
        near, far = (
            np.median([getattr(response, ear) for response in found], axis=0) for ear in ("near", "far")
        )
        at = [int(np.argmin(np.abs(bands - f))) for f in (500, 4000)]
        alt = (
            f"Magnitude in dB by frequency from 100 Hz to 20 kHz for the loudspeaker at {signed(azimuth)}, "
            f"{_heads(len(found))}. Median at 500 Hz: near ear {near[at[0]]:.0f} dB, far ear {far[at[0]]:.0f} dB; "
            f"at 4 kHz: near ear {near[at[1]]:.0f} dB, far ear {far[at[1]]:.0f} dB."
        )
        return to_svg(figure, alt)


def _heads(count):
    return f"{count} head{'' if count == 1 else 's'}"


def _bold(axes, x, y, hue, style="-"):
    """A median over thin lines, set off from them."""
    for shade, width, alpha in (("paper", 4.6, 0.8), (hue, 2.2, 1.0)):
        line = axes.plot(x, y, style, color=colour(shade), lw=width, ms=4.2, mew=0, alpha=alpha)[0]
        line.set_gid("median:0")


def response_limits(found: Sequence[Response]) -> tuple[float, float]:
    """One magnitude axis for all panels: what nearly all curves need, in steps of 5 dB."""
    values = np.concatenate([[response.left, response.right] for response in found]).ravel()
    low, high = np.percentile(values, [0.5, 100])
    low = max(low, high - 60)
    return 5 * np.floor((low - 1) / 5), 5 * np.ceil((high + 1) / 5)


def individuality(
    found: Sequence[Response], heads: Sequence[str], bands: np.ndarray, ear: str
) -> tuple[Html, float]:
    """How each head departs from the median of all heads, averaged over the loudspeakers.

    Returns
    -------
    Html
    float
        Full colour, in dB.
    """
    shown = thinned(heads, _MOST_ROWS)
    azimuths = sorted({response.azimuth for response in found})
    sums, counts = np.zeros((len(heads), len(bands))), np.zeros((len(heads), 1))
    for azimuth in azimuths:
        group = [response for response in found if response.azimuth == azimuth]
        curves = np.array([getattr(response, ear) for response in group])
        for response, difference in zip(group, curves - np.median(curves, axis=0), strict=True):
            sums[heads.index(response.head)] += difference
            counts[heads.index(response.head)] += 1
    mean = (sums / np.maximum(counts, 1))[[heads.index(head) for head in shown]]
    span = _deviation_span(mean)
    row = 13 if len(shown) <= 24 else 9
    with drawing(WIDE, 56 + row * len(shown), (58, 10, 38, 8)) as (figure, axes):
        axes.imshow(
            _diverging(mean / span),
            aspect="auto",
            extent=(-0.5, len(bands) - 0.5, len(shown) - 0.5, -0.5),
            interpolation="nearest",
        )
        marks = [f for f in _FREQUENCY_MARKS if f <= bands[-1] * 1.03]
        axes.set_xticks(
            [12 * np.log2(f / bands[0]) for f in marks],
            [f"{f / 1000:g}k" if f >= 1000 else f"{f:g}" for f in marks],
        )
        axes.set_xlabel("Frequency (Hz)")
        axes.set_yticks(range(len(shown)), [_short(head) for head in shown], fontsize=9 if row == 13 else 7)
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        largest = np.unravel_index(np.argmax(np.abs(mean)), mean.shape)
        alt = (
            f"Difference of each of {len(shown)} heads from the median at the {ear} ear, by frequency. "
            f"The largest is {mean[largest]:+.1f} dB, of {shown[largest[0]]} at {bands[largest[1]]:.0f} Hz."
        )
        return to_svg(figure, alt), span


def _deviation_span(values: np.ndarray) -> float:
    """Full colour, in dB: a round number that few values exceed."""
    wanted = np.percentile(np.abs(values), 99) if values.size else 1.0
    return next((step for step in (1.0, 2.0, 3.0, 5.0, 10.0, 20.0) if step >= wanted), 40.0)


def _diverging(values):
    """Warm above, cool below, nothing at zero: opacity says how much, so any background will do."""
    hues = np.where(values[..., None] > 0, (0.83, 0.36, 0.17), (0.20, 0.49, 0.69))
    return np.concatenate([hues, np.clip(np.abs(values), 0, 1)[..., None] ** 0.8], axis=-1)


def interaural(found: Sequence[Response], heads: Sequence[str], what: str) -> Html:
    """Delay or level between the ears by the loudspeaker's azimuth; one line a head, the median in bold."""
    azimuths = sorted({response.azimuth for response in found})
    unit, label = {"delay": ("µs", "Far ear later by (µs)"), "level": ("dB", "Near ear louder by (dB)")}[what]
    table = np.full((len(heads), len(azimuths)), np.nan)
    for response in found:
        table[heads.index(response.head), azimuths.index(response.azimuth)] = getattr(response, what)
    # One place for each loudspeaker and a gap between the sides: nobody measured what lies between.
    places = [k + (0.8 if azimuth >= 0 else 0.0) for k, azimuth in enumerate(azimuths)]
    with drawing(WIDE, 220, (44, 12, 38, 10)) as (figure, axes):
        for side in (-1, 1):
            columns = [k for k, azimuth in enumerate(azimuths) if (azimuth >= 0) == (side > 0)]
            if not columns:
                continue
            x = [places[k] for k in columns]
            for k in thinned(range(len(heads)), _MOST_LINES):
                line = axes.plot(
                    x, table[k, columns], "o-", color=colour("ink"), lw=0.9, ms=2.4, mew=0, alpha=0.28
                )[0]
                line.set_gid(f"head:{k}")
            middle = [np.median(column[np.isfinite(column)]) for column in table[:, columns].T]
            _bold(axes, x, middle, "ink", "o-")
        shown = thinned(range(len(azimuths)), 8)
        axes.set_xticks([places[k] for k in shown], [signed(azimuths[k]) for k in shown])
        axes.set_xlabel("Loudspeaker")
        axes.set_ylabel(label, labelpad=4)
        axes.margins(x=0.08, y=0.12)
        medians = ", ".join(
            f"{signed(a)} {np.nanmedian(table[:, k]):.3g} {unit}" for k, a in enumerate(azimuths)
        )
        return to_svg(
            figure, f"{label.split(' (', maxsplit=1)[0]}, median of {_heads(len(heads))}: {medians}."
        )


def count_table(
    rows: Sequence[str], columns: Sequence[str], counts: np.ndarray, hues, *, label: str, alt: str
) -> Html:
    """Counts as shaded cells with their numbers.

    Parameters
    ----------
    rows, columns : sequence of str
    counts : ndarray
        (rows, columns)
    hues : sequence of str
        A colour for each column.
    label : str
        What the columns are.
    alt : str
    """
    cell = 16 if len(rows) > 8 else 30
    rows = [_short(row) for row in rows]
    left = 14 + 6 * max(map(len, rows))
    top = 10
    bottom = 38 + (12 if any("\n" in name for name in columns) else 0)
    with drawing(WIDE, bottom + top + cell * len(rows), (left, 8, bottom, top)) as (figure, axes):
        most = max(int(counts.max(initial=0)), 1)
        for row, column in np.ndindex(counts.shape):
            count = int(counts[row, column])
            if count:
                alpha = (0.16 + 0.64 * count / most) * (0.45 if hues[column] == "muted" else 1)
                axes.add_patch(_cell(column, row, colour(hues[column]), alpha))
                axes.text(column, row, f"{count}", ha="center", va="center_baseline", fontsize=9.5)
            else:
                axes.plot(column, row, "o", ms=2, mew=0, color=colour("rule"))
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_xlabel(label)
        axes.grid(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        return to_svg(figure, alt)


def _cell(x, y, face, alpha):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch(
        (x - 0.45, y - 0.42),
        0.9,
        0.84,
        boxstyle="round,pad=0,rounding_size=0.12",
        mutation_aspect=1,
        facecolor=face,
        edgecolor="none",
        alpha=alpha,
    )


def gains_by_stem(gains: Sequence[Mapping[str, float]]) -> Html:
    """How many scenes turn each stem up or down by how much."""
    values = sorted({float(gain.get(stem, 0)) for gain in gains for stem in VDBO})
    names = [f"{value:+g}".replace("-", "−") if value else "0" for value in values]
    edges = None
    if len(values) > 13:
        edges = np.linspace(values[0], values[-1], 12)
        values = list((edges[:-1] + edges[1:]) / 2)
        names = [f"{value:+.1f}".replace("-", "−") for value in values]
    counts = np.zeros((len(VDBO), len(values)), int)
    for gain in gains:
        for row, stem in enumerate(VDBO):
            value = float(gain.get(stem, 0))
            column = (
                min(int(np.searchsorted(edges, value, "right")) - 1, len(values) - 1)
                if edges is not None
                else values.index(value)
            )
            counts[row, max(column, 0)] += 1
    hues = ["cool" if value < 0 else "warm" if value > 0 else "muted" for value in values]
    lines = "; ".join(
        f"{stem}: " + ", ".join(f"{names[k]} dB {n} times" for k, n in enumerate(row) if n)
        for stem, row in zip(VDBO, counts.tolist(), strict=True)
    )
    return count_table(
        list(VDBO), names, counts, hues, label="Gain (dB)", alt=f"Scenes by stem and gain. {lines}."
    )


def positions_used(positions: Sequence[HeadPosition], used: Sequence[HeadPosition]) -> Html:
    """How many scenes use each head with each pair of loudspeakers."""
    pairs = sorted({_pair(position) for position in positions})
    rows = thinned(list(dict.fromkeys(position.subject for position in positions)), _MOST_ROWS)
    columns = thinned(pairs, 12)
    uses = Counter((position.subject, _pair(position)) for position in used)
    counts = np.array([[uses[row, pair] for pair in columns] for row in rows])
    names = [f"{signed(left)}\n{signed(right)}".replace("°", "") for left, right in columns]
    alt = (
        f"Scenes by head and pair of loudspeakers: {int((counts > 0).sum())} of {counts.size} combinations "
        f"are used, at most {int(counts.max(initial=0))} times."
    )
    label = "Left and right loudspeaker (degrees)"
    return count_table(rows, names, counts, ["warm"] * len(names), label=label, alt=alt)


def _pair(position):
    return -abs(position.left_angle), abs(position.right_angle)


def grade_of(listener: Listener) -> str:
    """The WHO grade of a listener; empty where the audiogram lacks a frequency for it."""
    try:
        return listener.severity_who
    except MetadataError:
        return ""


def audiogram_panel(listeners: Sequence[Listener], ear: str) -> Html:
    """All audiograms of one ear, coloured by the listener's grade, and their median."""
    with drawing(NARROW, 290, (42, 10, 40, 10)) as (figure, axes):
        for listener in thinned(
            sorted(listeners, key=lambda one: GRADES.index(grade_of(one) or "normal")), 200
        ):
            grade = grade_of(listener)
            hue = f"grade{GRADES.index(grade)}" if grade else "muted"
            levels = getattr(listener, f"levels_{ear}")
            axes.plot(listener.cfs, levels, color=colour(hue), lw=0.9, alpha=0.55)
        cfs, medians = _median_audiogram(listeners, ear)
        _bold(axes, cfs, medians, "ink", "o-")
        frequencies = sorted({f for listener in listeners for f in listener.cfs})
        marks = [f for f in frequencies if f not in (3000, 6000)]
        frequency_axis(axes, frequencies[0] / 1.12, frequencies[-1] * 1.12, thinned(marks, 9))
        levels = [level for one in listeners for level in getattr(one, f"levels_{ear}")]
        axes.set_ylim(min(120, max(100, max(levels) + 5)), max(-20, min(-10, min(levels) - 5)))
        axes.set_yticks(range(0, 121, 20))
        axes.set_ylabel("Hearing threshold (dB HL)", labelpad=4)
        table = ", ".join(f"{f:g} Hz {m:.0f} dB HL" for f, m in zip(cfs, medians, strict=True))
        return to_svg(figure, f"Audiograms of {len(listeners)} listeners, {ear} ear. Median: {table}.")


def _median_audiogram(listeners, ear):
    by_frequency = {}
    for listener in listeners:
        for f, level in zip(listener.cfs, getattr(listener, f"levels_{ear}"), strict=True):
            by_frequency.setdefault(f, []).append(level)
    common = sorted(f for f, levels in by_frequency.items() if 2 * len(levels) >= len(listeners))
    return common, [float(np.median(by_frequency[f])) for f in common]


def grade_bars(listeners: Sequence[Listener]) -> Html:
    """How many listeners have which grade of hearing loss."""
    counts = Counter(grade_of(listener) or "not graded" for listener in listeners)
    rows = [grade for grade in (*GRADES, "not graded") if counts[grade]]
    with drawing(NARROW, 44 + 30 * len(rows), (124, 34, 34, 10)) as (figure, axes):
        for row, grade in enumerate(rows):
            hue = f"grade{GRADES.index(grade)}" if grade in GRADES else "muted"
            axes.barh(row, counts[grade], height=0.58, color=colour(hue))
            axes.annotate(
                f"{counts[grade]}", (counts[grade], row), (5, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(axis="y", labelcolor=colour("ink"), labelsize=10.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, max(counts.values()) * 1.02)
        axes.set_xlabel("Listeners")
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=5)
        axes.grid(False, axis="y")
        axes.spines["bottom"].set_visible(False)
        alt = ", ".join(f"{grade} {counts[grade]}" for grade in rows)
        return to_svg(figure, f"Listeners by grade of hearing loss: {alt}.")


def loudness_strips(levels: Sequence[FileLevel]) -> Html:
    """Loudness of each stem's files: of the song, and of its convolution with the HRIRs."""
    stems = [stem for stem in STEMS if any(level.stem == stem for level in levels)]
    parts = []
    with drawing(WIDE, 54 + 46 * len(stems), (54, 10, 38, 8)) as (figure, axes):
        for row, stem in enumerate(stems):
            files = [level for level in levels if level.stem == stem and not level.silent]
            if not files:
                axes.text(0.5, row, "silent", transform=axes.get_yaxis_transform(), va="center", ha="center")
                continue
            medians = []
            for shift, attribute, hue in ((-0.19, "before", "cool"), (0.19, "after", "warm")):
                values = np.array([getattr(level, attribute) for level in files])
                medians.append(float(np.median(values)))
                _strip(axes, values, row + shift, hue)
            parts.append(f"{stem} {medians[0]:.1f} before and {medians[1]:.1f} after")
        _rows(axes, stems)
        axes.set_xlabel("Integrated loudness (LUFS)")
        return to_svg(figure, f"Median loudness in LUFS: {'; '.join(parts)}.")


def gain_strips(levels: Sequence[FileLevel]) -> Html:
    """The gain that brings each file to its source's loudness."""
    stems = [stem for stem in STEMS if any(level.stem == stem for level in levels)]
    parts = []
    with drawing(WIDE, 54 + 46 * len(stems), (54, 10, 38, 8)) as (figure, axes):
        axes.axvline(0, color=colour("muted"), lw=1)
        for row, stem in enumerate(stems):
            values = np.array([level.gain_db for level in levels if level.stem == stem and not level.silent])
            if not len(values):
                axes.text(0.5, row, "silent", transform=axes.get_yaxis_transform(), va="center", ha="center")
                continue
            _strip(axes, values, row, "muted", spread=0.3)
            parts.append(f"{stem} {np.median(values):+.1f} ({values.min():+.1f} to {values.max():+.1f})")
        _rows(axes, stems)
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, -0.5), max(high, 0.5))
        axes.set_xlabel("Gain applied after the HRIRs (dB)")
        return to_svg(figure, f"Median gain in dB, and its range: {'; '.join(parts)}.")


def _strip(axes, values, row, hue, spread=0.11):
    """Dots along a line, shifted across it in turns so that equal ones show; a bar at the median."""
    shown = np.array(thinned(np.sort(values), _MOST_DOTS))
    # The golden ratio spreads neighbours evenly.
    shift = ((np.arange(len(shown)) * 0.618034) % 1 - 0.5) * 2 * spread
    alpha = 0.6 if len(shown) < 100 else 0.3
    axes.plot(shown, row + shift, "o", color=colour(hue), ms=4.2, mew=0, alpha=alpha)
    reach = spread + 0.06
    axes.plot([np.median(values)] * 2, [row - reach, row + reach], color=colour("ink"), lw=2)


def _rows(axes, stems):
    axes.set_yticks(range(len(stems)), stems)
    axes.tick_params(axis="y", labelcolor=colour("ink"), labelsize=10.5)
    axes.set_ylim(len(stems) - 0.5, -0.5)
    axes.grid(False, axis="y")
    for row in range(1, len(stems)):
        axes.axhline(row - 0.5, color=colour("rule"), lw=0.8)
    axes.xaxis.get_major_locator().set_params(nbins=7)
    axes.margins(x=0.05)
