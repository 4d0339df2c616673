"""Songs, HRIRs and a music list, and nothing else: every command in turn, no file touched by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cadrender.demo import make_root

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    root = tmp_path_factory.mktemp("fresh") / "root"
    make_root(root, songs=1, subjects=2)
    for file in (root / "metadata").iterdir():
        if file.name != "musdb18.train.json":
            file.unlink()
    return root


def run(root, command, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "cadrender", command, "--root", str(root), *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_fresh_root_goes_through_all_commands(fresh):
    pytest.importorskip("matplotlib")
    for command, *arguments in (
        ("positions",),
        ("gains",),
        ("scenes", "--without-listeners", "--scenes-per-song", "2"),
        ("check",),
        ("generate", "-j", "1"),
        ("excerpts", "--split", "valid", "-j", "1"),
        ("check",),
        ("report",),
    ):
        done = run(fresh, command, *arguments)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
    metadata = fresh / "metadata"
    assert len(json.loads((metadata / "at_mic_music.train.json").read_text())) == 2
    assert len(json.loads((metadata / "at_mic_music.valid.json").read_text())) == 2
    assert (fresh / "cadrender-report.train.html").stat().st_size > 100_000


def test_scenes_without_a_listeners_file_say_what_can_be_done(fresh, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(fresh / "metadata", root / "metadata")
    shutil.copytree(fresh / "audio" / "hrtf", root / "audio" / "hrtf")
    for command in ("positions", "gains"):
        assert run(root, command, "--force").returncode == 0
    done = run(root, "scenes")
    assert done.returncode == 2
    assert "listeners.train.json" in done.stderr
    assert "--without-listeners" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (root / "metadata" / "scene_listeners.train.json").exists()
