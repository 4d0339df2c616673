import errno
import os
import subprocess
import sys

import pytest

from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.writing import back_up, holds, write_all, write_json, write_unless_different
from tests.roots import environment


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_byte_for_byte(tmp_path):
    file = tmp_path / "new" / "folder" / "x.json"
    write_json(file, '{\n    "é": 1\r\n}')
    assert file.read_bytes() == '{\n    "é": 1\r\n}'.encode()
    write_json(file, "{}")
    assert file.read_bytes() == b"{}"
    assert names(file.parent) == ["x.json"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    write_json(tmp_path / "x.json", "{}")
    assert (tmp_path / "x.json").stat().st_mode == ordinary.stat().st_mode


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "x.json").symlink_to(tmp_path / "target")
    write_json(tmp_path / "x.json", "{}")
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "x.json").is_symlink()


def test_failures_are_named_and_leave_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CadrenderError, match=r"file/x\.json") as caught:
        write_json(tmp_path / "file" / "x.json", "{}")
    assert caught.value.exit_status == 1
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(CadrenderError, match="folder: cannot write"):
        write_json(tmp_path / "folder", "{}")
    assert names(tmp_path) == ["file", "folder"]


def test_several_files_are_written_together_or_not_at_all(tmp_path):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert write_all({a: "1", b: "2"}, keep=True) == {}
    assert (a.read_text(), b.read_text()) == ("1", "2")
    blocked = tmp_path / "a.json" / "c.json"
    with pytest.raises(CadrenderError):
        write_all({a: "3", blocked: "4"}, keep=True)
    assert a.read_text() == "1"
    assert names(tmp_path) == ["a.json", "b.json"]
    assert write_all({a: "3", b: "4"}, keep=True) == {
        a: tmp_path / "a.json.1",
        b: tmp_path / "b.json.1",
    }
    assert (a.read_text(), (tmp_path / "a.json.1").read_text()) == ("3", "1")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    # A limit on the size of files is the same to the writer as a disk that fills up in the middle.
    file = tmp_path / "x.json"
    file.write_text("old")
    script = (
        "import resource, signal, sys; from pathlib import Path; from cadrender.metadata import writing\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: writing.write_json(Path(sys.argv[1]), 'x' * 1_000_000)\n"
        "except writing.CadrenderError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
    )
    assert os.strerror(errno.EFBIG) in run.stdout
    assert file.read_text() == "old"
    assert names(tmp_path) == ["x.json"]


def test_backups_are_numbered_and_never_overwritten(tmp_path):
    file = tmp_path / "x.json"
    assert back_up(file) is None
    for number in (1, 2, 3):
        file.write_text(f"version {number}")
        backup = back_up(file)
        assert backup == tmp_path / f"x.json.{number}"
        assert file.read_text() == f"version {number}"
        write_json(file, "newer")
    assert [(tmp_path / f"x.json.{n}").read_text() for n in (1, 2, 3)] == [
        "version 1",
        "version 2",
        "version 3",
    ]


def test_a_different_file_needs_force(tmp_path):
    file = tmp_path / "x.json"
    assert write_unless_different(file, '{"a": 30.0, "b": 1}') is True
    file.write_text('{"a":30.0,\n"b":1}\n')
    assert write_unless_different(file, '{"a": 30.0, "b": 1}') is False
    for present in ('{"a": 30, "b": 1}', '{"b": 1, "a": 30.0}', '{"a": 30.0}', "broken", "[" * 100_000):
        file.write_text(present)
        with pytest.raises(UsageError, match="--force"):
            write_unless_different(file, '{"a": 30.0, "b": 1}')
        assert file.read_text() == present
    assert write_unless_different(file, '{"a": 30.0, "b": 1}', force=True) is True
    assert file.read_text() == '{"a": 30.0, "b": 1}'


def test_holds_compares_bytes(tmp_path):
    file = tmp_path / "x.json"
    assert not holds(file, "{}")
    file.write_text("{}")
    assert holds(file, "{}")
    assert not holds(file, "{} ")
    assert not holds(tmp_path, "{}")


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    """Not what another process, or another machine's, is writing."""
    killed = (
        "import os, sys; from cadrender.metadata import writing; os.fsync = lambda _: os.kill(os.getpid(), 9)"
    )
    code = f"{killed}; writing.write_json(writing.Path(sys.argv[1]), '[]')"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.json"], env=environment())
    assert done.returncode == -9
    (left,) = names(tmp_path)
    machine, pid = left.split("-")[1:3]
    others = {left.replace(f"-{pid}-", f"-{os.getppid()}-"), left.replace(f"-{machine}-", "-another-")}
    for other in others:
        (tmp_path / other).touch()
    write_json(tmp_path / "y.json", "{}")
    assert set(names(tmp_path)) == {"y.json", *others}
