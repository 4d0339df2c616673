"""Obstacles to single files, and process limits: everything unaffected continues."""

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.plausible import make_plausible_root
from tests.roots import POSITIONS, command, environment, leftovers, make_root, run, tree

FULL = Path("/dev/full")


@pytest.mark.parametrize("blocked", ["drums.wav", ".drums.wav.part"])
@pytest.mark.parametrize("jobs", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_what_is_in_the_way_of_one_file_stops_no_other(tmp_path, blocked, jobs):
    root = make_root(tmp_path / "root")
    music = root / "audio/at_mic_music"
    run("generate", "--root", root, "-j", 1)
    whole = tree(music)
    file = sorted(music.rglob("drums.wav"))[0]
    for wav in music.rglob("*.wav"):
        wav.unlink()
    (file.parent / blocked).mkdir()
    done = run("generate", "--root", root, "-j", jobs)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Is a directory" in done.stderr
    # Only that song's stem is missing, for all its heads.
    missing = {name for name in whole if name not in tree(music)}
    assert missing and all(name.endswith("drums.wav") for name in missing)
    assert len(missing) < sum(name.endswith("drums.wav") for name in whole)
    (file.parent / blocked).rmdir()
    assert run("generate", "--root", root, "-j", jobs).returncode == 0
    assert tree(music) == whole


def test_more_scenes_than_files_may_be_open(tmp_path):
    positions = [replace(POSITIONS[0], id=f"hlp_{number:04d}") for number in range(1, 81)]
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=positions)
    limits = (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    done = subprocess.run(
        command("generate", "--root", root, "-j", 1),
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((root / "audio/at_mic_music").rglob("*.wav"))) == 5 * len(positions)


def run_into(stdout, unbuffered, *arguments):
    """Run cadrender with that standard output, buffered by Python or not."""
    return subprocess.run(
        command(*arguments),
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", [None, "1"])
@pytest.mark.parametrize("arguments", [("check", "--json"), ("gains",), ("info",), ("info", "--help")])
def test_a_standard_output_that_takes_nothing_is_one_line(tmp_path, arguments, unbuffered):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS)
    name, *rest = arguments
    with FULL.open("w") as full:
        done = run_into(full, unbuffered, name, "--root", root, *rest)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "cadrender: standard output: No space left on device"
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_an_interruption_amid_output_that_goes_nowhere_keeps_its_status():
    """As when a terminal is closed while being printed to: Python's own exit would make it 120."""
    program = (
        "import sys\n"
        "from cadrender import cli\n"
        "def interrupted(argv):\n"
        "    sys.stdout.write('half a line')\n"
        "    raise KeyboardInterrupt\n"
        "cli._main = interrupted\n"
        "cli.main()\n"
    )
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment(PYTHONUNBUFFERED=None),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (130, "cadrender: interrupted\n")


@pytest.mark.parametrize("unbuffered", [None, "1"])
@pytest.mark.parametrize("arguments", [("--help",), ("check", "--json"), ("info", "--json")])
def test_a_reader_that_has_seen_enough_is_no_error_to_tell_of(tmp_path, arguments, unbuffered):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS)
    name, *rest = arguments
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        where = () if name == "--help" else ("--root", root)
        done = run_into(pipe, unbuffered, name, *where, *rest)
    assert done.returncode == 1
    assert not [line for line in done.stderr.splitlines() if "cadrender:" in line or "Error" in line]


def test_a_folder_in_the_place_of_the_second_file_leaves_the_first_as_it_was(tmp_path):
    root = make_plausible_root(tmp_path / "root")
    scenes = root / "metadata/scenes.train.json"
    before = scenes.read_bytes()
    pairs = root / "metadata/scene_listeners.train.json"
    pairs.unlink(missing_ok=True)
    pairs.mkdir()
    done = run("scenes", "--root", root, "--scenes-per-song", 2)
    assert done.returncode == 1
    assert str(pairs) in done.stderr and "Traceback" not in done.stderr
    assert scenes.read_bytes() == before
    assert not leftovers(root / "metadata")


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "-j", "1025"),
        ("check", "-j", "1000000"),
        ("verify", "-j", "0"),
        ("verify", "--deep", ""),
        ("check", "--tolerance", "nan"),
        ("excerpts", "--split", "valid", "--min-loudness", "nan"),
    ],
)
def test_numbers_that_make_no_sense_are_one_line(tmp_path, arguments):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS)
    name, *rest = arguments
    done = run(name, "--root", root, *rest)
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"cadrender {name}: ")
