"""The page as a whole: one HTML file that needs nothing else."""

import base64
import functools
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cadrender.report import sections
from cadrender.report.examples import Example
from cadrender.report.levels import FileLevel
from cadrender.report.survey import Survey
from cadrender.report.wording import counted, decibels, plural, size
from cadrender.version import version
from cadrender.wording import duration

if TYPE_CHECKING:
    from jinja2 import Environment


@functools.cache
def _templates() -> tuple["Environment", list[str]]:
    """The templates, and the page's style and script."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("cadrender.report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (counted, decibels, duration, plural, size):
        environment.globals[function.__name__] = function
    return environment, [loader.get_source(environment, file)[0] for file in ("page.css", "page.js")]


def make_page(
    survey: Survey, examples: Sequence[Example], levels: Sequence[FileLevel], *, command: str, made: datetime
) -> str:
    """The report as HTML.

    Parameters
    ----------
    survey : Survey
    examples : sequence of Example
        The scenes to listen to.
    levels : sequence of FileLevel
        The known levels of at-mic files.
    command : str
        The command that made the report.
    made : datetime.datetime
        The time of the report.
    """
    from markupsafe import Markup

    environment, (style, script) = _templates()
    measured = [level for example in examples for level in example.levels]
    known = {(level.sample, level.stem): level for level in (*measured, *levels)}
    order = {sample: k for k, sample in enumerate(survey.samples)}
    everything = sorted(known.values(), key=lambda level: order[level.sample])
    return environment.get_template("page.html").render(
        survey=survey,
        settings=survey.settings,
        title=survey.settings.root.name or str(survey.settings.root),
        version=version(),
        command=command,
        made=made.strftime("%Y-%m-%d %H:%M %Z").strip(),
        style=Markup(style),
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        listen=sections.listen(survey, examples, everything),
        heads=sections.heads(survey),
        scenes=sections.scenes(survey),
        listeners=sections.listeners(survey),
        loudness=sections.loudness(everything, len(known) - len(levels)),
        completeness=sections.completeness(survey),
    )
