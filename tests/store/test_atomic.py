import os
import signal
import subprocess
import sys

import pytest

from cadrender.store import AtomicFile, ClaimedError, atomic, is_claimed, remove_leftovers
from cadrender.store.atomic import temporary_name
from tests.roots import environment

# Another process that writes a file, says so, and waits to be told how to end.
WRITE = """
import sys
from pathlib import Path
from cadrender.store import atomic, AtomicFile
with AtomicFile(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    print("writing", flush=True)
    if sys.stdin.readline() == "commit\\n":
        file.commit()
"""


@pytest.fixture
def place(tmp_path):
    return tmp_path / "vocals.wav"


@pytest.fixture
def elsewhere(place):
    """Another process that is writing the file at `place`."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(place)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    assert process.stdout.readline() == "writing\n"
    yield process
    if process.poll() is None:
        process.communicate("")
    process.stdin.close()
    process.stdout.close()


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_nothing_is_in_place_before_the_end(place):
    place.write_bytes(b"old")
    with AtomicFile(place) as file:
        file.write(b"new ")
        file.write(b"content")
        assert place.read_bytes() == b"old"
        file.commit()
    assert place.read_bytes() == b"new content"
    assert names(place.parent) == ["vocals.wav"]


def test_without_commit_nothing_happens(place):
    with AtomicFile(place) as file:
        file.write(b"content")
    assert names(place.parent) == []


def test_exception_leaves_the_old_file(place):
    place.write_bytes(b"old")
    with pytest.raises(RuntimeError), AtomicFile(place) as file:
        file.write(b"new")
        raise RuntimeError
    assert place.read_bytes() == b"old"
    assert names(place.parent) == ["vocals.wav"]


def test_mode_is_that_of_an_ordinary_file(place):
    (place.parent / "ordinary").touch()
    with AtomicFile(place) as file:
        file.commit()
    assert place.stat().st_mode == (place.parent / "ordinary").stat().st_mode


def test_large_write_is_written_whole(place):
    content = os.urandom(5_000_000)
    with AtomicFile(place) as file:
        file.write(content)
        file.commit()
    assert place.read_bytes() == content


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        AtomicFile(tmp_path / "no" / "vocals.wav")


def test_link_is_replaced_and_not_followed(place):
    other = place.parent / "other"
    other.write_bytes(b"precious")
    place.symlink_to(other)
    with AtomicFile(place) as file:
        file.write(b"content")
        file.commit()
    assert other.read_bytes() == b"precious"
    assert not place.is_symlink()
    assert place.read_bytes() == b"content"


def test_link_under_the_temporary_name_is_not_followed(place):
    other = place.parent / "other"
    other.write_bytes(b"precious")
    temporary_name(place).symlink_to(other)
    with pytest.raises(OSError):
        AtomicFile(place)
    remove_leftovers(place.parent)
    assert other.read_bytes() == b"precious"


def test_claimed_by_another_process(place, elsewhere):
    assert is_claimed(place)
    with pytest.raises(ClaimedError, match=r"vocals\.wav: another process is writing it"):
        AtomicFile(place)
    elsewhere.communicate("commit\n")
    assert not is_claimed(place)
    assert place.read_bytes() == b"half of it"
    with AtomicFile(place) as file:
        file.write(b"mine")
        file.commit()
    assert place.read_bytes() == b"mine"


def test_claim_ends_when_the_other_gives_up(place, elsewhere):
    elsewhere.communicate("give up\n")
    assert names(place.parent) == []
    AtomicFile(place).__exit__()


def test_second_claim_in_one_process(place):
    with AtomicFile(place) as file:
        with pytest.raises(ClaimedError):
            AtomicFile(place)
        file.write(b"first")
        file.commit()
    assert place.read_bytes() == b"first"


def test_nobody_claims_what_is_not_there(place):
    assert not is_claimed(place)
    place.write_bytes(b"whole")
    assert not is_claimed(place)
    assert names(place.parent) == ["vocals.wav"]


def test_killed_process_leaves_no_claim(place, elsewhere):
    elsewhere.send_signal(signal.SIGKILL)
    elsewhere.wait()
    assert temporary_name(place).read_bytes() == b"half of it"
    assert not place.exists()
    assert not is_claimed(place)
    with AtomicFile(place) as file:
        file.write(b"all")
        file.commit()
    assert place.read_bytes() == b"all"
    assert names(place.parent) == ["vocals.wav"]


def test_leftovers_of_a_killed_process_are_removed(place, elsewhere):
    elsewhere.send_signal(signal.SIGKILL)
    elsewhere.wait()
    place.write_bytes(b"old")
    assert remove_leftovers(place.parent) == 1
    assert names(place.parent) == ["vocals.wav"]


def test_what_is_being_written_is_no_leftover(place, elsewhere):
    assert remove_leftovers(place.parent) == 0
    elsewhere.communicate("commit\n")
    assert place.read_bytes() == b"half of it"


def test_only_temporary_files_are_leftovers(tmp_path):
    for name in ("vocals.wav", ".hidden", "x.part", ".vocals.wav.part"):
        (tmp_path / name).touch()
    (tmp_path / ".folder.part").mkdir()
    assert remove_leftovers(tmp_path) == 1
    assert names(tmp_path) == [".folder.part", ".hidden", "vocals.wav", "x.part"]
    assert remove_leftovers(tmp_path / "missing") == 0


def test_removing_leftovers_never_hits_a_later_writer(place, monkeypatch):
    """Between its opening and its locking a temporary file is moved into place, and another one begun."""
    writers = [AtomicFile(place)]
    lock = atomic._lock

    def lock_late(descriptor, *arguments):
        monkeypatch.undo()
        writers[0].commit()
        writers.append(AtomicFile(place))
        return lock(descriptor, *arguments)

    monkeypatch.setattr(atomic, "_lock", lock_late)
    assert remove_leftovers(place.parent) == 0
    writers[1].write(b"second")
    writers[1].commit()
    assert place.read_bytes() == b"second"


def test_claiming_what_is_committed_just_now(place, monkeypatch):
    """Between its opening and its locking the temporary file is moved into place: a new one is begun."""
    first = AtomicFile(place)
    first.write(b"first")
    lock = atomic._lock

    def lock_late(descriptor, *arguments):
        monkeypatch.undo()
        first.commit()
        return lock(descriptor, *arguments)

    monkeypatch.setattr(atomic, "_lock", lock_late)
    with AtomicFile(place):
        assert place.read_bytes() == b"first"
        assert temporary_name(place).stat().st_ino != place.stat().st_ino
    assert place.read_bytes() == b"first"
