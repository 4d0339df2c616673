"""README and the documentation's pages: their examples run as they stand, and no figure has two values."""

import os
import re
import subprocess
import sys

import pytest

from benchmarks import markdown, overview
from cadrender.demo import make_root
from tests import pages
from tests.roots import REPOSITORY


def run_python(text, folder):
    """What an example prints, run beside a demo's folder."""
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A folder that holds a demo root; nothing of it is rendered."""
    folder = tmp_path_factory.mktemp("beside")
    make_root(folder / "cadrender-demo", songs=1, subjects=2)
    return folder


def test_parts_are_read_as_the_readme_shows(beside):
    said = run_python(pages.python_under("README.md", "Read a part"), beside)
    assert said == ["scene_10001 (264600, 2) (44100, 2)"]


def test_parts_are_read_as_their_page_shows(beside):
    said = run_python(pages.python_under("docs/on-demand.md", "Read a part"), beside)
    assert said[0].startswith("scene_10001 ")
    assert re.fullmatch(r"\(264600, 2\) \d+ 44100", said[1])
    assert said[2] == "(44100, 2)"
    assert re.fullmatch(r"L\d{4} \(44100, 2\)", said[3])


def test_all_that_commands_do_is_done_from_python(tmp_path):
    make_root(tmp_path / "cadrender-demo", songs=1, subjects=2)
    everything = run_python(pages.python_under("docs/api.md", "Python"), tmp_path)
    assert everything[0] == "<Plan: 20 files of samples, 4 files of targets to make>"
    assert everything[1] == "[(4, 'samples'), (4, 'targets')] []"
    assert everything[2] == "[]"
    assert everything[3].startswith("[")
    assert re.fullmatch(r"\(\d+, 2\) -\d+\.\d+ LUFS", everything[4])


def test_both_commands_stand_in_the_readme_in_one_line_each():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "    python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cadrender demo\n" in text
    assert "    python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest\n" in text


def test_the_readme_has_one_table_of_figures_and_each_is_that_of_the_pages():
    assert markdown.read_block(markdown.README, "overview table") == overview.overview()
    text = markdown.README.read_text(encoding="utf-8")
    assert re.findall(r"^<!-- (\w.*?) -->$", text, re.MULTILINE) == ["overview table"]
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (markdown.SPEED, ["speed table", "stage table", "start table", "scaling table"]),
        (markdown.ON_DEMAND, ["on-demand table"]),
    ],
)
def test_scripts_find_the_places_of_their_tables(tmp_path, page, names):
    copy = tmp_path / page.name
    copy.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    markdown.write_blocks([copy], page, {name: f"a new {name}" for name in names})
    for name in names:
        assert markdown.read_block(copy, name) == f"a new {name}"
    with pytest.raises(
        SystemExit, match=r"has no place for these tables: a line <!-- other table --> marks it"
    ):
        markdown.write_blocks([copy], page, {"other table": ""})
    markdown.write_blocks(None, copy, {names[0]: "nothing is written without --write"})
    assert markdown.read_block(copy, names[0]) == f"a new {names[0]}"
    markdown.write_blocks([], copy, {names[0]: "the default page"})
    assert markdown.read_block(copy, names[0]) == "the default page"
