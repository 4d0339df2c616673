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


@pytest.mark.parametrize("number", STATUS)
def test_interruption_in_a_finaliser_is_not_lost(number, capsys):
    began = time.monotonic()
    with pytest.raises(SystemExit) as exit, resumable():
        Interrupting(number)
        busy(10)
    assert exit.value.code == STATUS[number]
    assert time.monotonic() - began < patience(1)
    assert capsys.readouterr().err.startswith("interrupted: ")


def swallowing(number):
    """Receive a signal as a library would that takes any exception for a failed import."""
    try:
        os.kill(os.getpid(), number)
        busy(10)
    except:  # noqa: E722
        pass


@pytest.mark.parametrize("number", STATUS)
def test_an_interruption_that_a_library_swallows_is_not_lost(number, capsys):
    began = time.monotonic()
    with pytest.raises(SystemExit) as exit, resumable():
        swallowing(number)
        busy(10)
    assert exit.value.code == STATUS[number]
    assert time.monotonic() - began < patience(2)
    with pytest.raises(SystemExit) as exit, resumable():
        swallowing(number)  # and nothing comes after it
    assert exit.value.code == STATUS[number]
    assert capsys.readouterr().err.count("interrupted: ") == 2


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
