"""What is around a run: caches and homes that cannot be used, relative paths."""

import subprocess

import pytest

from tests.cli.generate.outputs import same_as_fresh
from tests.roots import call, command, environment, run


def test_cache_that_cannot_be_written_is_told_once(root, tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = run("generate", "--root", root, "-j", 2, "--dry-run", CADRENDER_CACHE_DIR=str(file / "cache"))
    assert result.returncode == 0
    assert result.stderr.count(f"{file / 'cache'}: cannot be written") == 1
    assert result.stderr.count("not used as a cache") == 1


@pytest.mark.slow
def test_cache_that_cannot_be_written(root, fresh, tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = run("generate", "--root", root, "-j", 2, CADRENDER_CACHE_DIR=str(file / "cache"))
    assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
    assert result.stderr.count("not used as a cache") == 1
    assert same_as_fresh(root, fresh)


@pytest.mark.slow
def test_home_that_is_missing(root, fresh):
    """No cache anywhere: kernels are compiled by each process for itself."""
    gone = str(root / "metadata/scenes.train.json/nobody")
    environment = dict.fromkeys(("HOME", "XDG_CACHE_HOME"), gone) | {"CADRENDER_CACHE_DIR": None}
    result = run("generate", "--root", root, "-j", 1, **environment)
    assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
    assert result.stderr.count("not used as a cache") == 1
    assert same_as_fresh(root, fresh)


@pytest.mark.parametrize("closed", [(1,), pytest.param((0, 1, 2), marks=pytest.mark.slow)])
def test_closed_streams(root, fresh, closed):
    """Where a workload manager closes them, workers do without, and no file takes their place."""
    arguments = [str(each) for each in command("generate", "--root", root, "-j", 2)]
    redirections = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirections}', "sh", *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert same_as_fresh(root, fresh)


def test_relative_root(root, fresh, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert call("generate", "--root", root.name, "-j", 1) == 0
    assert same_as_fresh(root, fresh)
