"""The names that type checkers and editors see are exactly those that can be imported."""

import ast
from importlib import resources

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
