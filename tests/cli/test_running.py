import os
import signal
import time

import pytest

from cadrender.cli.running import resumable
from cadrender.errors import CadrenderError
from tests.processes import patience

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


class Interrupting:
    """Receives a signal while it is finalised, where Python drops exceptions."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        for _ in range(100):
            pass


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("number", STATUS)
def test_interruption(number, capsys):
    with pytest.raises(SystemExit) as exit, resumable():
        os.kill(os.getpid(), number)
        busy(10)
    assert exit.value.code == STATUS[number]
    assert capsys.readouterr().err == (
        "interrupted: every file in its place is whole; run the same command again to go on\n"
    )


def swallowing(number):
    """Receive a signal where the code takes any exception for one of its own."""
    try:
        os.kill(os.getpid(), number)
        busy(10)
    except:  # noqa: E722
        pass


@pytest.mark.parametrize("lose, seconds", [(Interrupting, 1), (swallowing, 2)])
@pytest.mark.parametrize("number", STATUS)
def test_an_interruption_that_is_dropped_is_not_lost(number, lose, seconds, capsys):
    began = time.monotonic()
    with pytest.raises(SystemExit) as exit, resumable():
        lose(number)
        busy(10)
    assert exit.value.code == STATUS[number]
    assert time.monotonic() - began < patience(seconds)
    assert capsys.readouterr().err.startswith("interrupted: ")


@pytest.mark.parametrize("number", STATUS)
def test_an_interruption_that_is_dropped_at_the_end(number, capsys):
    with pytest.raises(SystemExit) as exit, resumable():
        swallowing(number)
    assert exit.value.code == STATUS[number]
    assert capsys.readouterr().err.startswith("interrupted: ")


@pytest.mark.parametrize("number", STATUS)
def test_an_interruption_while_a_class_is_made(number):
    """Python 3.11 makes a RuntimeError of it."""

    class Field:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), number)
            busy(10)

    with pytest.raises(SystemExit) as exit, resumable():
        type("Record", (), {"field": Field()})
    assert exit.value.code == STATUS[number]


def test_cleaning_up_after_an_interruption_may_take_long():
    cleaned = False
    with pytest.raises(SystemExit), resumable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            busy(10)
        finally:
            busy(1.2)
            cleaned = True
    assert cleaned


def test_everything_is_as_before_afterwards():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    with resumable():
        assert not set(map(signal.getsignal, numbers)) & set(before)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_nohup_is_left_alone():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with resumable():
            os.kill(os.getpid(), signal.SIGHUP)
            busy(0.05)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_errors_say_how_to_go_on():
    with (
        pytest.raises(CadrenderError, match=r"^disk full; run the same command again to go on$"),
        resumable(),
    ):
        raise CadrenderError("disk full")
