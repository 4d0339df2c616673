import io
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


@pytest.fixture
def now(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_now_and_then_in_a_log(capsys, now):
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


def test_the_time_left_is_from_the_work_and_not_from_the_start_up(capsys, now):
    """A minute of compiling, then two processes that take ten seconds for a tenth of the work each."""
    with RunProgress(10, 4_410_000, 0, 44100, jobs=2) as shown:
        now[0] += 70
        shown.advance(441_000, 1, 10.0)
        shown.advance(441_000, 1, 10.0)
        now[0] += 10
        shown.advance(441_000, 1, 10.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "10 %: 1 of 10 samples, 2 s of audio a second, 45 s left"
    assert second == "30 %: 3 of 10 samples, 2 s of audio a second, 35 s left"


def test_quiet(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LOG_INTERVAL", 0.0)
    with RunProgress(4, 1000, 4000, 44100, quiet=True) as shown:
        shown.advance(500, 1)
        shown.say("failed: something")
    assert capsys.readouterr() == ("", "failed: something\n")


def shown_on_a_terminal(monkeypatch, columns, work):
    """What a terminal receives, without the codes that move the cursor and set colours."""
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
    monkeypatch.setenv("COLUMNS", str(columns))
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        work()
    reader.join(5)
    os.close(master)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(received).decode())


def test_bar_on_a_terminal(monkeypatch):
    """With what was done and is left, gone at the end; lines stand above it, whatever they hold."""

    def work():
        with RunProgress(4, 4_000_000, 16_000_000, 44100) as shown:
            shown.advance(1_000_000, 1)
            shown.say("failed: [bold]A song[/bold]: :smile: no such file")
            assert shown._bar is not None
            shown._bar.refresh()

    text = shown_on_a_terminal(monkeypatch, 150, work)
    assert "failed: [bold]A song[/bold]: :smile: no such file\r\n" in text
    assert "1 of 4 samples, 0.00 GB" in text
    assert "25 %" in text
    assert "s of audio a second" in text
    assert "left" in text


def test_bar_at_eighty_columns(monkeypatch, now):
    """All of it in one line, even of the full training set in its second hour."""

    def work():
        with RunProgress(14_400, 10**12, 4 * 10**12, 44100, jobs=32) as shown:
            now[0] += 4000
            shown.advance(4 * 10**11, 5760, 32 * 4000.0)
            assert shown._bar is not None
            shown._bar.refresh()

    lines = re.split(r"[\r\n]+", shown_on_a_terminal(monkeypatch, 80, work))
    (line,) = {line.rstrip() for line in lines if "5760" in line}
    assert len(line) <= 80
    assert line.startswith("5760 of 14400 samples, 1600.00 GB ")
    assert line.endswith(" 40 % 2268 x real time 1 h 40 min left")
    assert "…" not in line and "..." not in line


def test_forced_colours_make_no_bar(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "_LOG_INTERVAL", 0.0)
    with RunProgress(4, 1000, 4000, 44100) as shown:
        shown.advance(500, 1)
    text = capsys.readouterr().err
    assert "\x1b" not in text and text.startswith("50 %: 1 of 4 samples")


def test_an_ascii_terminal_shows_any_name(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace", write_through=True)
    monkeypatch.setattr("sys.stderr", stream)
    with RunProgress(4, 1000, 4000, 44100) as shown:
        shown.say("failed: Se\xf1or \u2192")
    assert stream.buffer.getvalue() == b"failed: Se\\xf1or \\u2192\n"
