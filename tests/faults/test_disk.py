"""Disks that are full or not writable: real ones, mounted for the test."""

import subprocess
import sys

import pytest

import cadrender
from benchmarks.mounted import why_not
from cadrender.cache import cache_directory
from cadrender.metadata.gains import build_gains, gains_json
from tests.disks import mount, small_disk
from tests.roots import SONGS, environment, leftovers, make_root, run, tree


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("whole") / "root")
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    return root


def one_line(done, *words):
    """The run failed with a one-line message, apart from its progress output."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cadrender: ")]
    for word in words:
        assert word in line
    return line


def whole_files(folder, rendered):
    """Every file in its place is correct."""
    expected = tree(rendered / "audio/at_mic_music")
    found = {name: data for name, data in tree(folder).items() if not name.endswith(".part")}
    assert found == {name: expected[name] for name in found}
    return len(found), len(expected)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("options", [(), ("--subtype", "PCM_24"), ("--format", "flac")])
def test_a_disk_that_fills_up_stops_the_run_and_leaves_only_whole_files(tmp_path, jobs, options, rendered):
    if options and jobs == 2:
        pytest.skip("the same with one process")
    root = make_root(tmp_path / "root")
    with small_disk(tmp_path / "small", "1500k") as disk:
        arguments = ("generate", "--root", root, "-j", jobs, "--output-music-dir", disk / "music", *options)
        done = run(*arguments)
        assert "will be written" in one_line(done, str(disk), "free (--force")
        assert not any(disk.rglob("*"))
        one_line(
            run(*arguments, "--force"), str(disk), "No space left", "run the same command again to go on"
        )
        assert not leftovers(disk)
        if not options:
            some, all_of_them = whole_files(disk / "music", rendered)
            assert 0 < some < all_of_them
        mount("-o", "remount,size=40m", disk)
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert not leftovers(disk)
        if not options:
            assert tree(disk / "music") == tree(rendered / "audio/at_mic_music")
        proof = run("verify", "--root", root, "--output-music-dir", disk / "music", *options)
        assert proof.returncode == 0, proof.stdout


@pytest.mark.parametrize("jobs", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", ["remix", "generate --remix"])
def test_a_disk_that_fills_up_with_targets(tmp_path, jobs, command):
    root = make_root(tmp_path / "root")
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    command, *rest = command.split()
    if command == "remix":
        assert run("generate", "--root", root, "-j", jobs).returncode == 0
    assert run("remix", "--root", root, "-j", 1, "--output-remix-dir", tmp_path / "whole").returncode == 0
    expected = tree(tmp_path / "whole")
    for file in (root / "metadata").glob("remix.*"):
        file.unlink()
    with small_disk(tmp_path / "small", "900k") as disk:
        arguments = (command, *rest, "--root", root, "-j", jobs, f"path.output_remix_dir={disk / 'targets'}")
        one_line(run(*arguments, "--force"), str(disk), "No space left")
        assert not leftovers(disk)
        some = tree(disk / "targets")
        assert some == {name: expected[name] for name in some} and 0 < len(some) < len(expected)
        mount("-o", "remount,size=40m", disk)
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert tree(disk / "targets") == expected


def test_a_full_disk_under_the_metadata_stops_the_run_too(tmp_path):
    root = make_root(tmp_path / "root", songs=SONGS[:1], seconds=(1.0,))
    with small_disk(tmp_path / "small", "64k") as disk:
        (disk / "filler").write_bytes(bytes(64 * 1024))
        arguments = ("generate", "--root", root, "-j", 1, "--output-music-file", disk / "list.json")
        one_line(run(*arguments), str(disk / "list.manifest.jsonl"), "No space left")
        assert not list((root / "audio/at_mic_music").rglob("*.wav"))
        (disk / "filler").unlink()
        assert run(*arguments).returncode == 0


@pytest.mark.parametrize("half_done", [False, True])
def test_a_read_only_disk_is_named(tmp_path, half_done):
    root = make_root(tmp_path / "root", songs=SONGS[:1], seconds=(1.0,))
    with small_disk(tmp_path / "small", "20m") as disk:
        arguments = ("generate", "--root", root, "-j", 1, "--output-music-dir", disk)
        if half_done:
            assert run(*arguments).returncode == 0
            next(disk.rglob("bass.wav")).unlink()
        mount("-o", "remount,ro", disk)
        one_line(run(*arguments), str(disk))
        mount("-o", "remount,rw", disk)
        assert run(*arguments).returncode == 0


def test_metadata_that_cannot_be_written_are_named_before_anything_is_rendered(tmp_path):
    root = make_root(tmp_path / "root", songs=SONGS[:1], seconds=(1.0,))
    with small_disk(tmp_path / "small", "1m") as disk:
        mount("-o", "remount,ro", disk)
        done = run("generate", "--root", root, "-j", 1, "--output-music-file", disk / "list.json")
        one_line(done, str(disk / "list.manifest.jsonl"), "Read-only")
        assert not list((root / "audio/at_mic_music").rglob("*.wav"))


def test_a_root_on_a_read_only_disk_can_be_read_and_mounted_elsewhere(tmp_path):
    """Levels go to the user's cache; at the usual place nothing can be mounted."""
    expected = make_root(tmp_path / "expected")
    samples = cadrender.open_root(expected).samples
    part = cadrender.open_root(expected).at_mic(samples[0].name, "bass").read(100, 2000)
    with small_disk(tmp_path / "disk", "40m") as disk:
        root = make_root(disk / "root")
        mount("-o", "remount,ro", disk)
        code = (
            "import sys, cadrender\n"
            "signal = cadrender.open_root(sys.argv[1]).at_mic(sys.argv[2], 'bass')\n"
            "sys.stdout.buffer.write(signal.read(100, 2000).tobytes())\n"
        )
        read = subprocess.run(
            [sys.executable, "-c", code, root, samples[0].name], env=environment(), capture_output=True
        )
        assert read.stdout == part.tobytes(), read.stderr
        index = run("index", "--root", root, "-j", 1)
        assert index.returncode == 0 and f"kept in {cache_directory()}/levels/" in index.stderr
        again = run("index", "--root", root, "-j", 1)
        assert "; 0 to measure" in again.stderr.splitlines()[0]
        if not why_not():
            usual = run("mount", "--root", root)
            assert usual.returncode == 2
            (line,) = usual.stderr.splitlines()
            assert "Read-only file system" in line and "name a MOUNTPOINT" in line
