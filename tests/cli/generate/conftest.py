"""A root after its first run, which is read by many tests, and copies that each may change."""

import pytest

from tests.cli.generate.outputs import inputs_of
from tests.roots import (
    make_root,
    run,
)


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A root after its first run, and that run."""
    root = make_root(tmp_path_factory.mktemp("generate") / "a root")
    return root, run("generate", "--root", root, "-j", 2, "-v")


@pytest.fixture
def root(fresh, tmp_path):
    """A root of one's own on which nothing was run yet."""
    return inputs_of(fresh[0], tmp_path / "root")
