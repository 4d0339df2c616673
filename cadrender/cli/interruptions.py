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

    Finalisers, callbacks of C libraries, and code that says ``except:`` drop it.

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
            if not _is_handled(sys.exc_info()[1]):  # what is cleaned up takes its time
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
    except (
        RuntimeError
    ) as error:  # what Python 3.11 makes of any exception in __set_name__, as of a dataclass's field
        if isinstance(error.__cause__, INTERRUPTIONS):
            raise error.__cause__ from None
        raise
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


def _is_handled(error: BaseException | None) -> bool:
    """Whether the exception being handled is an interruption, or came while one was."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, INTERRUPTIONS):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def ignore() -> None:
    """Ignore all interruptions from now on: the program has reported its result and is about to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
