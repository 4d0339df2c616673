"""Matplotlib figures as inline SVG that takes its colours and its typeface from the page.

Figures are drawn in stand-in colours, each of which becomes a CSS variable of the page, so that one picture serves
the light and the dark scheme. Text stays text, in the page's own typeface.
"""

import contextlib
import io
import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-in colours that nothing else uses, one for each of the page's variables.
_NAMES = ("ink", "muted", "rule", "paper", "raised", "warm", "cool", *(f"grade{k}" for k in range(7)))
_STAND_INS = {name: f"#0d0b{k:02x}" for k, name in enumerate(_NAMES)}


def colour(name: str) -> str:
    """The stand-in of one of the page's colours: ``ink``, ``muted``, ``rule``, ``warm``, ``grade0``, ..."""
    return _STAND_INS[name]


_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": colour("ink"),
    "axes.labelcolor": colour("muted"),
    "axes.edgecolor": colour("rule"),
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": colour("rule"),
    "xtick.color": colour("rule"),
    "xtick.labelcolor": colour("muted"),
    "xtick.labelsize": 10.5,
    "xtick.major.size": 4,
    "ytick.color": colour("rule"),
    "ytick.labelcolor": colour("muted"),
    "ytick.labelsize": 10.5,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify_threshold": 0.05,
}


@contextlib.contextmanager
def drawing(
    width: float, height: float, margins: tuple[float, float, float, float] = (0, 0, 0, 0)
) -> "Iterator[tuple[Figure, Axes]]":
    """A figure with one pair of axes.

    Parameters
    ----------
    width, height : float
        In CSS pixels.
    margins : tuple
        Left, right, bottom, top: pixels around the axes.

    Yields
    ------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
    """
    import matplotlib
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # not the user's own style
        matplotlib.rcParams.update(_STYLE)
        # The browser draws letters that Matplotlib's own font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
        )
        yield figure, axes


_numbers = itertools.count(1)


def to_svg(figure: "Figure", alt: str) -> "Markup":
    """A figure as an element of the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Artists with a ``gid`` such as ``head:3`` get an attribute ``data-head="3"``.
    alt : str
        Description of the picture, for those who cannot see it.
    """
    import matplotlib
    from markupsafe import Markup

    stream = io.StringIO()
    key = f"f{next(_numbers)}"
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*(; )?", "", text)
    text = re.sub(r" transform=\"rotate\(-0 [^)]*\)\"", "", text)
    text = re.sub(r' (?:d|x|y|transform|points|width|height)="[^"]*"', _rounded, text)
    text = re.sub(r' id="([a-z]+):([0-9]+)"', r' data-\1="\2"', text)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", text)
    text = re.sub(r"((?:id=\"|#))(?=[mp][0-9a-f]{10})", rf"\g<1>{key}", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    for name, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    box = text.partition('viewBox="')[2].partition('"')[0]
    content = text[text.index(">") + 1 : text.rindex("</svg>")].strip()
    svg = Markup('<svg viewBox="{}" role="img" aria-label="{}" class="chart">{}</svg>')
    return svg.format(box, alt, Markup(content))


def _rounded(attribute: re.Match[str]) -> str:
    return re.sub(r"(\d\.\d{2})\d+", r"\1", attribute[0])


def hertz(frequencies: Iterable[float]) -> list[str]:
    """Labels for frequencies: ``500``, ``2k``."""
    return [f"{f / 1000:g}k" if f >= 1000 else f"{f:g}" for f in frequencies]


def frequency_axis(axes: "Axes", lowest: float, highest: float, marks: Sequence[float]) -> None:
    """A logarithmic axis of frequency with labels in Hz and kHz."""
    axes.set(xscale="log", xlim=(lowest, highest), xlabel="Frequency (Hz)")
    axes.set_xticks(list(marks), hertz(marks))
    axes.set_xticks([], minor=True)
