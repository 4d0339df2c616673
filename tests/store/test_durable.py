"""Making files durable where the system has no syncfs, and telling boots and mounts apart."""

import errno
import os
import sys

import pytest

from cadrender.errors import CadrenderError
from cadrender.store import durable
from cadrender.store.durable import Disks, sync_files, this_mount


@pytest.fixture
def files(tmp_path):
    names = ("one/a", "one/b", "other/c")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return [tmp_path / name for name in names]


@pytest.fixture
def synced(monkeypatch):
    """The paths given to fsync, of which the real one is called too; there is no syncfs."""
    found, fsync = [], os.fsync

    def record(descriptor):
        fsync(descriptor)
        found.append(os.path.realpath(f"/dev/fd/{descriptor}"))

    monkeypatch.setattr(durable, "_from_libc", lambda name: None)
    monkeypatch.setattr(os, "fsync", record)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere fsync is not what makes files durable")
def test_without_syncfs_each_file_and_folder_is_synced(files, synced):
    sync_files(files)
    assert sorted(synced) == sorted(map(str, {*files, *(file.parent for file in files)}))


def test_a_file_that_is_gone_is_no_error(files, synced):
    files[0].unlink()
    with Disks() as disks:
        disks.open({file.parent for file in files})
        disks.sync(files)
    assert not any(path.endswith("one/a") for path in synced)


@pytest.mark.parametrize("has_syncfs", [False, True])
def test_a_write_that_failed_is_an_error_that_names_the_place(files, monkeypatch, has_syncfs):
    def failing(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "_from_libc", lambda name: failing if has_syncfs else None)
    monkeypatch.setattr(durable, "sync_descriptor", failing)
    with pytest.raises(CadrenderError, match=r"cannot be made durable: Input/output error"):
        sync_files(files)


def test_a_mount_is_known_by_boot_and_number(tmp_path, monkeypatch):
    here = this_mount(tmp_path)
    assert here and here == this_mount(tmp_path)
    monkeypatch.setattr(durable, "_this_boot", lambda: b"another")
    elsewhere = this_mount(tmp_path)
    assert elsewhere not in ("", here)
    monkeypatch.setattr(durable, "mount_number", lambda folder: 987654321)
    assert this_mount(tmp_path) not in ("", here, elsewhere)
    monkeypatch.setattr(durable, "_this_boot", lambda: b"")
    assert this_mount(tmp_path) == ""


def test_a_folder_that_is_missing_has_no_mount(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_from_libc", lambda name: None)
    assert this_mount(tmp_path / "missing") == ""
