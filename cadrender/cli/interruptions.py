"""Ctrl-C, SIGTERM and SIGHUP: each ends the program by an exception, with its status and no traceback."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; its argument is the signal."""


INTERRUPTIONS = (KeyboardInterrupt, Terminated)


def exit_status(interruption: BaseException) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    number: int = interruption.args[0] if isinstance(interruption, Terminated) else signal.SIGINT
    return 128 + number


@contextlib.contextmanager
def interruptible(last: bool = False) -> Iterator[None]:
    """Raise an exception on SIGTERM and SIGHUP, as on Ctrl-C. Interrupts swallowed by finalisers are re-raised.

    Parameters
    ----------
    last : bool
        Whether the program ends afterwards: then all further ones are ignored.
    """
    dropped: list[BaseException] = [KeyboardInterrupt()]

    def raise_terminated(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    def raise_again(number: int, frame: FrameType | None) -> None:
        raise dropped[-1]

    def on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, INTERRUPTIONS):
            dropped.append(unraisable.exc_value)
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            report(unraisable)

    report, sys.unraisablehook = sys.unraisablehook, on_unraisable
    handlers = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGTERM, raise_terminated),
            (signal.SIGHUP, raise_terminated),
            (signal.SIGALRM, raise_again),
        )
        if signal.getsignal(number) != signal.SIG_IGN  # as nohup has it
    }
    try:
        yield
    finally:
        sys.unraisablehook = report
        signal.setitimer(signal.ITIMER_REAL, 0)
        if last:
            ignore()
        else:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def ignore() -> None:
    """Ignore all interruptions from now on: the program has reported its result and is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
