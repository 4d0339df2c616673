import json
import re
import subprocess
import sys

import click
import pytest

from cadrender.cli import COMMANDS, group, main
from cadrender.errors import CadrenderError, MetadataError, UsageError
from tests.corpora.trees import tone, write
from tests.roots import SONGS, environment, make_root, run

# What a command line that only answers must not load.
HEAVY = (
    "numpy",
    "numba",
    "scipy",
    "pyfftw",
    "soundfile",
    "joblib",
    "omegaconf",
    "rich",
    "matplotlib",
    "soxr",
    "h5py",
)

LOADED = """
import json, sys
from cadrender.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit:
    print("\\n" + json.dumps([exit.code, sorted(sys.modules)]))
"""


def loaded(*arguments):
    """Exit status and modules of a process that ran the command line."""
    result = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["generate", "--help"], ["generate", "--nope"], ["heads", "--help"]],
)
def test_answers_load_nothing_heavy(arguments):
    status, modules = loaded(*arguments)
    assert status == (2 if "--nope" in arguments else 0)
    assert not set(modules) & set(HEAVY)


def test_help_lists_all_commands():
    result = run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    words = " ".join(result.stdout.split())
    for name, summary in COMMANDS.items():
        assert f"{name} {summary}" in words


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_of_its_own(name):
    # In a process of its own: click keeps a command's help options from whoever called it first.
    result = run(name, "-h")
    assert (result.returncode, result.stderr) == (0, "")
    text = result.stdout
    assert text.startswith(f"Usage: cadrender {name} ")
    command = group.get_command(click.Context(group), name)
    assert command is not None and command.help is not None
    assert command.help.splitlines()[0] in " ".join(text.split())


def test_version_from_a_checkout_too():
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("cadrender ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nope"], "No such option:? '?--nope'?"),  # as Click 8.2 and its successors spell it
        (["generate", "-j", "two"], "'two' is not a valid integer"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("--config-path=conf", "use --config FILE"),
        ("--config-name=mine", "use --config FILE"),
        ("-cn", "use --config FILE"),
        ("-m", "run it once for each value"),
        ("--multirun", "run it once for each value"),
        ("--cfg", "cadrender does not use Hydra"),
    ],
)
@pytest.mark.parametrize("name", ["generate", "scenes"])
def test_options_of_the_challenges_script_are_refused_with_what_to_do(name, option, instead, capsys):
    with pytest.raises(SystemExit) as exit:
        main([name, "path.root=/data", option])
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"cadrender {name}: No such option '-") and said.count("\n") == 1
    assert instead in said


@pytest.mark.parametrize("words", [[], ["ingest"]])
def test_a_groups_name_alone_prints_its_help(words):
    alone, asked = run(*words), run(*words, "--help")
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == asked.stdout


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CadrenderError("a.wav: broken"), 1),
        (UsageError("wrong"), 2),
        (MetadataError("b.json: wrong"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_status(error, status, capsys, monkeypatch):
    @click.command()
    def command():
        raise error

    monkeypatch.setattr(type(group), "get_command", lambda *arguments: command)
    with pytest.raises(SystemExit) as exit:
        main(["generate"])
    assert exit.value.code == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if isinstance(error, CadrenderError):
        assert said == f"cadrender: {error}\n"


@pytest.fixture(scope="module")
def accented(tmp_path_factory):
    """A root of which one song, with accents in its name, lacks a file."""
    root = make_root(tmp_path_factory.mktemp("root"))
    (root / "audio/music/train" / SONGS[0] / "bass.wav").unlink()
    return root


ASCII: dict[str, dict[str, str | None]] = {
    "a terminal": {"PYTHONIOENCODING": "ascii"},
    "a locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
}


@pytest.mark.parametrize("where", ["a terminal", pytest.param("a locale", marks=pytest.mark.slow)])
def test_names_with_accents_where_everything_is_ascii(accented, tmp_path, where):
    file = "Se\\xf1or \\xd1and\\xfa - What's Up & Away/{}.wav"
    for command in ("check", "verify"):
        done = run(command, "--root", accented, **ASCII[where])
        assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
        if command == "check":
            assert f"{file.format('bass')}: no such file" in done.stdout
            assert file.format("drums") not in done.stdout
    music = write(tmp_path / "songs/Ñu/vocals.m4a", tone(200), format="WAV").parents[1]
    write(music / "Über/vocals.wav", tone(200))
    done = run("ingest", "folder", music, "--root", tmp_path / "root", "-j", "1", **ASCII[where])
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert "\\xdcber: has no mixture" in done.stderr
    assert "\\xd1u: left out: vocals.m4a cannot be decoded" in done.stderr
    assert (tmp_path / "root/audio/music/folder/Über/vocals.wav").exists()


def test_a_log_gets_no_bar_even_where_colours_are_forced(accented, tmp_path):
    made = tmp_path / "made"
    for command in (
        ("generate", "--root", accented, "-j", "1", "--output-music-dir", made),
        ("check", "--root", accented, "-j", "1"),
        ("verify", "--root", accented, "--output-music-dir", made),
    ):
        done = run(*command, FORCE_COLOR="1", TERM="xterm")
        assert done.returncode == 1
        assert "\x1b" not in done.stderr, done.stderr
        if command[0] == "check":
            assert "\x1b[" in done.stdout  # as was asked for


def test_an_interrupt_inside_exec_ends_with_its_status(tmp_path):
    """Where dataclasses are made, say. CPython would end a program that `-m` runs by SIGINT, though it is caught."""
    (tmp_path / "interrupted.py").write_text(
        "from cadrender import cli\n"
        "def interrupted(*arguments, **options):\n"
        "    exec('raise KeyboardInterrupt')\n"
        "cli.group.main = interrupted\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "interrupted"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "cadrender: interrupted\n")
