"""System errors at the n-th call, injected by strace.

Each gives one clear line, leaves nothing wrong in place, and the next run completes. Calls are counted, and fail, only
if they touch the root's own files and folders; Python's own start-up is left alone.
"""

import functools
import random
import re
import resource
import shutil
import subprocess
from collections import Counter

import pytest

from tests.faults.works import prepare
from tests.roots import command, environment, run, tree

pytestmark = pytest.mark.faults

# What is injected: calls counted together, and their errors.
FAULTS = {
    "write": ("write,pwrite64", ("EIO", "ENOSPC", "EDQUOT", "EINTR")),
    "nothing written": ("write", ("retval=0",)),
    "rename": ("rename,renameat,renameat2", ("EIO", "ENOSPC", "EDQUOT")),
    "sync": ("fsync,fdatasync,syncfs", ("EIO", "ENOSPC", "EDQUOT")),
    "flock": ("flock", ("ENOLCK", "EIO", "EINTR")),
    "ftruncate": ("ftruncate", ("EIO",)),
    "close": ("close", ("EIO", "ENOSPC", "EDQUOT")),
    "open": ("openat,open", ("EMFILE", "ENFILE", "EIO", "EACCES")),
    "unlink": ("unlink,unlinkat", ("EIO",)),
    "stat": ("newfstatat,stat,lstat,statx,fstat", ("EIO", "EACCES")),
    "read": ("read,pread64,preadv", ("EIO", "EINTR")),
    "seek": ("lseek", ("EIO",)),
    "mkdir": ("mkdir,mkdirat", ("EIO", "ENOSPC", "EDQUOT")),
    "mmap": ("mmap", ("ENOMEM", "ENODEV")),
}
COMMANDS = ("generate", "generate --remix", "remix", "excerpts", "ingest", "index", "verify --repair")
# A command's undisturbed result is made once, by the test process that has all of its tests.
IN_ONE_PROCESS = {of: pytest.mark.xdist_group(f"errors {of}") for of in COMMANDS}
MOMENTS = 6  # per error, in the long form


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode:
        pytest.skip("processes cannot be traced here")
    return functools.cache(lambda name: prepare(name, tmp_path_factory.mktemp("errors"), jobs=1).prepare())


@pytest.fixture(scope="module")
def counts(works, tmp_path_factory):
    return functools.cache(lambda name: count_calls(works(name), tmp_path_factory.mktemp("calls") / "log"))


def paths(work):
    """Everything a run may touch, temporary names included."""
    found = {work.root}
    for name in {*work.sources, *work.expected}:
        file = work.root / name
        found |= {file, file.with_name(f".{file.name}.part"), file.parent}
        if file.name.startswith(("at_mic_music", "remix", "excerpts")):
            found.add(file.with_name(f"{file.name.removesuffix('.json')}.manifest.jsonl"))
    return [argument for path in sorted(found) for argument in ("-P", path)]


def traced(work, *options, log="/dev/null"):
    everything = ("strace", "-f", "-o", log, *options, *paths(work), *command(*work.arguments))
    return subprocess.run(
        [*map(str, everything)], env=environment(), capture_output=True, text=True, timeout=300
    )


def count_calls(work, log):
    """Number of calls of each name in an undisturbed run."""
    work.empty()
    done = traced(work, "-e", "trace=" + ",".join(calls for calls, _ in FAULTS.values()), log=log)
    assert done.returncode == 0, done.stderr
    return Counter(re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE))


def right_so_far(work):
    """Every file in its place is correct; lists and levels may be incomplete."""
    for name, content in tree(work.root).items():
        if name in work.expected and name.endswith((".wav", ".flac")) and name not in work.damage:
            assert content == work.expected[name], name


def inject(work, calls, error, number):
    work.empty()
    what = error if "=" in error else f"error={error}"
    done = traced(work, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}:when={number}")
    told = f"{calls} {error} at {number}: {done.returncode} {done.stderr}"
    assert done.returncode in (0, 1, 2), told
    assert "Traceback" not in done.stderr, told
    if done.returncode:
        lines = [
            line
            for line in (done.stderr + done.stdout).splitlines()
            if line.startswith(("cadrender: ", "failed: "))
        ]
        assert lines or "problem" in done.stderr or re.search(r"[1-9]\d* failed", done.stdout), told
    try:
        right_so_far(work)
        again = run(*work.arguments)
        assert again.returncode == 0, again.stderr
        if done.returncode:  # excerpts without the song that failed were followed by those with it
            work.remove_backups()
        work.check()
    except AssertionError as problem:
        raise AssertionError(told) from problem


def inject_often(work, counts, name, moments, seed):
    calls, errors = FAULTS[name]
    rng = random.Random(f"{name} {seed}")
    count = sum(counts[call] for call in calls.split(","))
    if not count:
        pytest.skip("it makes no such calls on the root's files")
    for error in errors if moments > 1 else (rng.choice(errors),):
        for number in sorted(rng.sample(range(1, count + 1), min(moments, count))):
            inject(work, calls, error, number)


@IN_ONE_PROCESS["generate"]
@pytest.mark.parametrize("name", FAULTS)
def test_an_error(works, counts, name):
    inject_often(works("generate"), counts("generate"), name, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("of", [pytest.param(of, marks=mark) for of, mark in IN_ONE_PROCESS.items()])
def test_many_errors(works, counts, of, name):
    inject_often(works(of), counts(of), name, MOMENTS, 2)


@IN_ONE_PROCESS["generate"]
@pytest.mark.parametrize("kilobytes", [1, 40, 200, 300])
def test_writes_that_fall_short(works, kilobytes):
    """A file size limit cuts a write short and fails the next one."""
    work = works("generate")
    work.empty()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(*work.arguments), env=environment(), capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    right_so_far(work)
    assert run(*work.arguments).returncode == 0
    work.check()
