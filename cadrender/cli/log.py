"""Messages of a command: on standard error and, with ``--log-file``, in a file with times."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cadrender.errors import UsageError

_logger = logging.getLogger("cadrender")


def tell(*lines: str) -> None:
    """Print lines on standard error, and in the log file if there is one."""
    record(*lines)
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def record(*lines: str) -> None:
    """Print lines in the log file if there is one."""
    for line in lines:
        _logger.info("%s", line)


@contextlib.contextmanager
def logged(file: Path | None) -> Iterator[None]:
    """Append all messages of a block to a file, with times; and how it ended.

    Parameters
    ----------
    file : pathlib.Path or None
        None for no file.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    if file is None:
        yield
        return
    try:
        handler = _LogFile(file, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{file}: the log cannot be written: {error.strerror or error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    before = _logger.level
    _logger.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [handler]
    if logging.lastResort:  # prints warnings, as without a log
        handlers.append(logging.lastResort)
    for each in handlers:
        _logger.addHandler(each)
    try:
        record(click.get_current_context().command_path)
        yield
    except SystemExit as exit:
        record(f"exit status {exit.code or 0}")
        raise
    except Exception as error:
        text = error.format_message() if isinstance(error, click.ClickException) else error
        status = getattr(error, "exit_status", getattr(error, "exit_code", 1))
        record(f"cadrender: {text}", f"exit status {status}")
        raise
    finally:
        for each in handlers:
            _logger.removeHandler(each)
        _logger.setLevel(before)
        with contextlib.suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file; a failure to write it is reported once."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - as logging names it
        error = sys.exception()
        print(f"{self.baseFilename}: the log cannot be written: {error}", file=sys.stderr)
        _logger.removeHandler(self)
