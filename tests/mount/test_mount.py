"""The mounted tree as other programs see it: the very files of ``generate``, for many readers, whatever goes wrong."""

import contextlib
import errno
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cadrender.config import load_settings
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.mount import Mount, trees_of
from cadrender.stems import STEMS
from tests.kernels import copy_cache
from tests.mount.conftest import mounted
from tests.roots import POSITIONS, SONGS, command, environment, make_song, run, start, tree, write_wav

SAMPLES = [f"{song}-{position.id}" for song in SONGS for position in POSITIONS]


def at_mic(root):
    return root / "audio/at_mic_music"


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_every_byte_is_that_of_generate(root, generated, mounts):
    process = mounts.start(root)
    assert tree(at_mic(root)) == tree(at_mic(generated))
    compared = subprocess.run(["diff", "-r", at_mic(root), at_mic(generated)], capture_output=True, text=True)
    assert (compared.returncode, compared.stdout) == (0, "")
    listed = root / "metadata/at_mic_music.train.json"
    assert listed.read_bytes() == (generated / "metadata" / listed.name).read_bytes()
    assert mounts.stop(process) == (0, [])
    assert not mounted(at_mic(root))
    assert not listed.exists()  # what it listed is gone


def test_sizes_times_modes(root, generated, mounts):
    umask = os.umask(0o027)
    try:
        mounts.start(root)
    finally:
        os.umask(umask)
    for file in at_mic(generated).rglob("*.wav"):
        shown = (at_mic(root) / file.relative_to(at_mic(generated))).stat()
        song = file.parent.name.rpartition("-")[0]
        source = root / "audio/music/train" / song / file.name
        inputs = [source, *(root / "audio/hrtf").iterdir()]
        assert shown.st_size == file.stat().st_size
        assert (
            source.stat().st_mtime_ns <= shown.st_mtime_ns <= max(each.stat().st_mtime_ns for each in inputs)
        )
        assert (shown.st_mode & 0o777, shown.st_nlink, shown.st_uid) == (0o640, 1, os.getuid())
    assert (at_mic(root) / "train").stat().st_mode & 0o777 == 0o750


@pytest.mark.slow
def test_ordinary_programs_copy_it(root, generated, mounts, tmp_path):
    mounts.start(root)
    expected = tree(at_mic(generated))
    subprocess.run(["cp", "-r", at_mic(root), tmp_path / "cp"], check=True)
    assert tree(tmp_path / "cp") == expected
    if shutil.which("rsync"):
        subprocess.run(["rsync", "-a", f"{at_mic(root)}/", tmp_path / "rsync"], check=True)
        assert tree(tmp_path / "rsync") == expected
        again = ["rsync", "-ai", f"{at_mic(root)}/", tmp_path / "rsync"]
        assert subprocess.run(again, check=True, capture_output=True, text=True).stdout == ""
    found = subprocess.run(["find", at_mic(root), "-type", "f"], check=True, capture_output=True, text=True)
    assert len(found.stdout.splitlines()) == len(expected)
    size = subprocess.run(
        ["du", "-sb", "--apparent-size", at_mic(root)], check=True, capture_output=True, text=True
    )
    assert int(size.stdout.split()[0]) == sum(map(len, expected.values()))


def test_nothing_can_be_changed(root, mounts):
    mounts.start(root)
    folder = at_mic(root) / "train" / SAMPLES[0]
    file = folder / "vocals.wav"
    attempts = (
        lambda: file.open("r+b"),
        lambda: file.unlink(),
        lambda: file.chmod(0o777),
        lambda: (folder / "new").touch(),
        lambda: (folder / "new").mkdir(),
        lambda: file.rename(folder / "new.wav"),
        lambda: os.utime(file),
    )
    for attempt in attempts:
        with pytest.raises(OSError) as raised:
            attempt()
        assert raised.value.errno == errno.EROFS


def test_what_is_not_there(root, mounts):
    mounts.start(root)
    for name in (
        "valid",
        "train/nobody",
        f"train/{SAMPLES[0]}/guitar.wav",
        f"train/{SAMPLES[0]}/vocals.flac",
    ):
        with pytest.raises(FileNotFoundError):
            (at_mic(root) / name).stat()


_READER = """
import pathlib, random, sys, numpy, soundfile
shown, stored, rng = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), random.Random(int(sys.argv[3]))
files = sorted(stored.rglob("*.wav"))
for _ in range(25):
    file = rng.choice(files)
    frames = soundfile.info(file).frames
    start, count, dtype = rng.randrange(frames), rng.choice((1, 100, 5000, frames)), rng.choice(("int16", "float32"))
    ours, _ = soundfile.read(shown / file.relative_to(stored), count, start, dtype=dtype)
    theirs, _ = soundfile.read(file, count, start, dtype=dtype)
    numpy.testing.assert_array_equal(ours, theirs)
"""


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["512MB", "1MB"])
def test_eight_processes_read_random_parts(root, generated, mounts, cache):
    mounts.start(root, "--cache", cache)
    readers = [
        subprocess.Popen([sys.executable, "-c", _READER, at_mic(root), at_mic(generated), str(seed)])
        for seed in range(8)
    ]
    assert [reader.wait(timeout=120) for reader in readers] == [0] * 8


def test_mapped_files(root, generated, mounts):
    mounts.start(root)
    name = f"train/{SAMPLES[1]}/drums.wav"
    expected = (at_mic(generated) / name).read_bytes()
    # In another process, as all readers are.
    script = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:\n"
        "    sys.stdout.buffer.write(mapped[-1000:] + mapped[:])\n"
    )
    read = subprocess.run(
        [sys.executable, "-c", script, at_mic(root) / name], capture_output=True, check=True
    )
    assert read.stdout == expected[-1000:] + expected


@pytest.mark.slow
def test_musdb_reads_it(root, generated, mounts):
    if not shutil.which("ffmpeg") or not shutil.which("ffprobe"):
        pytest.skip("musdb needs ffmpeg and ffprobe")
    musdb = pytest.importorskip("musdb", reason="musdb is not installed")
    mounts.start(root)
    shown, stored = (
        {
            track.name: track
            for track in musdb.DB(root=str(at_mic(place)), is_wav=True, subsets="train", split=None)
        }
        for place in (root, generated)
    )
    assert sorted(shown) == sorted(stored) == sorted(SAMPLES)
    for name in (SAMPLES[0], SAMPLES[-1]):
        assert len(shown[name].audio) > 44100
        np.testing.assert_array_equal(shown[name].audio, stored[name].audio)
        np.testing.assert_array_equal(shown[name].stems, stored[name].stems)


@pytest.mark.slow
def test_a_reader_that_is_killed(root, generated, mounts):
    process = mounts.start(root)
    for _ in range(5):
        reader = subprocess.Popen(
            ["sh", "-c", 'while :; do cat "$0"/*/*/*.wav > /dev/null; done', at_mic(root)], process_group=0
        )
        time.sleep(0.2)
        os.killpg(reader.pid, signal.SIGKILL)
        reader.wait()
    assert tree(at_mic(root)) == tree(at_mic(generated))
    assert mounts.stop(process) == (0, [])


@pytest.mark.slow
def test_who_reads_the_same_at_the_same_time_shares_it(root, generated, mounts):
    """Eight programs read all files: little more is rendered than for one."""
    process = mounts.start(root, "-v")
    files = sorted(at_mic(root).rglob("*.wav"))
    readers = [subprocess.Popen(["cat", *files], stdout=subprocess.PIPE) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        contents = set(pool.map(lambda reader: reader.communicate(timeout=120)[0], readers))
    expected = tree(at_mic(generated))
    assert contents == {b"".join(expected[name] for name in sorted(expected))}
    status, (line,) = mounts.stop(process)
    rendered = float(re.findall(r"files opened, (\d+) MB rendered", line)[0])
    whole = sum(map(len, expected.values())) / 1e6
    assert status == 0
    assert whole / 2 < rendered < 2 * whole


def test_looking_renders_nothing(root, mounts):
    """The samples of these songs are not finite: rendering one is an error, and would be reported."""
    for file in (root / "audio/music").rglob("*.wav"):
        write_wav(file, np.full((44100, 2), np.nan, np.float32), subtype="FLOAT")
    process = mounts.start(root, "--heads", "all")
    listed = subprocess.run(["ls", "-lR", at_mic(root)], capture_output=True, text=True, check=True)
    assert listed.stdout.count(".wav") == 5 * len(SAMPLES)
    assert listed.stdout.count(str(44 + 4 * 44100)) == 5 * len(SAMPLES)
    assert mounts.stop(process) == (0, [])


@pytest.mark.slow
def test_every_song_at_every_position(root, generated, mounts):
    scenes = json.loads((root / "metadata/scenes.train.json").read_text())
    few = dict(itertools.islice(scenes.items(), 1))
    (root / "metadata/scenes.train.json").write_text(json.dumps(few))
    process = mounts.start(root)
    assert names(at_mic(root) / "train") == SAMPLES[:1]
    mounts.stop(process)
    mounts.start(root, "--heads", "all")
    assert tree(at_mic(root)) == tree(at_mic(generated))


@pytest.mark.slow
@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_other_subtypes(root, mounts, tmp_path, subtype):
    done = run(
        "generate", "--root", root, "--subtype", subtype, "--output-music-dir", tmp_path / "made",
        "--output-music-file", tmp_path / "made.json", "-q", "-j", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run("index", "--root", root, "-j", 1)  # what is known is read beforehand
    process = mounts.start(root, "--subtype", subtype)
    made = sorted((tmp_path / "made").rglob("*.wav"))
    assert len(made) == 5 * len(SAMPLES)
    for file in made:
        shown = at_mic(root) / file.relative_to(tmp_path / "made")
        header = file.read_bytes().index(b"data") + 8
        assert shown.stat().st_size == file.stat().st_size
        assert shown.read_bytes()[:header] == file.read_bytes()[:header]
        # A part is rendered in other blocks than the whole: untruncated values may differ by rounding.
        ours, theirs = (soundfile.read(each, dtype="float64")[0] for each in (shown, file))
        np.testing.assert_allclose(ours, theirs, rtol=2**-22, atol=2**-23)
    assert mounts.stop(process) == (0, [])


@pytest.mark.slow
def test_targets(root, mounts, tmp_path):
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    done = run(
        "remix", "--root", root, "--output-remix-dir", tmp_path / "made", "--output-remix-file",
        tmp_path / "made.json", "-q", "-j", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    process = mounts.start(root, "--remix")
    remixed = root / "audio/remix"
    deadline = time.monotonic() + 10
    while not mounted(remixed) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert tree(remixed) == tree(tmp_path / "made")
    newest = max(file.stat().st_mtime_ns for file in (root / "audio").glob("[hm]*/**/*.wav"))
    assert all(file.stat().st_mtime_ns <= newest for file in remixed.rglob("*.wav"))
    assert mounts.stop(process) == (0, [])
    assert not mounted(at_mic(root))
    assert not mounted(remixed)


# Damage


def test_a_song_with_damaged_samples(root, generated, mounts):
    damaged = root / "audio/music/train" / SONGS[0]
    for stem in STEMS:
        frames = soundfile.info(damaged / f"{stem}.wav").frames
        write_wav(damaged / f"{stem}.wav", np.full((frames, 2), np.inf, np.float32), subtype="FLOAT")
    process = mounts.start(root)
    for sample, expected in _expected(generated).items():
        if sample.startswith(SONGS[0]):
            for stem in STEMS:
                with pytest.raises(OSError) as raised:
                    (at_mic(root) / "train" / sample / f"{stem}.wav").read_bytes()
                assert raised.value.errno == errno.EIO
        else:
            assert tree(at_mic(root) / "train" / sample) == expected
    copied = subprocess.run(["cp", "-r", at_mic(root), root / "copy"], capture_output=True, text=True)
    assert copied.returncode == 1
    assert copied.stderr.count("Input/output error") == 15
    status, lines = mounts.stop(process)
    assert (status, len(lines)) == (0, 1)
    assert lines[0].endswith(".wav: holds NaN or infinite samples")
    assert SONGS[0] in lines[0]


@pytest.mark.slow
def test_a_song_with_a_missing_file(root, generated, mounts):
    gone = root / "audio/music/train" / SONGS[1] / "bass.wav"
    kept = gone.read_bytes()
    gone.unlink()
    process = mounts.start(root)
    for stem in STEMS:
        with pytest.raises(OSError) as raised:
            (at_mic(root) / "train" / SAMPLES[3] / f"{stem}.wav").stat()
        assert raised.value.errno == errno.EIO
    assert tree(at_mic(root) / "train" / SAMPLES[0]) == _expected(generated)[SAMPLES[0]]
    gone.write_bytes(kept)  # repaired
    time.sleep(1.1)
    assert tree(at_mic(root)) == tree(at_mic(generated))
    assert mounts.stop(process) == (0, [f"{gone}: no such file"])


def _expected(generated):
    return {sample: tree(at_mic(generated) / "train" / sample) for sample in SAMPLES}


# Change


def other_song(root, song, seconds):
    """What a song's files will be replaced with, and its rendering."""
    other = root.parent / "other"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("at_mic_music*"))
    make_song(other, song, seconds, 77)
    assert run("generate", "--root", other, "-q", "-j", "1").returncode == 0
    return other


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5.3, 7.1, 3.0])
def test_a_source_that_changes_is_noticed(root, generated, mounts, seconds):
    """As long as before, longer, or shorter: open files give EIO or old bytes, reopened ones the new bytes."""
    other = other_song(root, SONGS[0], seconds)
    mounts.start(root)
    name = f"train/{SAMPLES[0]}/mixture.wav"
    old, new = (at_mic(generated) / name).read_bytes(), (at_mic(other) / name).read_bytes()
    source = f"audio/music/train/{SONGS[0]}"
    with (at_mic(root) / name).open("rb", buffering=0) as early:
        assert early.read(1000) == old[:1000]
        for file in (other / source).iterdir():
            shutil.copy(file, root / source / f".{file.name}")
            (root / source / f".{file.name}").rename(root / source / file.name)
        assert (at_mic(root) / name).read_bytes() == new
        for start in range(0, len(old), 100_000):
            try:
                data = os.pread(early.fileno(), 100_000, start)
                assert data == old[start : start + len(data)]
            except OSError as error:
                assert error.errno == errno.EIO
        assert (at_mic(root) / name).read_bytes() == new
    assert (at_mic(root) / name).read_bytes() == new
    time.sleep(1.1)
    assert tree(at_mic(root)) == tree(at_mic(other))


@pytest.mark.slow
def test_an_hrir_that_changes_is_noticed(root, mounts):
    mounts.start(root)
    file = at_mic(root) / "train" / SAMPLES[0] / "bass.wav"
    before = file.read_bytes()
    time.sleep(0.01)
    hrir = root / "audio/hrtf" / POSITIONS[0].left_hrir
    response, rate = soundfile.read(hrir)
    write_wav(hrir, response[::-1], rate, "FLOAT")
    after = file.read_bytes()
    assert after != before
    assert file.stat().st_mtime_ns == hrir.stat().st_mtime_ns
    whole = root / "whole"
    assert run("generate", "--root", root, "--output-music-dir", whole, "-q", "-j", "1").returncode == 0
    assert after == (whole / "train" / SAMPLES[0] / "bass.wav").read_bytes()


@pytest.mark.slow
def test_a_source_that_changes_while_it_is_copied(root, mounts):
    """Every copy that succeeds is made from a single version of the song."""
    other = other_song(root, SONGS[0], 5.3)
    name = f"train/{SAMPLES[0]}/mixture.wav"
    sources = [(place / f"audio/music/train/{SONGS[0]}/mixture.wav").read_bytes() for place in (root, other)]
    assert run("generate", "--root", other, "-q", "-j", "1").returncode == 0
    versions = {(at_mic(other) / name).read_bytes()}
    mounts.start(root, "--cache", "1MB")
    versions.add((at_mic(root) / name).read_bytes())
    assert len(versions) == 2
    stop = time.monotonic() + 4

    def copy():
        whole = 0
        while time.monotonic() < stop:
            try:
                assert (at_mic(root) / name).read_bytes() in versions
                whole += 1
            except OSError as error:
                assert error.errno == errno.EIO
        return whole

    with ThreadPoolExecutor(3) as pool:
        copies = [pool.submit(copy) for _ in range(3)]
        source = root / f"audio/music/train/{SONGS[0]}/mixture.wav"
        for content in itertools.cycle(sources):
            if time.monotonic() > stop:
                break
            source.with_name("new").write_bytes(content)
            source.with_name("new").rename(source)
            time.sleep(0.13)
    assert sum(each.result() for each in copies) > 0


# Start and end


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_unmounts_whatever_is_open(root, mounts, number):
    process = mounts.start(root)
    file = at_mic(root) / "train" / SAMPLES[0] / "vocals.wav"
    opened = os.open(file, os.O_RDONLY)
    assert os.read(opened, 4) == b"RIFF"
    assert mounts.stop(process, number) == (0, [])
    with contextlib.suppress(OSError):  # libfuse 2 sends a request on close
        os.close(opened)
    assert not mounted(at_mic(root))
    mounts.start(root)
    assert file.stat().st_size


@pytest.mark.parametrize("before", ["[]", pytest.param(None, marks=pytest.mark.slow)])
def test_a_killed_mount_is_replaced(root, generated, mounts, before):
    """And the list that it left, of samples that are nowhere, does not stay."""
    listed = root / "metadata/at_mic_music.train.json"
    listed.unlink(missing_ok=True)
    if before is not None:
        listed.write_text(before)
    process = mounts.start(root)
    wait_until(lambda: listed.exists() and len(json.loads(listed.read_text())) == len(SAMPLES))
    process.kill()
    process.wait()
    with pytest.raises(OSError) as raised:
        os.statvfs(at_mic(root))
    assert raised.value.errno == errno.ENOTCONN
    process = mounts.start(root)
    assert tree(at_mic(root)) == tree(at_mic(generated))
    assert mounts.stop(process) == (0, [])
    assert names(at_mic(root)) == []
    assert (listed.read_text() if listed.exists() else None) == before
    assert not list(listed.parent.glob(".*"))
    listed.unlink(missing_ok=True)


@pytest.mark.slow
def test_all_is_compiled_before_it_is_mounted(root, mounts, tmp_path):
    """Otherwise the first reader waits for the compiler, and so does whoever ends the mount."""
    cache = copy_cache(tmp_path / "cache")
    for file in cache.rglob("part_kernels.*"):
        file.unlink()
    process = mounts.start(root, CADRENDER_CACHE_DIR=str(cache))
    compiled = sorted(cache.rglob("*.nbc"))
    assert list(cache.rglob("part_kernels.*.nbc"))
    assert len(tree(at_mic(root))) == len(SAMPLES) * len(STEMS)
    assert mounts.stop(process) == (0, [])
    assert sorted(cache.rglob("*.nbc")) == compiled


@pytest.mark.slow
def test_it_ends_with_its_parent(root, mounts):
    mounts.watch(at_mic(root))
    arguments = [str(each) for each in command("mount", "--root", root, "-q")]
    parent = subprocess.Popen(["sh", "-c", '"$@" & wait', "sh", *arguments], env=environment())
    wait_until(lambda: mounted(at_mic(root)))
    parent.kill()
    parent.wait()
    wait_until(lambda: not mounted(at_mic(root)))


@pytest.mark.slow
def test_nohup_survives_its_parent(root, mounts):
    mounts.watch(at_mic(root))
    arguments = [str(each) for each in command("mount", "--root", root, "-q")]
    subprocess.run(
        ["sh", "-c", 'nohup "$@" > /dev/null 2>&1 &', "sh", *arguments], env=environment(), check=True
    )
    wait_until(lambda: mounted(at_mic(root)))
    time.sleep(1.5)
    assert mounted(at_mic(root))
    subprocess.run(["fusermount3", "-u", at_mic(root)], check=True)
    wait_until(lambda: not list((root / "metadata").glob("at_mic_music*")))


@pytest.mark.slow
def test_a_daemon(root, generated, mounts, tmp_path):
    mounts.watch(at_mic(root))
    damaged = root / "audio/music/train" / SONGS[1] / "other.wav"
    damaged.write_bytes(b"not audio")
    done = run("mount", "--root", root, "--daemon", "--log-file", tmp_path / "log")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{len(SAMPLES)} samples mounted at {at_mic(root)}\n"
    time.sleep(1.2)  # longer than it takes to notice that a parent is gone
    assert tree(at_mic(root) / "train" / SAMPLES[0]) == _expected(generated)[SAMPLES[0]]
    with pytest.raises(OSError):
        (at_mic(root) / "train" / SAMPLES[3] / "other.wav").read_bytes()
    subprocess.run(["fusermount3", "-u", at_mic(root)], check=True)
    wait_until(lambda: not list((root / "metadata").glob("at_mic_music*")))
    assert (tmp_path / "log").read_text().count("\n") == 1
    refused = run("mount", "--root", root, root / "audio", "--daemon")
    assert refused.returncode == 2
    assert refused.stderr == f"cadrender: {root / 'audio'}: {NOT_EMPTY}\n"


@pytest.mark.slow
def test_somebody_else_unmounts_it(root, mounts):
    process = mounts.start(root)
    subprocess.run(["fusermount3", "-u", at_mic(root)], check=True)
    _, lines = process.communicate(timeout=30)
    assert (process.returncode, lines) == (0, "")


@pytest.mark.slow
def test_a_list_that_was_there_comes_back(root, mounts):
    listed = root / "metadata/at_mic_music.train.json"
    listed.write_text("{}")
    process = mounts.start(root)
    wait_until(lambda: sorted(json.loads(listed.read_text())) == sorted(SAMPLES))
    mounts.stop(process)
    assert listed.read_text() == "{}"


@pytest.mark.slow
def test_at_another_place_the_roots_list_is_left_alone(root, mounts, tmp_path):
    place = tmp_path / "here & there"
    process = mounts.start(root, place=place)
    assert names(place / "train") == sorted(SAMPLES)
    assert not (root / "metadata/at_mic_music.train.json").exists()
    mounts.stop(process)
    mounts.start(root, "--output-music-file", tmp_path / "list.json", place=place)
    wait_until((tmp_path / "list.json").exists)
    assert sorted(json.loads((tmp_path / "list.json").read_text())) == sorted(SAMPLES)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_from_python(root, generated, mounts):
    mounts.watch(at_mic(root))
    here, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
    lines: list[str] = []
    for _ in range(2):
        with Mount(trees_of([load_settings(root=root)]), say=lines.append) as mount:
            while_open = mount.mounted
            copied = subprocess.run(
                ["cat", *sorted(at_mic(root).rglob("*.wav"))], capture_output=True, check=True
            )
            assert (Path.cwd(), signal.getsignal(signal.SIGTERM)) == (here, handler)
        assert (while_open, mount.mounted) == (True, False)
        assert not mounted(at_mic(root))
        assert names(at_mic(root)) == []
    stored = b"".join(file.read_bytes() for file in sorted(at_mic(generated).rglob("*.wav")))
    assert copied.stdout == stored
    assert lines == []


@pytest.mark.parametrize(
    "wait", [0.01, *(pytest.param(wait, marks=pytest.mark.slow) for wait in (0, 0.03, 0.1))]
)
def test_a_signal_at_once(root, mounts, wait):
    process = mounts.start(root)
    time.sleep(wait)
    assert mounts.stop(process) == (0, [])
    assert not mounted(at_mic(root))
    assert not (root / "metadata/at_mic_music.train.json").exists()


# Refusals: one line, exit status 2

NOT_EMPTY = "not empty: mount at an empty folder, or generate what is missing there"


def refused(*arguments, **extra):
    """The standard error line of a failed mount."""
    done = run("mount", *arguments, **extra)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("cadrender: ")


@pytest.mark.slow
def test_a_second_mount(root, mounts):
    process = mounts.start(root)
    assert refused("--root", root) == f"{at_mic(root)}: something is mounted there already"
    assert mounts.stop(process) == (0, [])


@pytest.mark.slow
def test_two_at_the_same_time(root, mounts):
    mounts.watch(at_mic(root))
    both = [start("mount", "--root", root, "-q") for _ in range(2)]
    try:
        wait_until(lambda: any(each.poll() is not None for each in both), 60)
        (loser,) = [each for each in both if each.poll() is not None]
        assert loser.returncode == 2
        wait_until(lambda: mounted(at_mic(root)))
    finally:
        for each in both:
            each.terminate()
            each.communicate(timeout=30)
    assert sorted(each.returncode for each in both) == [0, 2]


def test_places_that_cannot_be_used(root, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    assert refused("--root", root, full) == f"{full}: {NOT_EMPTY}"
    assert refused("--root", root, full / "file") == (
        f"{full / 'file'}: not a folder: a mountpoint is an empty one"
    )
    below = full / "file" / "below"
    assert refused("--root", root, below) == f"{below}: cannot be used as a mountpoint: Not a directory"


def test_what_is_generated_already(generated):
    assert refused("--root", generated) == f"{at_mic(generated)}: {NOT_EMPTY}"


def test_flac(root):
    line = "a FLAC file's size is not known before it is encoded: mount with --format wav"
    assert refused("--root", root, "--format", "flac") == line


@pytest.mark.slow
def test_flac_as_recorded(root, mounts):
    made = run("generate", "--root", root, "--format", "flac", "-q", "-j", "1")
    assert made.returncode == 0, made.stderr
    shutil.rmtree(at_mic(root) / "train")
    assert "FLAC" in refused("--root", root)
    mounts.start(root, "--format", "wav")
    assert (at_mic(root) / "train" / SAMPLES[0] / "vocals.wav").stat().st_size


def test_sizes_of_the_cache(root):
    assert "'much' is not a size such as 512MB or 2GiB" in refused("--root", root, "--cache", "much")


def test_a_root_without_a_usable_hrir(root):
    hrir = root / "audio/hrtf" / POSITIONS[0].left_hrir
    hrir.unlink()
    assert refused("--root", root) == f"{hrir}: no such file (needed by head position hlp_0001)"


def test_without_mfusepy(root, tmp_path):
    (tmp_path / "mfusepy.py").write_text("raise ImportError('no such module')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    line = "mounting needs mfusepy: pip install 'cadrender[mount]'"
    assert refused("--root", root, PYTHONPATH=path) == line


def test_without_libfuse(root):
    line = refused("--root", root, FUSE_LIBRARY_PATH="/nowhere/libfuse3.so")
    assert line.startswith("mounting needs libfuse 3 (apt-get install fuse3")


# Limits


@pytest.mark.slow
def test_few_open_files_for_many_readers(root, mounts):
    """256 file descriptors for the mount, 2000 open files in its tree."""
    mounts.start(root, limit=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2200:
        pytest.skip(f"{hard} open files at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2200), hard))
    files = itertools.cycle(sorted(at_mic(root).rglob("*.wav")))
    opened = []
    try:
        opened += [next(files).open("rb", buffering=0) for _ in range(2000)]
        for k, file in enumerate(opened):
            file.seek(k * 37)
            assert len(file.read(100)) == 100
    finally:
        for file in opened:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limit_memory(megabytes):
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))


@pytest.mark.slow
def test_little_memory(root, generated, mounts):
    """The cache takes what is available, and no more."""
    process = mounts.start(root, "--cache", "100GB", limit=limit_memory(1600))
    assert tree(at_mic(root)) == tree(at_mic(generated))
    assert mounts.stop(process) == (0, [])


@pytest.mark.parametrize("megabytes", [300, *(pytest.param(n, marks=pytest.mark.slow) for n in (700, 1100))])
def test_too_little_memory(root, megabytes):
    process = subprocess.run(
        command("mount", "--root", root),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=limit_memory(megabytes),
    )
    assert process.returncode == 1
    assert process.stderr.startswith(f"cadrender: not enough memory to mount: the limit of {megabytes} MiB")
    assert process.stderr.count("\n") == 1
    assert not mounted(at_mic(root))
