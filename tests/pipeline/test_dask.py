"""A real scheduler, real workers, and what becomes of a run when one of them dies."""

import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.clusters import cluster, copy_package, holder, only
from tests.processes import patience, wait_for
from tests.roots import REPOSITORY, environment, invoke, leftovers, make_root, run, start, tree

pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")

SONGS = tuple(f"Song {letter}" for letter in "ABCDEF")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("rendered") / "root", songs=SONGS, seconds=[4.0] * len(SONGS))
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    return root


@pytest.fixture
def root(rendered, tmp_path):
    """The same root, nothing rendered."""
    root = shutil.copytree(rendered, tmp_path / "root")
    shutil.rmtree(root / "audio/at_mic_music")
    for file in (root / "metadata").glob("at_mic_music.*"):
        file.unlink()
    return root


def arguments(root, address):
    return "generate", "--root", root, "--backend", "dask", "--scheduler", address


def run_impatiently(*arguments):
    """Run a command that waits for two seconds where others wait for twenty."""
    return subprocess.run(
        [sys.executable, "-c", IMPATIENT, *map(str, arguments)],
        env=environment(**only(REPOSITORY)),
        capture_output=True,
        text=True,
        check=False,
    )


IMPATIENT = """
import sys
from cadrender.cli import main
from cadrender.pipeline import dask
dask._PATIENCE = 2
main(sys.argv[1:])
"""


def one_line(done, *words):
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cadrender: ")]
    for word in words:
        assert word in line
    return line


@pytest.mark.slow
def test_two_workers_render_what_one_process_does(tmp_path, rendered, root):
    with cluster(tmp_path, REPOSITORY) as (address, _, _):
        done = run(*arguments(root, address), **only(REPOSITORY))
        assert done.returncode == 0, done.stderr
        assert "2 workers" in done.stderr
        assert " on 2 workers" in done.stderr.splitlines()[-1]
        assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")
        assert tree(root / "metadata").keys() == tree(rendered / "metadata").keys()
        again = run(*arguments(root, address), **only(REPOSITORY))
        assert "0 files to render" in again.stderr
    assert invoke("verify", "--root", root).returncode == 0


@pytest.mark.slow
def test_a_worker_that_dies_loses_its_batch_only_which_runs_elsewhere(tmp_path, rendered, root):
    with cluster(tmp_path, REPOSITORY) as (address, _, workers):
        process = start(*arguments(root, address), "-q", **only(REPOSITORY))
        wait_for(lambda: list((root / "audio").rglob(".*.part")))
        victim = wait_for(lambda: holder(root, workers))
        victim.kill()
        _, errors = process.communicate(timeout=patience(120))
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")
    assert not leftovers(root)


@pytest.mark.slow
def test_a_worker_with_several_threads_renders_one_batch_at_a_time(tmp_path, rendered, root):
    with cluster(tmp_path, REPOSITORY, 1, "--nthreads", 4, "--no-nanny") as (address, _, _):
        done = run(*arguments(root, address), **only(REPOSITORY))
        assert done.returncode == 0, done.stderr
        assert "--nthreads 1" in done.stderr
    assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")


def test_a_worker_with_another_cadrender_is_refused(tmp_path, root):
    other = copy_package(tmp_path / "other")
    file = other / "cadrender/dsp/render.py"
    file.write_text(file.read_text() + "\n# another release\n")
    with cluster(tmp_path, other, 1) as (address, _, _):
        done = run(*arguments(root, address), **only(REPOSITORY))
        assert done.returncode == 1
        assert re.search(r"this worker runs cadrender .* is needed", one_line(done, "tcp://127.0.0.1"))
    assert not list((root / "audio/at_mic_music").rglob("*.wav"))


@pytest.mark.slow
def test_a_worker_without_cadrender_is_refused(tmp_path, root):
    broken = tmp_path / "broken/cadrender/__init__.py"
    broken.parent.mkdir(parents=True)
    broken.write_text("raise ImportError('there is none')")
    with cluster(tmp_path, tmp_path / "broken", 1) as (address, _, _):
        done = run(*arguments(root, address), **only(REPOSITORY))
        assert done.returncode == 1
        one_line(done, "tcp://127.0.0.1", "does not run on this worker")


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named(root):
    done = run_impatiently(*arguments(root, "tcp://127.0.0.1:9"))
    assert done.returncode == 1
    one_line(done, "tcp://127.0.0.1:9", "no Dask scheduler answers there")


def test_what_is_no_address_is_named(root):
    done = run_impatiently(*arguments(root, "foo"))
    assert done.returncode == 2
    one_line(done, "foo: not an address", "tcp://node1:8786")


@pytest.mark.slow
def test_a_scheduler_without_workers_is_named(tmp_path, root):
    with cluster(tmp_path, REPOSITORY, 0) as (address, _, _):
        done = run_impatiently(*arguments(root, address))
        assert done.returncode == 1
        one_line(done, address, "no workers", "dask worker")


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_with_a_line(tmp_path, rendered, root):
    with cluster(tmp_path, REPOSITORY) as (address, scheduler, _):
        process = start(*arguments(root, address), "-q", **only(REPOSITORY))
        wait_for(lambda: list((root / "audio").rglob(".*.part")))
        scheduler.kill()
        _, errors = process.communicate(timeout=patience(120))
    assert process.returncode == 1, errors
    assert "Traceback" not in errors
    assert [line for line in errors.splitlines() if line.startswith("cadrender: ") and address in line]
    done = invoke("generate", "--root", root, "-j", 1)
    assert done.returncode == 0
    assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")


@pytest.mark.slow
def test_ctrl_c_ends_a_run_on_a_cluster(tmp_path, rendered, root):
    with cluster(tmp_path, REPOSITORY) as (address, _, _):
        process = start(*arguments(root, address), "-q", **only(REPOSITORY))
        wait_for(lambda: list((root / "audio").rglob(".*.part")))
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=patience(60))
        assert time.monotonic() - began < patience(6)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        # The same workers take up the rest.
        assert run(*arguments(root, address), "-q", **only(REPOSITORY)).returncode == 0
    assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")


BOMB = """
import os, sys, time
from pathlib import Path
from cadrender.catalogue.output import Batch, Output
from cadrender.pipeline.commit import BatchReport
from cadrender.pipeline.dask import Cluster
from cadrender.pipeline.pool import run_batches
from cadrender.signals.at_mic import AtMic
from cadrender.store.manifest import Manifest

def bomb(batch):
    if batch.name == "bomb":
        os.kill(os.getpid(), 9)
    time.sleep(0.05)
    return BatchReport(batch)

def batch_of(song, stem):
    signal = AtMic(stem, Path("in"), Path("left"), Path("right"), 1000, 44100)
    return Batch(song, (Output(signal, Path("out"), stem, "wav", "s"),), Manifest(Path("m"), Path()))

if __name__ == "__main__":
    import bombs
    batches = [
        bombs.batch_of(song, stem)
        for song in ("Ann", "Ben", "Cleo")
        for stem in ("vocals", "bomb" if song == "Ben" else "drums", "bass")
    ]
    with Cluster(sys.argv[1], Path("/")) as cluster:
        for report in run_batches(batches, 2, bombs.bomb, say=print, cluster=cluster):
            print("report", report.batch.song, report.batch.name, report.error)
"""


@pytest.mark.slow
def test_a_batch_that_kills_every_worker_is_given_up(tmp_path):
    """Dask itself gives up a batch after four workers died of it; their nannies start new ones."""
    copy_package(tmp_path / "package")
    script = tmp_path / "package/bombs.py"
    script.write_text(BOMB)
    with cluster(tmp_path, tmp_path / "package", 2, "--nthreads", 1) as (address, _, _):
        done = subprocess.run(
            [sys.executable, script, address],
            capture_output=True,
            text=True,
            env=environment(**only(tmp_path / "package")),
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    reports = [line.split(maxsplit=3)[1:] for line in done.stdout.splitlines() if line.startswith("report ")]
    assert len(reports) == 9
    (failure,) = [report for report in reports if len(report) > 2]
    assert failure[:2] == ["Ben", "bomb"]
    assert "killed" in failure[2]


@pytest.mark.parametrize("options", [("--backend", "dask"), ("--scheduler", "tcp://127.0.0.1:1")])
def test_backend_and_scheduler_go_together(root, options):
    done = invoke("generate", "--root", root, *options)
    assert done.returncode == 2
    assert "go together" in done.stderr
