"""Draw loudness.svg: a segment's tails, and segments' energies with and without convolving.

Everything is computed here with NumPy alone, from a song and a head of the demo. Run it from the repository:
``python docs/figures/loudness.py``.
"""

import itertools
from pathlib import Path

import matplotlib
import numpy as np
from scipy.signal import lfilter

from cadrender.demo.arrange import play
from cadrender.demo.head import SAMPLERATE, SUBJECTS, make_head, make_hrir
from cadrender.demo.songs import SONGS
from cadrender.dsp.loudness import k_weighting

SECONDS = 4.0
SEGMENT = SAMPLERATE // 10
FILE = Path(__file__).with_suffix(".svg")
BLUE, ORANGE, GREY = "#2166ac", "#e08214", "#9a9a9a"


def stem_and_hrir():
    """The left channel of the demo's first drums, K-weighted; and its loudspeaker's HRIR at the right ear."""
    drums = play(SONGS[0])["drums"][:, 0] / 32768
    loudest = int(np.argmax(np.abs(drums)))
    start = max(0, min(loudest - SAMPLERATE, len(drums) - int(SECONDS * SAMPLERATE)))
    signal = drums[start : start + int(SECONDS * SAMPLERATE)]
    for b0, b1, b2, a1, a2 in k_weighting(SAMPLERATE):
        signal = lfilter([b0, b1, b2], [1.0, a1, a2], signal)
    return signal, make_hrir(make_head(SUBJECTS[0]), -30.0)[:, 1].astype(np.float64)


def by_convolving(signal, hrir, edges):
    """Energy of each segment of the convolved signal: the obvious way."""
    convolved = np.convolve(signal, hrir)
    return np.array([np.sum(convolved[a:b] ** 2) for a, b in itertools.pairwise(edges)])


def tail(signal, hrir, edge):
    """What rings on when the signal ends at an edge."""
    before = np.concatenate([np.zeros(len(hrir)), signal[:edge]])[-len(hrir) + 1 :]
    return np.convolve(before, hrir)[len(before) :]


def by_correlating(signal, hrir, edges):
    """Energy of each segment by the formula; the correlations' part, and the tails' energies at all edges."""
    taps = len(hrir)
    weights = np.correlate(hrir, hrir, "full")[taps - 1 :]
    weights[1:] *= 2.0
    correlated = np.array(
        [
            sum(w * (signal[max(a, t) : b] @ signal[max(a, t) - t : b - t]) for t, w in enumerate(weights))
            for a, b in itertools.pairwise(edges)
        ]
    )
    tails = np.array([np.sum(tail(signal, hrir, edge) ** 2) for edge in edges])
    return correlated - tails[1:] + tails[:-1], correlated, tails


def decibels(energies):
    """Of mean squares of a segment."""
    return 10.0 * np.log10(np.maximum(energies, 1e-30) / SEGMENT)


def draw_edge(axes, signal, hrir, edge):
    """The signal convolved, and what rings on when it ends at an edge."""
    around = np.arange(edge - 400, edge + len(hrir) + 50)
    milliseconds = 1e3 * (around - edge) / SAMPLERATE
    convolved = np.convolve(signal, hrir)[around]
    cut = np.convolve(np.where(np.arange(len(signal)) < edge, signal, 0.0), hrir)[around]
    axes.plot(milliseconds, convolved, color=GREY, linewidth=1, label="$v * h$")
    before, after = around < edge, around >= edge
    axes.plot(milliseconds[before], cut[before], color=BLUE, linewidth=1.8, label="$v_p * h$ before $p$")
    axes.fill_between(milliseconds[after], cut[after], color=ORANGE, alpha=0.5, label="its tail")
    axes.plot(milliseconds[after], cut[after], color=ORANGE, linewidth=1.8)
    axes.axvline(0.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("ms from the edge $p$")
    axes.set_title("Cut at an edge, a signal rings on for the HRIR's length", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def draw_energies(axes, edges, convolved, formula, tails):
    """Segments' energies both ways, and the tails'."""
    middles = (edges[1:] + edges[:-1]) / 2 / SAMPLERATE
    axes.plot(middles, decibels(convolved), "o", color=GREY, markersize=7, label="convolved, then squared")
    axes.plot(middles, decibels(formula), ".-", color=BLUE, linewidth=1, markersize=4, label="the formula")
    axes.plot(edges / SAMPLERATE, decibels(tails), "_", color=ORANGE, markersize=7, label=r"tails $\tau(p)$")
    worst = np.max(np.abs(formula - convolved) / convolved)
    axes.set_title(
        f"Energies of {len(convolved)} segments: the two ways differ by {worst:.1e} at most",
        loc="left",
        fontsize=10,
    )
    axes.set_xlabel("s")
    axes.set_ylabel("dB")
    axes.set_ylim(-200.0, 0.0)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="lower left")


def main() -> None:
    """Compute, compare, draw."""
    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "cadrender", "font.family": "sans-serif"}
    from matplotlib import pyplot

    signal, hrir = stem_and_hrir()
    edges = np.arange(0, len(signal) + 1, SEGMENT)
    convolved = by_convolving(signal, hrir, edges)
    formula, _, tails = by_correlating(signal, hrir, edges)
    np.testing.assert_allclose(formula, convolved, rtol=1e-9)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    draw_edge(left, signal, hrir, int(edges[np.argmax(tails[:-1])]))
    draw_energies(right, edges, convolved, formula, tails)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FILE, metadata={"Date": None})
    print(FILE)


if __name__ == "__main__":
    main()
