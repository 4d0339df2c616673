"""The command line: one module for each command, imported only when it runs (``--help`` stays instant)."""

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn, TextIO

import click

from cadrender import startup
from cadrender.errors import CadrenderError

# Name -> summary for `cadrender --help`. The module of the same name holds `command`.
COMMANDS = {
    "demo": "Make a small complete root from nothing and render it.",
    "generate": "Render the at-mic music of a root's scenes.",
    "verify": "Prove that the files made are whole and up to date.",
    "index": "Measure levels ahead of time, so that parts can be read at once.",
    "remix": "Make the rebalanced target of every scene, also amplified for each listener.",
    "heads": "Add heads from SOFA files: HRIR files and positions.",
    "mount": "Show the at-mic music as files that are rendered when read (FUSE).",
    "positions": "Write the positions file from the HRIR files' names.",
    "gains": "Write the gains file.",
    "scenes": "Draw scenes and their listeners.",
    "excerpts": "Cut validation or evaluation excerpts and render them.",
    "check": "Check metadata, HRIRs and songs without rendering anything.",
    "info": "Show what a root holds, what is missing, and how long it would take.",
    "report": "Show a root on one page: pictures, sound, what is missing.",
    "ingest": "Turn MedleyDB, Bach10, FMA-small or any folder of stems into songs of a root.",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called, not when the group is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cadrender.cli.{cmd_name}").command
        command.name = cmd_name  # its function has another; the documentation goes by this one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from cadrender.version import version

        click.echo(f"cadrender {version()}")
        context.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def group() -> None:
    """Render music as a hearing aid's microphones pick it up (the Cadenza ICASSP 2024 data pipeline)."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit status: 0 success, 1 some work failed, 2 wrong usage or bad metadata, 130 interrupted (143 and 129 by
    SIGTERM and SIGHUP).
    """
    from cadrender.cli import interruptions

    if argv is None:
        startup.open_closed_streams()
    try:
        with interruptions.interruptible(last=argv is None):
            status = _main(argv)
    except interruptions.INTERRUPTIONS as interruption:
        if argv is None:
            interruptions.ignore()
        with contextlib.suppress(OSError):  # the terminal is gone
            click.echo("cadrender: interrupted", err=True)
        for stream in (sys.stdout, sys.stderr):
            _flush_or_discard(stream)
        status = interruptions.exit_status(interruption)
        # CPython remembers a Ctrl-C that came inside exec(text), as where dataclasses are made, and would end by SIGINT
        # although it was caught; the next exec makes it forget.
        exec("")
    sys.exit(status)


def _main(argv: Sequence[str] | None) -> int:
    if argv is None:
        startup.open_any_name()
    startup.print_any_name()
    startup.hold_collector()
    startup.one_thread_for_blas()
    startup.allow_open_files()
    try:
        status = _run(argv)
    finally:
        startup.release_collector()
    return _flushed(status)


def _run(argv: Sequence[str] | None) -> int:
    """Run a command; returns its exit status."""
    try:
        return group.main(argv, prog_name="cadrender", standalone_mode=False) or 0
    except SystemExit as exit:
        return int(exit.code or 0)
    except click.exceptions.NoArgsIsHelpError as error:  # a group's name alone
        click.echo(error.message)
        return 0
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = where.command_path if where else "cadrender"
        click.echo(f"{path}: {_with_hint(error)} (see {path} --help)", err=True)
        return 2
    except click.Abort:  # what click makes of Ctrl-C
        raise KeyboardInterrupt from None
    except CadrenderError as error:
        click.echo(f"cadrender: {error}", err=True)
        return error.exit_status
    except UnicodeEncodeError as error:
        click.echo(
            f"cadrender: {error.object!r}: file names are {error.encoding} here and cannot hold this name "
            "(set PYTHONUTF8=1 to use UTF-8)",
            err=True,
        )
        return 1
    except OSError as error:
        if error.filename is None:
            return _output_failed(error)
        click.echo(f"cadrender: {error.filename}: {error.strerror or error}", err=True)
        return 1


def _with_hint(error: click.ClickException) -> str:
    """What is wrong with the usage; for one of Hydra's options, what to do instead."""
    where = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and where:
        from cadrender.config import HYDRA_OPTIONS

        takes_overrides = any(parameter.name == "overrides" for parameter in where.command.params)
        if takes_overrides and error.option_name in HYDRA_OPTIONS:
            return f"No such option '{error.option_name}': {HYDRA_OPTIONS[error.option_name]}"
    return error.format_message()


def _flushed(status: int) -> int:
    """Flush standard output and error; returns the exit status."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        failed = _output_failed(error)
        status = status or failed
    _flush_or_discard(sys.stderr)  # if its terminal is gone, nobody can be told
    return status


def _output_failed(error: OSError) -> int:
    """Report that standard output is full or closed; returns the exit status."""
    _discard(sys.stdout)
    if not isinstance(error, BrokenPipeError):  # a reader that stops early, such as `head`
        with contextlib.suppress(OSError):
            click.echo(f"cadrender: standard output: {error.strerror or error}", err=True)
    return 1


def _flush_or_discard(stream: TextIO | None) -> None:
    if stream is not None:
        try:
            stream.flush()
        except OSError:
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Drop what a stream could not write: Python would try again at its end, fail, and exit with 120."""
    with contextlib.suppress(OSError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
