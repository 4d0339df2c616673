"""``--log-file``: all that is said, with the time, for those who look the next morning."""

import re
import time
from pathlib import Path

import pytest

from cadrender.cli import main
from cadrender.cli.log import logged, record, tell
from cadrender.errors import CadrenderError
from tests.roots import SONGS, invoke, make_root, music, write_wav

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("log") / "root")


def call(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(list(map(str, arguments)))
    return exit.value.code


def lines_of(file):
    """The lines of a log, each of which begins with a time of the last minutes."""
    lines = file.read_text().splitlines()
    assert all(re.match(TIME, line) for line in lines), lines
    now = time.time()
    for line in lines:
        assert 0 <= now - time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) < 600
    return [line[25:] for line in lines]


def test_all_that_is_said(made, tmp_path, capsys):
    log = tmp_path / "run.log"
    assert call("generate", "--root", made, "-j", 1, "--log-file", log, "--verbose") == 0
    said = capsys.readouterr().err.splitlines()
    lines = lines_of(log)
    assert lines[0] == "cadrender generate"
    assert lines[1:-1] == said
    assert any(line.startswith("clipped: ") or "samples rendered" in line for line in said)
    assert lines[-1] == "exit status 0"
    # Another run is appended, and what is not said with -q is there all the same.
    assert call("generate", "--root", made, "-j", 1, "--log-file", log, "-q") == 0
    assert capsys.readouterr().err == ""
    again = lines_of(log)[len(lines) :]
    assert again[0] == "cadrender generate" and again[-1] == "exit status 0"
    assert "6 samples complete; 0 files to render" in "\n".join(again)


@pytest.mark.parametrize("command", ["generate", "remix", "excerpts", "ingest folder"])
def test_every_command_that_runs_has_it(command):
    assert "--log-file FILE" in invoke(*command.split(), "--help").stdout


def test_ingested_songs(tmp_path, capfd):
    source = tmp_path / "songs/A song"
    source.mkdir(parents=True)
    write_wav(source / "vocals.wav", music(1.0, 1))
    (tmp_path / "songs/B.m4a").touch()
    log = tmp_path / "run.log"
    options = ("--root", tmp_path / "root", "-j", 1, "--log-file", log)
    status = call("ingest", "folder", tmp_path / "songs", *options)
    printed = capfd.readouterr()
    lines = lines_of(log)
    assert lines[0] == "cadrender ingest folder"
    assert lines[-1] == f"exit status {status}"
    assert set(printed.out.splitlines() + printed.err.splitlines()) == set(lines[1:-1])


def test_failures_and_errors(tmp_path, capsys):
    root = make_root(tmp_path / "root")
    broken = root / "audio/music/train" / SONGS[0] / "drums.wav"
    broken.write_bytes(broken.read_bytes()[:1000])
    log = tmp_path / "run.log"
    assert call("generate", "--root", root, "-j", 1, "--log-file", log, "-q") == 1
    failed = [line for line in lines_of(log) if line.startswith("failed: ")]
    assert len(failed) == 1 and "drums.wav: truncated" in failed[0]
    assert failed[0] in capsys.readouterr().err.splitlines()
    assert lines_of(log)[-1] == "exit status 1"
    (root / "metadata/scenes.train.json").write_text("{")
    assert call("generate", "--root", root, "--log-file", log) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert lines_of(log)[-2:] == [error, "exit status 2"]


def test_a_log_that_cannot_be_written(made, tmp_path, capsys):
    (tmp_path / "file").touch()
    log = tmp_path / "file/run.log"
    assert call("generate", "--root", made, "--log-file", log) == 2
    error = f"cadrender: {log}: the log cannot be written: Not a directory\n"
    assert capsys.readouterr().err == error


def test_a_full_disk_ends_the_log_and_not_the_run(capsys):
    import click

    with click.Context(click.Command("generate"), info_name="generate"), logged(Path("/dev/full")):
        tell("one")
        record("two")
    error = capsys.readouterr().err.splitlines()
    assert error == ["/dev/full: the log cannot be written: [Errno 28] No space left on device", "one"]


def test_an_error_passes_through(tmp_path):
    import click

    log = tmp_path / "run.log"
    with (
        click.Context(click.Command("generate"), info_name="generate"),
        pytest.raises(CadrenderError, match="no luck"),
        logged(log),
    ):
        raise CadrenderError("no luck")
    assert lines_of(log) == ["generate", "cadrender: no luck", "exit status 1"]
