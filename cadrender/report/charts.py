"""Matplotlib figures as inline SVG that takes its colours and its type from the page.

A figure is drawn in stand-in colours, each of which becomes a CSS variable of the page: so one picture serves the
light and the dark scheme. Text stays text, in the page's own typeface.
"""

import contextlib
import io
import itertools
import re
import warnings

from cadrender.errors import UsageError
from cadrender.report.markup import Html, el

# Colours that nobody would choose, and the page's variable that each stands for.
_NAMES = ("ink", "muted", "rule", "paper", "warm", "cool", *(f"grade{k}" for k in range(7)))
_STAND_INS = {name: f"#0d0b{k:02x}" for k, name in enumerate(_NAMES)}


def colour(name: str) -> str:
    """The stand-in of one of the page's colours: ``ink``, ``muted``, ``rule``, ``warm``, ``grade0``, ..."""
    return _STAND_INS[name]


def check_matplotlib() -> None:
    """See that pictures can be drawn.

    Raises
    ------
    UsageError
        If Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the report's pictures need Matplotlib ({error}): pip install 'cadrender[report]'"
        ) from error


_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": colour("ink"),
    "axes.labelcolor": colour("muted"),
    "axes.labelsize": 11,
    "axes.edgecolor": colour("rule"),
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": colour("rule"),
    "grid.linewidth": 0.8,
    "xtick.color": colour("rule"),
    "xtick.labelcolor": colour("muted"),
    "xtick.labelsize": 10.5,
    "xtick.major.size": 4,
    "xtick.minor.size": 0,
    "ytick.color": colour("rule"),
    "ytick.labelcolor": colour("muted"),
    "ytick.labelsize": 10.5,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify_threshold": 0.05,
}


@contextlib.contextmanager
def drawing(width: int, height: int, margins: tuple[float, float, float, float]):
    """A figure with one pair of axes.

    Parameters
    ----------
    width, height : int
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
        matplotlib.rcdefaults()  # whatever the user's own style is
        matplotlib.rcParams.update(_STYLE)
        # A letter that Matplotlib's own font lacks is drawn by the browser all the same.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        axes = figure.add_axes(
            (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
        )
        yield figure, axes


_numbers = itertools.count(1)


def to_svg(figure, alt: str) -> Html:
    """A figure as an element of the page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Artists with a ``gid`` such as ``head:3`` get an attribute ``data-head="3"``.
    alt : str
        What the picture shows, for those who do not see it.
    """
    import matplotlib

    stream = io.StringIO()
    key = f"f{next(_numbers)}"
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
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
    box = re.search(r'viewBox="([^"]*)"', text)[1]
    content = text[text.index(">") + 1 : text.rindex("</svg>")]
    return el("svg", Html(content.strip()), viewBox=box, role="img", aria_label=alt, cls="chart")


def _rounded(attribute):
    return re.sub(r"(\d\.\d{2})\d+", r"\1", attribute[0])


def frequency_axis(axes, lowest: float, highest: float, marks) -> None:
    """A logarithmic axis of frequency with labels in Hz and kHz."""
    axes.set_xscale("log")
    axes.set_xlim(lowest, highest)
    axes.set_xticks(list(marks), [f"{f / 1000:g}k" if f >= 1000 else f"{f:g}" for f in marks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("Frequency (Hz)")
