"""Memory: bounded for long songs, and what happens with too little."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from cadrender.catalogue.output import Batch, Output
from cadrender.pipeline.commit import BatchReport
from cadrender.pipeline.pool import run_batches
from cadrender.signals.at_mic import AtMic
from cadrender.store.manifest import Manifest
from tests.roots import environment, head_response, leftovers, make_root, run, start, tree, write_wav

MEGABYTES = 600
SECONDS = 600
SCENES = 16

WORKER = """
import re, resource, sys
from pathlib import Path
from cadrender.catalogue.output import Batch, Output
from cadrender.pipeline.commit import run_batch
from cadrender.pipeline.warmup import warm_up
from cadrender.signals.at_mic import AtMic
from cadrender.store.manifest import Manifest

folder, frames, scenes, limit = Path(sys.argv[1]), *map(int, sys.argv[2:])
outputs = tuple(
    Output(
        AtMic("mixture", folder / "mixture.wav", folder / f"h{2 * k}.wav", folder / f"h{2 * k + 1}.wav", frames, 44100),
        folder,
        f"out{k}.wav",
        "wav",
        str(k),
    )
    for k in range(scenes)
)
batch = Batch("Long", outputs, Manifest(folder / "m.jsonl", folder))
if not limit:
    warm_up([batch])
    sys.exit()
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
report = run_batch(batch)
assert not report.error, report.error
assert len(report.written) == scenes
if sys.platform == "linux":  # where ru_maxrss begins with the size of the process that started this one
    print(1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def long_song(folder, subtype="PCM_16"):
    frames = SECONDS * 44100
    block = np.random.default_rng(1).normal(0.0, 0.1, (441_000, 2))
    with soundfile.SoundFile(folder / "mixture.wav", "w", 44100, 2, subtype) as file:
        for shift in range(frames // len(block)):
            file.write(np.roll(block, shift, axis=0))
    for k in range(2 * SCENES):
        write_wav(folder / f"h{k}.wav", head_response(384, 20, k), subtype="PCM_24")
    return frames


@pytest.mark.slow
@pytest.mark.parametrize("subtype, limit", [("PCM_16", MEGABYTES), ("FLOAT", MEGABYTES + 200)])
def test_ten_minutes_at_sixteen_positions_stay_within_the_limit(tmp_path, subtype, limit):
    """A worker's batch under RLIMIT_AS, which counts address space, including some 250 MB that are never touched."""
    frames = long_song(tmp_path, subtype)

    def worker(limit):
        # loky also gives its workers a single BLAS thread; each further one reserves address space
        return subprocess.run(
            [sys.executable, "-c", WORKER, *map(str, (tmp_path, frames, SCENES, limit))],
            env=environment(OPENBLAS_NUM_THREADS="1"),
            capture_output=True,
            text=True,
            timeout=300,
        )

    assert worker(0).returncode == 0  # compiling takes extra memory, once
    done = worker(limit << 20)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout)
    print(f"peak {peak / 1e6:.0f} MB")
    assert peak < MEGABYTES * 10**6
    for k in range(SCENES):
        (tmp_path / f"out{k}.wav").unlink()


def bomb(batch):
    """A batch that the kernel would kill for its memory, every time."""
    if batch.name == "bomb":
        os.kill(os.getpid(), 9)
    time.sleep(0.02)
    return BatchReport(batch)


def test_a_batch_that_kills_its_workers_is_given_up_and_the_others_are_done(monkeypatch):
    monkeypatch.setattr(
        "cadrender.pipeline.pool.warm_up", lambda batches: None
    )  # there is nothing to compile
    manifest = Manifest(Path("manifest"), Path())
    signal = AtMic("bass", Path("in"), Path("left"), Path("right"), 10**7, 44100)
    batches = [
        Batch(song, (Output(signal, Path("out"), name, "wav", "s"),), manifest)
        for song in ("Ann", "Ben", "Cleo")
        for name in ("vocals", "bomb" if song == "Ben" else "drums", "bass")
    ]
    said: list[str] = []
    reports = list(run_batches(batches, 2, bomb, say=said.append))
    assert sorted(report.batch.song + report.batch.name for report in reports) == sorted(
        batch.song + batch.name for batch in batches
    )
    (failure,) = [report for report in reports if report.error]
    assert failure.batch.name == "bomb"
    assert failure.error.startswith("Ben: a worker process was killed, possibly for lack of memory")
    assert "-j" in failure.error
    assert said
    assert all("Ben" in line and "-j" in line for line in said)


def test_a_run_survives_the_death_of_a_worker(tmp_path):
    root = make_root(tmp_path / "root", songs=tuple("ABCD"), seconds=[6.0] * 4)
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    expected = tree(root / "audio/at_mic_music")
    for file in (root / "audio/at_mic_music").rglob("*.wav"):
        file.unlink()
    process = start("generate", "--root", root, "-j", 2)
    while not list((root / "audio/at_mic_music").rglob(".*.part")):  # mid-work
        assert process.poll() is None
        time.sleep(0.002)
    victim = next(child for child in psutil.Process(process.pid).children() if renders(child))
    victim.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if "a worker process was killed" in line]
    assert "lack of memory" in line
    assert "at work on A" in line or "at work on B" in line
    assert tree(root / "audio/at_mic_music") == expected
    assert not leftovers(root)


def renders(process):
    return "resource_tracker" not in " ".join(process.cmdline())


@contextmanager
def memory_group(limit):
    """A control group with this many bytes of memory and no swap; version 1 or 2, whichever can be created."""
    for base, file in (("memory", "memory.limit_in_bytes"), ("", "memory.max"), ("unified", "memory.max")):
        group = Path("/sys/fs/cgroup") / base / f"cadrender-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        try:
            yield group
        finally:
            for _ in range(50):
                try:
                    group.rmdir()
                    break
                except OSError:
                    time.sleep(0.1)
        return
    pytest.skip("no control group for memory can be made here")


def test_workers_that_the_kernel_kills_for_memory_are_reported(tmp_path):
    root = make_root(tmp_path / "root", songs=("Short", "Long"), seconds=(1.0, 2.0))
    folder = root / "audio/music/train/Long"
    seconds = 400
    silence = np.zeros((44100, 2), np.int16)
    silence[::50] = 9000
    for file in folder.glob("*.wav"):
        with soundfile.SoundFile(file, "w", 44100, 2, "PCM_16") as stream:
            for _ in range(seconds):
                stream.write(silence)
    assert run("generate", "--root", root, "--songs", "Short", "-j", 2).returncode == 0  # compiles
    with memory_group(250 << 20) as group:
        arguments = ("generate", "--root", root, "-j", "2", "--stems", "bass,drums")
        process = start(*arguments)
        (group / "cgroup.procs").write_text(str(process.pid))
        while process.poll() is None:
            for child in psutil.Process(process.pid).children() if process.poll() is None else ():
                with suppress(OSError):  # kill the workers, not their parent
                    Path(f"/proc/{child.pid}/oom_score_adj").write_text("900")
            time.sleep(0.02)
        _, errors = process.communicate()
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if "killed" in line]
    assert lines, errors
    assert all("Long" in line and "memory" in line and "-j" in line for line in lines)
    assert process.returncode in (0, 1)
    done = run(*arguments[:-2])
    assert done.returncode == 0, done.stderr
    assert not leftovers(root)
    assert run("verify", "--root", root).returncode == 0
