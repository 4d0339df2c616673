"""The names that type checkers and editors see are exactly those that can be imported; no two classes share one."""

import ast
from collections import Counter
from importlib import resources
from pathlib import Path

import cadrender

STUB = ast.parse((resources.files("cadrender") / "__init__.pyi").read_text())


def test_the_stub_names_what_is_imported_lazily():
    imported = {
        alias.name: node.module
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == vars(cadrender)["_PUBLIC"]


def test_the_stub_exports_all_public_names():
    (names,) = (node.value for node in STUB.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(names)) == sorted(cadrender.__all__)


def test_every_public_name_can_be_imported():
    for name in cadrender.__all__:
        getattr(cadrender, name)  # raises if the table points to the wrong module


def test_the_package_says_that_it_has_types():
    assert (resources.files("cadrender") / "py.typed").is_file()


def test_no_two_classes_share_a_name():
    modules = [ast.parse(file.read_text()) for file in Path(cadrender.__file__).parent.rglob("*.py")]
    names = Counter(
        node.name for module in modules for node in ast.walk(module) if isinstance(node, ast.ClassDef)
    )
    assert len(names) > 100 and [name for name, count in names.items() if count > 1] == []
