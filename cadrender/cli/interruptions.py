"""Ctrl-C, SIGTERM and SIGHUP: each ends the program by an exception, with its status and no traceback."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; its argument is the signal."""


INTERRUPTIONS = (KeyboardInterrupt, Terminated)

# Seconds after which an interruption that is not being handled was lost.
_LOST = 0.5

# Signals that have arrived and may have been lost.
_arrived: list[int] = []


def exit_status(interruption: BaseException) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    number: int = interruption.args[0] if isinstance(interruption, Terminated) else signal.SIGINT
    return 128 + number


@contextlib.contextmanager
def interruptible(last: bool = False) -> Iterator[None]:
    """Raise an exception on Ctrl-C, SIGTERM and SIGHUP, and again if it gets lost.

    Finalisers and callbacks drop it, and so does any library that says ``except:``, as some do while they are imported.

    Parameters
    ----------
    last : bool
        Whether the program ends afterwards: then all further ones are ignored.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _arrived.append(number)
        signal.setitimer(signal.ITIMER_REAL, _LOST)
        raise _exception(number)

    def look_again(number: int, frame: FrameType | None) -> None:
        if _arrived:
            signal.setitimer(signal.ITIMER_REAL, _LOST)
            if not behind(sys.exc_info()[1]):  # what is cleaned up takes its time
                raise _exception(_arrived[-1])

    def on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, INTERRUPTIONS):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            report(unraisable)

    report, sys.unraisablehook = sys.unraisablehook, on_unraisable
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGINT, interrupt),
            (signal.SIGTERM, interrupt),
            (signal.SIGHUP, interrupt),
            (signal.SIGALRM, look_again),
        )
        if signal.getsignal(number) != signal.SIG_IGN  # as nohup has it
    }
    lost = []
    try:
        yield
        lost = _arrived[-1:]
    finally:
        _arrived.clear()
        sys.unraisablehook = report
        signal.setitimer(signal.ITIMER_REAL, 0)
        if last:
            ignore()
        else:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if lost:
        raise _exception(lost[0])


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


def behind(error: BaseException | None) -> BaseException | None:
    """The interruption that an exception is or came from: Python 3.11 turns some into a RuntimeError."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, INTERRUPTIONS):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def ignore() -> None:
    """Ignore all interruptions from now on: the program has reported its result and is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
