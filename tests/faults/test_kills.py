"""Ends at random moments: whatever hits a run, the next one ends with the bytes of an undisturbed one.

``CADRENDER_KILLS`` sets how many moments there are of each kind in the long form.
"""

import contextlib
import fcntl
import functools
import json
import os
import pty
import random
import signal
import subprocess
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from cadrender.metadata import build_gains, gains_json
from tests.roots import command, environment, leftovers, make_root, make_song, run, tree

pytestmark = pytest.mark.faults

MOMENTS = int(os.environ.get("CADRENDER_KILLS", "40"))
SONGS = tuple(f"Song {letter}" for letter in "ABCD")
SECONDS = (3.0, 2.0, 1.5, 1.2)
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
KINDS = ("kill parent", "kill worker", "kill all", *SIGNALS, "SIGSTOP", "terminal")
# What the short form tries of each command.
SHORT = {
    "generate": KINDS,
    "generate --remix": ("kill all", "SIGINT"),
    "remix": ("kill parent", "SIGTERM"),
    "excerpts": ("kill all", "SIGHUP"),
    "ingest": ("kill parent", "kill worker", "SIGTERM", "SIGHUP"),
    "index": ("kill all", "SIGINT"),
    "verify --repair": ("kill parent", "SIGTERM"),
    "demo": ("kill all",),
}
LEAVE = 2.0  # seconds until every process is gone


@dataclass
class Work:
    """A command on a root, and what it makes: everything but what is listed in ``sources``."""

    root: Path
    arguments: tuple
    sources: dict = field(default_factory=dict)
    damage: tuple = ()
    expected: dict = field(default_factory=dict)
    seconds: float = 0.0

    def prepare(self):
        """Run it once for the caches, and once undisturbed."""
        self.sources = tree(self.root) if self.root.exists() else {}
        assert run(*self.arguments).returncode == 0
        self.empty()
        began = time.monotonic()
        done = run(*self.arguments)
        assert done.returncode == 0, done.stderr
        self.seconds = time.monotonic() - began
        self.expected = self.made()
        return self

    def empty(self):
        """Take away what was made, and put the damage back that is to be repaired."""
        for name in tree(self.root) if self.root.exists() else ():
            if name not in self.sources:
                (self.root / name).unlink()
        for name in self.damage:
            (self.root / name).write_bytes(self.sources[name])

    def made(self):
        """What is there, in a form that does not depend on the order of the work."""
        found = {}
        for name, content in tree(self.root).items():
            if name.endswith("levels.jsonl"):
                content = levels_of(content)
            if not name.endswith(".manifest.jsonl"):
                found[name] = content
        return found


def levels_of(content):
    """What a file of levels says, whatever is said in which line."""
    found = {}
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            found.setdefault(fields["source"]["path"], {}).update(fields["after"])
    return found


def a_root(folder):
    root = make_root(folder / "root", songs=SONGS, seconds=SECONDS)
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    return root


def prepare(name, folder):
    """The work of a command, by its name."""
    if name == "demo":
        return Work(folder / "demo", ("demo", folder / "demo", "-j", 2))
    if name == "ingest":
        corpus = folder / "corpus"
        for number, song in enumerate(f"Song {k}" for k in range(8)):
            make_song(corpus, song, 8.0, number)
        source = corpus / "audio/music/train"
        return Work(folder / "root", ("ingest", "folder", source, "--root", folder / "root", "-j", 2))
    root = a_root(folder)
    common = ("--root", root, "-j", 2)
    if name == "index":
        return Work(root, ("index", *common))
    if name == "excerpts":
        return Work(root, ("excerpts", *common, "--split", "valid", "--duration", "0.5", "--per-song", "2"))
    if name == "remix":
        assert run("generate", *common).returncode == 0
    if name == "verify --repair":
        assert run("generate", "--remix", *common).returncode == 0
        files = sorted((root / "audio").rglob("at_mic_music/train/*/bass.wav"))
        for file in files:
            content = bytearray(file.read_bytes())
            content[-100] ^= 1
            file.write_bytes(content)
        damage = tuple(str(file.relative_to(root)) for file in files)
        return Work(root, ("verify", *common, "--repair"), damage=damage)
    return Work(root, (*name.split(), *common))


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return functools.cache(lambda name: prepare(name, tmp_path_factory.mktemp("kills")).prepare())


class Running:
    """A command that runs in a session of its own, on a terminal if it is to lose one."""

    def __init__(self, arguments, terminal):
        self.terminal = self._other = None
        if terminal:
            self.terminal, self._other = pty.openpty()
        self.process = subprocess.Popen(
            command(*arguments),
            env=environment(),
            stdin=self._other if terminal else subprocess.DEVNULL,
            stdout=self._other if terminal else subprocess.DEVNULL,
            stderr=self._other if terminal else subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=take_terminal if terminal else None,
        )
        if terminal:
            os.close(self._other)

    def session(self):
        """The processes that belong to it and are not dead."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def workers(self):
        """Those that do its work; the others clean up after them."""
        workers = []
        for process in self.session():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if process.pid != self.process.pid and "popen_loky_posix" in line:
                    workers.append(process)
        return workers

    def is_up(self):
        """Whether it is past the start of Python, and hears signals."""
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            caught = int(status.split("SigCgt:")[1].split()[0], 16)
            return bool(caught >> (signal.SIGTERM - 1) & 1)
        return False

    def end(self):
        _, errors = self.process.communicate(timeout=120)
        return self.process.returncode, errors or ""

    def all_gone(self):
        deadline = time.monotonic() + LEAVE
        while left := self.session():
            if time.monotonic() > deadline:
                return [" ".join(process.cmdline()) for process in left]
            time.sleep(0.05)
        return []


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def hit(running, kind, rng):
    """Do it; which exit statuses it may have then, the undisturbed one excepted."""
    process = running.process
    if kind == "kill parent":
        process.kill()
        return {-signal.SIGKILL}
    if kind == "kill all":
        os.killpg(process.pid, signal.SIGKILL)
        return {-signal.SIGKILL}
    if kind == "kill worker":
        if workers := running.workers():
            with contextlib.suppress(psutil.Error):
                rng.choice(workers).kill()
        return set()
    if kind == "SIGSTOP":
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGCONT)
        return set()
    up = running.is_up()
    if kind == "terminal":
        os.close(running.terminal)
        number = signal.SIGHUP
        return {128 + number, 1} if up else {128 + number, -number, 1}  # 1: it had something to say just then
    else:
        number = SIGNALS[kind]
        # As a terminal sends it; the others come from somebody who knows one process.
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    # Before the program has begun it is Python, or the system, that ends it.
    return {128 + number} if up else {128 + number, -number, 1}


def disturb(work, kind, moment, rng):
    """Run a command, end it at a moment, and see that it ended as it should; whether it had done all."""
    running = Running(work.arguments, kind == "terminal")
    if kind == "terminal":
        drain(running)
    time.sleep(moment)
    up = running.is_up()
    if running.process.poll() is None:
        expected = hit(running, kind, rng)
    else:
        expected = set()
        if running.terminal is not None:
            os.close(running.terminal)
    began = time.monotonic()
    status, errors = running.end()
    took = time.monotonic() - began
    assert not running.all_gone()
    assert status in expected | {0}, (status, errors)
    if up:
        assert "Traceback" not in errors, errors
    if up and kind in SIGNALS and status:
        assert [line for line in errors.splitlines() if "interrupted" in line], errors
        assert took < 2 * LEAVE
    return status == 0


def drain(running):
    """Read what a command prints on its terminal, that it never has to wait."""

    def read():
        with contextlib.suppress(OSError):
            while os.read(running.terminal, 1 << 16):
                pass

    threading.Thread(target=read, daemon=True).start()


def check(work):
    assert work.made() == work.expected
    assert not leftovers(work.root)


def disturb_often(work, kind, moments, seed):
    rng = random.Random(f"{kind} {seed}")
    work.empty()
    for _ in range(moments):
        if disturb(work, kind, rng.uniform(0.1, 1.05) * work.seconds, rng):
            check(work)
            work.empty()
    done = run(*work.arguments)
    assert done.returncode == 0, done.stderr
    check(work)
    for split in ("train", "valid"):
        if (work.root / f"metadata/at_mic_music.{split}.json").exists():
            proof = run("verify", "--root", work.root, "--split", split, "-j", 1)
            assert proof.returncode == 0, proof.stdout


@pytest.mark.parametrize("name, kind", [(name, kind) for name, kinds in SHORT.items() for kind in kinds])
def test_a_moment(works, name, kind):
    disturb_often(works(name), kind, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHORT)
def test_many_moments(works, name, kind):
    disturb_often(works(name), kind, MOMENTS, 2)


@pytest.mark.parametrize("whom", ["kill parent", "kill worker"])
def test_a_run_whose_workers_are_at_it(works, whom):
    """Not at any moment, but when there are workers for certain."""
    work = works("generate")
    work.empty()
    running = Running(work.arguments, False)
    while not running.workers():
        assert running.process.poll() is None
        time.sleep(0.02)
    hit(running, whom, random.Random(1))
    status, errors = running.end()
    assert status == (0 if whom == "kill worker" else -signal.SIGKILL), errors
    assert not running.all_gone()
    assert run(*work.arguments).returncode == 0
    check(work)
