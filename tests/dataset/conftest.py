"""A root whose items are read, and the at-mic files that they are parts of."""

import shutil

import pytest

from cadrender.metadata.gains import build_gains, gains_json
from tests.dataset.items import LENGTHS, NAMES, POSITIONS
from tests.roots import invoke, make_root


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Four songs at three positions, one of them in two scenes; nothing is rendered."""
    folder = make_root(
        tmp_path_factory.mktemp("dataset") / "root", songs=NAMES, seconds=LENGTHS, positions=POSITIONS
    )
    (folder / "metadata/gains.json").write_text(gains_json(build_gains()))
    return folder


@pytest.fixture(scope="session")
def generated(root, tmp_path_factory):
    """The folder of the root's at-mic files as `generate` writes them, elsewhere."""
    out = tmp_path_factory.mktemp("generated")
    result = invoke(
        "generate",
        "--root",
        root,
        "--output-music-dir",
        out / "music",
        "--output-music-file",
        out / "m.json",
        "-j",
        "1",
    )
    assert result.returncode == 0, result.stderr
    return out / "music"


@pytest.fixture
def own(root, tmp_path):
    return shutil.copytree(root, tmp_path / "root")
