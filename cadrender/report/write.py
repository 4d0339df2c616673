"""Making and writing a report."""

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.report.examples import Example, choose_scenes, make_example
from cadrender.report.levels import known_levels
from cadrender.report.page import make_page
from cadrender.report.survey import Shortcoming, take_survey
from cadrender.store import AtomicFile, ClaimedError

_MOST_SECONDS = 60.0

# What identifies a report; near the beginning of page.html.
_MARK = b'<meta name="generator" content="cadrender report'


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written.

    Attributes
    ----------
    file : pathlib.Path
    bytes : int
    scenes : int
        Scenes to listen to in it.
    samples, complete : int
        Samples of the scenes, and those that are rendered.
    problems : tuple of Shortcoming
        What the root lacks.
    """

    file: Path
    bytes: int
    scenes: int
    samples: int
    complete: int
    problems: tuple[Shortcoming, ...]


def default_file(settings: Settings) -> Path:
    """The default place of a report: ``cadrender-report.train.html`` in the root."""
    return settings.root / f"cadrender-report.{settings.split}.html"


def write_report(
    settings: Settings,
    file: Path | None = None,
    *,
    scenes: Sequence[str] = (),
    examples: int = 4,
    seconds: float = 5.0,
    force: bool = False,
    command: str = "cadrender.report.write_report",
    advance: Callable[[str], None] = lambda what: None,
) -> WrittenReport:
    """Write a root's report: one HTML file that can be opened anywhere, with pictures and sound.

    The root need not be rendered, or complete; examples that are not on disk are rendered for the page. Nothing else
    is written.

    Parameters
    ----------
    settings : Settings
        Of the root.
    file : pathlib.Path, optional
        The report; default: `default_file`. Its folder is created.
    scenes : sequence of str
        Shell patterns of scene ids, songs or samples from which the examples are taken; default: all.
    examples : int
        Scenes to listen to.
    seconds : float
        Length of each example.
    force : bool
        Replace a file that is not a report.
    command : str
        The command that makes the report, for its last lines.
    advance : callable
        Called with each step.

    Raises
    ------
    UsageError
        If Matplotlib or Jinja2 is missing, the folder is not a root, the file exists and is not a report, a
        pattern matches nothing or a number is out of range.
    CadrenderError
        If the file cannot be written.
    """
    if examples < 0:
        raise UsageError(f"{examples} examples: 0 or more can be shown")
    if not 0.5 <= seconds <= _MOST_SECONDS:
        raise UsageError(f"{seconds:g} seconds: examples are 0.5 to {_MOST_SECONDS:g} seconds long")
    file = Path(file) if file else default_file(settings)
    for library in ("matplotlib", "jinja2"):
        try:
            importlib.import_module(library)
        except ImportError as error:
            needed = f"a report needs Matplotlib and Jinja2 ({error}): pip install 'cadrender[report]'"
            raise UsageError(needed) from error
    _check_place(file, force)
    advance("looking at the root")
    survey = take_survey(settings)
    chosen: list[Example] = []
    for scene in choose_scenes(survey, scenes, examples):
        advance(f"cutting {scene.id}")
        chosen.append(make_example(survey, scene, seconds))
    advance("drawing")
    page = make_page(
        survey, chosen, known_levels(survey), command=command, made=datetime.now().astimezone()
    ).encode(errors="backslashreplace")
    _write(file, page)
    return WrittenReport(
        file,
        len(page),
        sum(example.at_mic is not None for example in chosen),
        len(survey.samples),
        len(survey.complete),
        survey.problems,
    )


def _check_place(file: Path, force: bool) -> None:
    if file.is_dir():
        raise UsageError(f"{file}: a folder; give a file, such as {file / 'report.html'}")
    if force or not os.path.lexists(file):
        return
    try:
        with file.open("rb") as stream:
            beginning = stream.read(1024)
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read: {error.strerror or error} (use --force to replace it)"
        ) from error
    if _MARK not in beginning:
        raise UsageError(
            f"{file}: exists and is not a cadrender report (use another --output, or --force to replace it)"
        )


def _write(file: Path, content: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with AtomicFile(file) as atomic:
            atomic.write(content)
            os.fsync(atomic.descriptor)
            atomic.commit()
    except ClaimedError as error:
        raise CadrenderError(f"{error}; try again when it is done") from error
    except OSError as error:
        raise CadrenderError(f"{file}: cannot be written: {error.strerror or error}") from error
