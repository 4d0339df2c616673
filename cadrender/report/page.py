"""The page as a whole: one HTML file that needs nothing else."""

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from datetime import datetime

from cadrender.report import sections
from cadrender.report.examples import Example
from cadrender.report.levels import FileLevel
from cadrender.report.markup import Html, code, el, join, name
from cadrender.report.survey import Survey
from cadrender.version import version

MARK = '<meta name="generator" content="cadrender report'
"""What tells a report from any other file; it stands near the beginning."""

_SECTIONS = {
    "listen": "Listen",
    "heads": "Heads",
    "scenes": "Scenes",
    "listeners": "Listeners",
    "loudness": "Loudness",
    "completeness": "Completeness",
}


def make_page(
    survey: Survey, examples: Sequence[Example], levels: Sequence[FileLevel], *, command: str, made: datetime
) -> str:
    """The report as HTML.

    Parameters
    ----------
    survey : Survey
    examples : sequence of Example
        What can be listened to.
    levels : sequence of FileLevel
        What is known of at-mic files.
    command : str
        How the report was made.
    made : datetime.datetime
        When.
    """
    settings = survey.settings
    title = settings.root.name or str(settings.root)
    measured = [level for example in examples for level in example.levels]
    known = {(level.sample, level.stem): level for level in (*measured, *levels)}
    order = {sample: k for k, sample in enumerate(survey.samples)}
    everything = sorted(known.values(), key=lambda level: order[level.sample])
    new = len(known) - len(levels)
    links = [el("li", el("a", text, href=f"#{key}")) for key, text in _SECTIONS.items()]
    body = join(
        el(
            "header",
            el("p", "At the microphones", cls="over"),
            el("h1", name(title)),
            el("p", code(str(settings.root)), f", {settings.split} split", cls="where"),
            sections.facts(survey),
            sections.status(survey),
            cls="top wide",
        ),
        el("nav", el("ul", links, cls="wide"), aria_label="Sections"),
        el(
            "main",
            sections.examples_section(survey, examples, everything),
            sections.heads_section(survey),
            sections.scenes_section(survey),
            sections.listeners_section(survey),
            sections.levels_section(survey, everything, new),
            sections.completeness_section(survey),
            cls="wide",
        ),
        el("footer", el("div", _provenance(survey, command, made), cls="last"), cls="wide"),
    )
    style, script = _resource("page.css"), _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Nothing may be fetched, and no script may run but the one below, whatever the names on the page are.
    policy = (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    head = join(
        el("meta", charset="utf-8"),
        Html(f'{MARK} {version()}">'),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{title}: at the microphones"),
        el("style", Html(style)),
    )
    page = el("html", el("head", head), el("body", body, el("script", Html(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


def _resource(file):
    return importlib.resources.files(__package__).joinpath(file).read_text(encoding="utf-8")


def _provenance(survey, command, made):
    settings = survey.settings
    when = made.strftime("%Y-%m-%d %H:%M %Z").strip()
    files = (settings.scene_file, settings.output_music_file)
    return [
        el("p", f"Made by cadrender {version()} on {when} with ", code(command), "."),
        el("p", "Root ", code(str(settings.root)), "; ", code(str(files[0])), "; ", code(str(files[1])), "."),
        el("p", "This page is one file and asks nothing of the network."),
    ]
