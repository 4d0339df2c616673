import json
import subprocess
import sys

import click
import pytest

from cadrender.cli import COMMANDS, group, main
from cadrender.errors import CadrenderError, MetadataError, UsageError
from tests.roots import environment, run

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
    assert group.get_command(None, name).help.splitlines()[0] in " ".join(text.split())


def test_version_from_a_checkout_too():
    result = run("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("cadrender ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nope"], "No such option '--nope'"),
        (["generate", "-j", "two"], "'two' is not a valid integer"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


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
