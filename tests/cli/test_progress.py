import os
import pty
import re
import threading

import pytest

from cadrender.cli import progress
from cadrender.cli.progress import RunProgress
from cadrender.wording import duration, plural


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "sample", "0 samples"),
        (1, "sample", "1 sample"),
        (2, "at-mic file", "2 at-mic files"),
        (1, "process", "1 process"),
        (3, "process", "3 processes"),
    ],
)
def test_plurals_agree(count, noun, text):
    assert plural(count, noun) == text


def test_a_line_now_and_then_in_a_log(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with RunProgress(samples=4, frame_scenes=4_000_000, size=16_000_000, samplerate=44100) as shown:
        shown.advance(500_000, 0)
        now[0] += 9
        shown.advance(500_000, 1)
        assert capsys.readouterr().err == ""
        now[0] += 1
        shown.advance(1_000_000, 1)
        assert capsys.readouterr().err == "50 %: 2 of 4 samples, 0.01 GB, 5 s of audio a second, 10 s left\n"
        shown.advance(2_000_000, 2)
        shown.say("a line")
    assert capsys.readouterr() == ("", "a line\n")


def test_quiet(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_INTERVAL", 0.0)
    with RunProgress(4, 1000, 4000, 44100, quiet=True) as shown:
        shown.advance(500, 1)
        shown.say("failed: something")
    assert capsys.readouterr() == ("", "failed: something\n")


def test_bar_on_a_terminal(monkeypatch):
    """With what was done and is left, gone at the end; lines stand above it, whatever they hold."""
    master, slave = pty.openpty()
    received = []

    def receive():
        while True:
            try:
                received.append(os.read(master, 4096))
            except OSError:
                return

    reader = threading.Thread(target=receive)
    reader.start()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with RunProgress(4, 4_000_000, 16_000_000, 44100) as shown:
            shown.advance(1_000_000, 1)
            shown.say("failed: [bold]A song[/bold]: :smile: no such file")
            shown._bar.refresh()
    reader.join(5)
    os.close(master)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(received).decode())
    assert "failed: [bold]A song[/bold]: :smile: no such file\r\n" in text
    assert "1 of 4 samples, 0.00 GB" in text
    assert "25 %" in text
    assert "s of audio a second" in text
    assert "left" in text
