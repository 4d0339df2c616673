"""Kills at random moments: whatever they hit, the next run ends with the bytes of an undisturbed one.

``CADRENDER_KILLS`` sets how many there are.
"""

import os
import random
import signal
import time

import psutil
import pytest

from tests.roots import leftovers, make_root, run, start, tree

KILLS = int(os.environ.get("CADRENDER_KILLS", "50"))
SONGS = tuple(f"Song {letter}" for letter in "ABCDEF")
OPTIONS = ("-j", "2", "-q")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("kills") / "root", songs=SONGS, seconds=(3.0, 2, 1.5, 1.2, 1, 1))


@pytest.fixture(scope="module")
def undisturbed(root):
    """What a run leaves that nobody disturbs, and how long it takes."""
    run("generate", "--root", root, *OPTIONS)  # compiles
    empty(root)
    began = time.monotonic()
    assert run("generate", "--root", root, *OPTIONS).returncode == 0
    return everything(root), time.monotonic() - began


def outputs(root):
    return sorted((root / "metadata").glob("at_mic_music.train.*")), root / "audio/at_mic_music"


def everything(root):
    (listed, _), folder = outputs(root)
    return tree(folder), listed.read_bytes()


def empty(root):
    files, folder = outputs(root)
    for file in (*files, *folder.rglob("*.wav"), *folder.rglob(".*.part")):
        file.unlink()


def workers(process):
    """The processes of a run that render; its helpers clean up after them, and mind nothing."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def kill(process, whom, rng):
    """Kill with SIGKILL; tell whether anybody was hit."""
    if process.poll() is not None:
        return False
    if whom == "all":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "parent":
        process.kill()
    else:
        victims = workers(process)
        if not victims:
            return False
        rng.choice(victims).kill()
    return True


def test_fifty_random_kills(root, undisturbed):
    files, seconds = undisturbed
    rng = random.Random(6)
    empty(root)
    hits = {"parent": 0, "worker": 0, "all": 0}
    finished = 0
    while sum(hits.values()) < KILLS:
        whom = rng.choice(("parent", "parent", "all", "all", "worker"))
        process = start("generate", "--root", root, *OPTIONS)
        time.sleep(rng.uniform(0.05, 1.05) * seconds)
        hit = kill(process, whom, rng)
        hits[whom] += hit
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors, errors
        if hit and whom != "worker":
            assert process.returncode == -signal.SIGKILL
        else:  # a run survives the death of a worker
            assert process.returncode == 0, errors
            assert everything(root) == files
            finished += 1
            empty(root)
        assert finished < 3 * KILLS
    assert run("generate", "--root", root, *OPTIONS).returncode == 0
    assert everything(root) == files
    assert not leftovers(root)
    proof = run("verify", "--root", root, "--deep", "10%", "-j", 1)
    assert proof.returncode == 0, proof.stdout


@pytest.mark.parametrize("whom", ["parent", "worker"])
def test_no_process_outlives_a_killed_run(root, undisturbed, whom):
    empty(root)
    process = start("generate", "--root", root, *OPTIONS)
    while not (born := workers(process)):
        time.sleep(0.05)
    kill(process, whom, random.Random(1))
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(born, timeout=5)
    assert not alive


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_an_interruption_ends_a_run_cleanly(root, undisturbed, number, status, share):
    files, seconds = undisturbed
    empty(root)
    process = start("generate", "--root", root, *OPTIONS)
    time.sleep(share * seconds)
    born = workers(process)
    began = time.monotonic()
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert process.returncode in (status, 0, -number), errors
    assert "Traceback" not in errors
    if process.returncode == status:
        assert took < 4  # two seconds on a machine that has nothing else to do
        assert "run the same command again to go on" in errors or share < 0.5  # before it has begun
    _, alive = psutil.wait_procs(born, timeout=5)
    assert not alive
    assert run("generate", "--root", root, *OPTIONS).returncode == 0
    assert everything(root) == files
    assert not leftovers(root)
