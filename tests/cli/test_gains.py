import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cadrender.cli.gains import command
from cadrender.errors import UsageError
from cadrender.metadata.gains import build_gains, read_gains


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_fresh_root_gets_the_official_gains(tmp_path):
    words = [sys.executable, "-m", "cadrender", "gains", f"path.root={tmp_path}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / "metadata" / "gains.json"
    assert done.stdout == f"{file}: 1105 gains, written\n"
    gains = json.loads(file.read_text())
    assert len(gains) == 1105
    assert gains["gain_0007"] == {"vocals": 10, "drums": 0, "bass": 0, "other": 0}
    assert gains["gain_0138"] == {"vocals": 0, "drums": -10, "bass": 6, "other": 0}
    assert gains["gain_0381"] == {"vocals": 3, "drums": 10, "bass": -6, "other": 0}
    assert list(file.parent.iterdir()) == [file]


def test_the_file_can_be_elsewhere(tmp_path):
    assert run("--root", tmp_path, f"path.gains_file={tmp_path}/mine.json").exit_code == 0
    assert len(read_gains(tmp_path / "mine.json")) == 1105


def test_other_stems_and_steps(tmp_path):
    result = run("--root", tmp_path, "--stems", "lead, rest", "--steps", "-4.5,6")
    assert result.exit_code == 0
    text = (tmp_path / "metadata" / "gains.json").read_text()
    assert list(json.loads(text).values()) == [
        {"lead": 0, "rest": 0},
        {"lead": -4.5, "rest": 0},
        {"lead": 6, "rest": 0},
        {"lead": 0, "rest": -4.5},
        {"lead": 0, "rest": 6},
    ]
    assert '"lead": 6,' in text


def test_a_different_file_needs_force(tmp_path):
    file = tmp_path / "metadata" / "gains.json"
    run("--root", tmp_path, "--steps", "-3,3")
    before = file.read_bytes()
    result = run("--root", tmp_path)
    assert isinstance(result.exception, UsageError)
    assert str(file) in str(result.exception) and "--force" in str(result.exception)
    assert file.read_bytes() == before
    assert run("--root", tmp_path, "--force").exit_code == 0
    assert len(read_gains(file)) == 1105


def test_the_same_content_is_left_as_it_is(tmp_path):
    file = tmp_path / "metadata" / "gains.json"
    file.parent.mkdir()
    distributed = json.dumps(build_gains(), indent=1) + "\n"
    file.write_text(distributed)
    result = run("--root", tmp_path)
    assert result.exit_code == 0 and "unchanged" in result.output
    assert file.read_text() == distributed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", "3,x"],
        ["--steps", ""],
        ["--steps", "0"],
        ["--steps", "1e999"],
        ["--stems", "one"],
        ["--stems", "a,../b"],
    ],
)
def test_impossible_choices_write_nothing(arguments, tmp_path):
    result = run("--root", tmp_path, *arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, UsageError | SystemExit)
    assert list(tmp_path.iterdir()) == []
