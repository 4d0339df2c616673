"""A root after its first run, which is read by many tests, and copies that each may change."""

import pytest

from tests.cli.remix.outputs import AT_MIC, add_metadata, copy_of
from tests.roots import invoke, make_root, run


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A root whose at-mic files were generated and then mixed, and that second run."""
    root = add_metadata(make_root(tmp_path_factory.mktemp("remix") / "a root"))
    assert invoke("generate", "--root", root, "-j", 1, "-q").returncode == 0
    return root, run("remix", "--root", root, "--listeners", "-j", 2)


@pytest.fixture
def root(fresh, tmp_path):
    """A root of one's own with at-mic files, on which remix was not run yet."""
    return copy_of(fresh, tmp_path / "root", AT_MIC, "metadata", "audio/music", "audio/hrtf")


@pytest.fixture
def bare(fresh, tmp_path):
    """A root of one's own without at-mic files."""
    root = copy_of(fresh, tmp_path / "root", "metadata", "audio/music", "audio/hrtf")
    for file in (root / "metadata").glob("at_mic_music*"):
        file.unlink()
    return root
