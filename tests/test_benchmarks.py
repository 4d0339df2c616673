"""Documents' tables match the benchmarks that make them, and tables reach their places."""

import importlib
import re

import pytest

from benchmarks import markdown, script
from benchmarks.__main__ import OTHERS, TABLES, shown


def test_each_table_that_a_document_shows_is_made_by_a_script():
    assert shown() <= {name for names in TABLES.values() for name in names}
    assert {"overview table", "speed table", "on-demand table"} <= shown()
    assert markdown.page_of("overview table") == markdown.README


@pytest.mark.parametrize("name", [*TABLES, *OTHERS])
def test_each_script_tells_what_it_answers_and_takes_quick(name, capsys):
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    help_text = capsys.readouterr().out
    assert f"python -m benchmarks.{name}" in help_text
    assert ("--quick" in help_text) == (name != "overview")
    assert ("--write" in help_text) == (name in TABLES)


def test_the_benchmarks_readme_lists_every_file_once():
    folder = markdown.HOME / "benchmarks"
    cells = re.findall(r"^\| (`.*?`) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = [name for cell in cells for name in re.findall(r"`(.*?)`", cell)]
    assert sorted(listed) == sorted(file.name for file in folder.glob("*.py") if file.name != "__init__.py")


def test_a_table_replaces_what_stood_in_its_place_and_nothing_else(tmp_path):
    one, other = tmp_path / "one.md", tmp_path / "other.md"
    one.write_text("a\n<!-- x table -->\n\nold\n\n<!-- /x table -->\nb\n", encoding="utf-8")
    other.write_text("c\n<!-- y table -->\n<!-- /y table -->\n", encoding="utf-8")
    text = markdown.table(["k", "v"], [[r"\1", "2"]])
    markdown.write_blocks([one, other], {"x table": text})
    assert one.read_text(encoding="utf-8") == (
        "a\n<!-- x table -->\n\n| k | v |\n| --- | ---: |\n| \\1 | 2 |\n\n<!-- /x table -->\nb\n"
    )
    assert other.read_text(encoding="utf-8") == "c\n<!-- y table -->\n<!-- /y table -->\n"
    assert markdown.read_tables(markdown.read_block(one, "x table")) == [[["k", "v"], [r"\1", "2"]]]


def test_a_table_without_a_place_is_named_after_the_others_are_written(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- x table -->\n<!-- /x table -->\n", encoding="utf-8")
    with pytest.raises(
        SystemExit, match=r"page\.md: no place for some tables: a line <!-- y table --> marks it"
    ):
        markdown.write_blocks([page], {"y table": "lost", "x table": "kept"})
    assert markdown.read_block(page, "x table") == "kept"
    with pytest.raises(SystemExit, match="y table"):
        markdown.read_block(page, "y table")
    with pytest.raises(SystemExit, match="y table"):
        markdown.page_of("y table")


def test_every_table_is_replaced_where_it_is_shown_and_only_with_write(tmp_path, monkeypatch):
    pages = {name: markdown.page_of(name) for name in shown()}
    copies = {page: tmp_path / str(number) for number, page in enumerate(set(pages.values()))}
    for page, copy in copies.items():
        copy.write_bytes(page.read_bytes())
    monkeypatch.setattr(markdown, "documents", lambda: list(copies.values()))
    blocks = {name: f"a new {name}" for name in pages}
    script.publish(blocks, None)
    assert all(copy.read_bytes() == page.read_bytes() for page, copy in copies.items())
    script.publish(blocks, [])
    for name, page in pages.items():
        assert markdown.read_block(copies[page], name) == f"a new {name}"


def test_options_overrule_what_quick_stands_for():
    def parse(*arguments):
        return script.parse(script.parser("", repeats=9), arguments, repeats=1).repeats

    assert (parse(), parse("--quick"), parse("--quick", "--repeats", "3")) == (9, 1, 3)
