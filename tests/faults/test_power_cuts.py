"""Power cuts: whatever a disk has kept, no file that counts as complete is wrong.

A slow disk records every write and flush while cadrender runs (`blocklog`); then any moment can be reconstructed, with
everything flushed and a random part of the rest, mounted and inspected. File systems are also shut down under a
run. The inodes are real, and so are the journals: only the moment is simulated.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.config import load_settings
from cadrender.pipeline.plan import make_plan
from cadrender.store.manifest import Contents
from tests.faults import mounts
from tests.faults.blocklog import Log
from tests.faults.works import prepare
from tests.roots import environment, leftovers, make_root, run, start, tree

pytestmark = pytest.mark.faults

SONGS = tuple(f"Song {letter}" for letter in "ABCDE")
SECONDS = (3.0, 2.5, 2.0, 2.0, 1.5)
MEGABYTES_PER_SECOND = 8.0
CUTS = 200  # per file system, in the long form
CUTS_OF_OTHERS = 15
RESUMED = 12  # one in this many cuts is resumed and verified, the others only planned

# Frequent checkpoints, so that a small run has some.
OFTEN = "from cadrender.pipeline import checkpoint; checkpoint._INTERVAL = 0.7"
# The fault the tests are there to find.
UNSYNCED = "from cadrender.store import durable; durable.sync_files = lambda *a: None"
PROGRAM = "import sys; {}; from cadrender.cli import main; main()"


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A root, the same one with another HRIR, and the output of each."""
    folder = tmp_path_factory.mktemp("cuts")
    old = make_root(folder / "old", songs=SONGS, seconds=SECONDS)
    new = shutil.copytree(old, folder / "new")
    hrir = next((new / "audio/hrtf").glob("*.wav"))
    shutil.copyfile(next(file for file in (new / "audio/hrtf").glob("*.wav") if file != hrir), hrir)
    found = {}
    for root in (old, new):
        done = run("generate", "--root", root, "-j", 1, "-q", *places(folder / root.name / "made"))
        assert done.returncode == 0, done.stderr
        found[root] = tree(folder / root.name / "made/music")
    assert found[old] != found[new]
    return old, new, found


def places(folder):
    return "--output-music-dir", folder / "music", "--output-music-file", folder / "list.json"


def begun(*arguments, before=()):
    """Start a run whose program does something else first."""
    program = PROGRAM.format("; ".join((OFTEN, *before)))
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen([*map(str, command)], env=environment(), stderr=subprocess.PIPE, text=True)


def generate(root, folder, *before):
    return begun("generate", "--root", root, "-q", "-j", 1, *places(folder), before=before)


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


@dataclass(frozen=True)
class Recording:
    """A stretch of a disk's log, recorded while something happened."""

    log: Log
    begin: int
    end: int
    root: Path
    expected: dict
    options: str
    complete: bool = False  # before the recording began


def record_fresh(disk, roots, *before):
    """A run, and the time afterwards in which the system writes back cached data."""
    old, _, expected = roots
    begin = disk.position()
    finish(generate(old, disk.place, *before))
    ended = disk.position()
    if before:
        time.sleep(3)
    return Recording(disk.log(), begin, max(ended, disk.position()), old, expected[old], disk.options)


def record_resumed(disk, roots, *before):
    """A run that is killed, a few seconds, and a run that resumes it."""
    old, _, expected = roots
    begin = disk.position()
    process = generate(old, disk.place, *before)
    while len(list(disk.place.glob("music/*/*/*.wav"))) < 10:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(6)  # longer than a journal's five seconds
    finish(generate(old, disk.place, *before))
    return Recording(disk.log(), begin, disk.position(), old, expected[old], disk.options)


def record_replacing(disk, roots, *before):
    """A run that replaces files of an earlier one, because an HRIR has changed."""
    old, new, expected = roots
    finish(generate(old, disk.place, *before))
    begin = disk.position()
    finish(generate(new, disk.place, *before))
    return Recording(disk.log(), begin, disk.position(), new, expected[new], disk.options)


RECORDERS = {"fresh": record_fresh, "resumed": record_resumed, "replacing": record_replacing}


def counted(place, recording):
    """The files that count as complete under a mount, and those of them that are wrong."""
    overrides = [f"path.output_music_dir={place}/music", f"path.output_music_file={place}/list.json"]
    catalogue = AtMicCatalogue(load_settings(overrides, root=recording.root))
    (share,) = make_plan(catalogue).shares
    files = [output.file for output in share.selected if output.file not in share.reasons]
    names = {file: str(file.relative_to(place / "music")) for file in files}
    return names.values(), [
        name for file, name in names.items() if file.read_bytes() != recording.expected[name]
    ]


def wrongly_listed(place, recording):
    """What the list names although it does not exist."""
    try:
        listed = json.loads((place / "list.json").read_bytes())
    except FileNotFoundError:
        return []
    return [
        f"{name}/{stem}"
        for name in listed
        for stem in ("mixture", "vocals", "drums", "bass", "other")
        if (place / f"music/train/{name}/{stem}.wav").read_bytes()
        != recording.expected[f"train/{name}/{stem}.wav"]
    ]


def check_resumed(place, recording):
    done = run("generate", "--root", recording.root, "-j", 1, *places(place))
    assert done.returncode == 0, done.stderr
    assert tree(place / "music") == recording.expected
    assert not leftovers(place / "music")
    proof = run("verify", "--root", recording.root, "-j", 1, *places(place))
    assert proof.returncode == 0, proof.stdout


def replay(recording, folder, count, *, seed, resumed=RESUMED, listed=True):
    """Cut the power this many times; returns trusted files that are wrong, and the total number trusted."""
    rng = random.Random(seed)
    span = range(recording.begin, recording.end + 1)
    cuts = sorted([*rng.sample(span, min(count - 1, len(span))), recording.end])
    wrong, believed = [], 0
    for number, (cut, image) in enumerate(recording.log.cuts(cuts, rng)):
        with mounts.replayed(image, folder, recording.options) as place:
            names, mistaken = counted(place, recording)
            believed += len(names)
            wrong += [f"cut {cut}: {name}" for name in mistaken]
            if listed:
                wrong += [f"cut {cut}: {name} (listed)" for name in wrongly_listed(place, recording)]
            if resumed and number % resumed == resumed // 2:
                check_resumed(place, recording)
    with mounts.replayed(image, folder, recording.options) as place:  # right after status 0
        names, mistaken = counted(place, recording)
        assert not mistaken
    return wrong, believed, names


def check(recording, folder, count, seed):
    wrong, believed, last = replay(
        recording, folder, count, seed=seed, listed="replacing" not in folder.parts[-1]
    )
    assert not wrong
    assert believed
    assert set(last) == set(recording.expected)


@pytest.mark.parametrize("setting", ["ext4 commit=1", "xfs"])
def test_a_power_cut(tmp_path, roots, setting):
    with mounts.LoggedDisk(tmp_path / "disk", setting, MEGABYTES_PER_SECOND) as disk:
        recording = record_replacing(disk, roots)
    (tmp_path / "replacing").mkdir()
    check(recording, tmp_path / "replacing", 10, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("recorder", RECORDERS)
@pytest.mark.parametrize("setting", mounts.SETTINGS)
def test_many_power_cuts(tmp_path, roots, setting, recorder):
    with mounts.LoggedDisk(tmp_path / "disk", setting, MEGABYTES_PER_SECOND) as disk:
        recording = RECORDERS[recorder](disk, roots)
    (tmp_path / recorder).mkdir()
    check(recording, tmp_path / recorder, CUTS // len(RECORDERS) + 1, seed=2)


def test_without_durability_power_cuts_are_noticed_here(tmp_path, roots, monkeypatch):
    """The test of the test: files that are not synced, yet trusted."""
    with mounts.LoggedDisk(tmp_path / "disk", "ext4 commit=1", MEGABYTES_PER_SECOND / 2) as disk:
        recording = record_resumed(disk, roots, UNSYNCED)
    monkeypatch.setattr(Contents, "vouches_for", lambda *arguments: True)
    monkeypatch.setattr(Contents, "doubts_unrecorded", lambda *arguments: False)
    wrong, *_ = replay(recording, tmp_path, 30, seed=3, resumed=0)
    assert wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generate --remix", "remix", "excerpts", "ingest", "index"])
def test_other_commands(tmp_path, name):
    """With the whole root on the disk: metadata, lists and levels are cut off, too."""
    work = prepare(name, tmp_path, jobs=1).prepare()
    with mounts.LoggedDisk(tmp_path / "disk", "ext4 commit=1", MEGABYTES_PER_SECOND) as disk:
        for file, content in work.sources.items():
            (disk.place / "root" / file).parent.mkdir(parents=True, exist_ok=True)
            (disk.place / "root" / file).write_bytes(content)
        subprocess.run(["sync", "--file-system", disk.place], check=True)
        begin = disk.position()
        finish(begun(*work.at(disk.place / "root").arguments))
        log, end = disk.log(), disk.position()
    rng = random.Random(name)
    cuts = sorted([*rng.sample(range(begin, end + 1), min(CUTS_OF_OTHERS, end - begin)), end])
    for _, image in log.cuts(cuts, rng):
        with mounts.replayed(image, tmp_path, disk.options) as place:
            here = work.at(place / "root")
            done = run(*here.arguments)
            assert done.returncode == 0, done.stderr
            here.check()
            here.verify()


@pytest.mark.parametrize(
    ("jobs", "kind"),
    [
        (2, "ext4"),
        (1, "xfs"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, "ext4"), (2, "xfs"))),
    ],
)
def test_a_file_system_that_goes_away(tmp_path, roots, kind, jobs):
    """During a run, right after it, and while idle; the boot stays the same."""
    mounts.needs("mkfs.ext4", "mkfs.xfs")
    old, _, expected = roots
    kind, megabytes, _ = mounts.SETTINGS[kind]
    image, place = tmp_path / "image", tmp_path / "place"
    with image.open("wb") as stream:
        stream.truncate(megabytes << 20)
    mounts.make_file_system(kind, image)
    arguments = ("generate", "--root", old, "-j", jobs, *places(place))
    with mounts.loop(image) as device:
        for least in (1, 30):
            with mounts.mounted(device, place):
                process = start(*arguments)
                while len(list(place.glob("music/*/*/*.wav"))) < least and process.poll() is None:
                    time.sleep(0.01)
                mounts.shut_down(place, image)
                _, errors = process.communicate(timeout=120)
                assert process.returncode == 1, errors
                assert "Traceback" not in errors
                assert "Input/output error" in errors
        with mounts.mounted(device, place):
            done = run(*arguments)
            assert done.returncode == 0, done.stderr
            assert tree(place / "music") == expected[old]
            mounts.shut_down(place, image)  # right after status 0
        with mounts.mounted(device, place):
            assert tree(place / "music") == expected[old]
            done = run(*arguments)
            assert done.returncode == 0, done.stderr
            assert "15 samples complete; 0 files to render" in done.stderr
            assert not leftovers(place / "music")
            proof = run("verify", "--root", old, "-j", 1, *places(place))
            assert proof.returncode == 0, proof.stdout
