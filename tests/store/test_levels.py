"""The book of levels: found by content, shared by processes, and never believed where it is damaged."""

import hashlib
import json
import math
import subprocess
import sys
import threading

import pytest

from cadrender.errors import AudioError, CadrenderError
from cadrender.store.levels import FORMAT, NAME, LevelBook, LevelFiles, head_key
from cadrender.store.manifest import Input
from tests.roots import environment

ONE, OTHER = head_key("a" * 64, "b" * 64), head_key("c" * 64, "d" * 64)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr("cadrender.store.levels.cache_directory", lambda: tmp_path / "cache")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "song.wav").write_bytes(b"a song")
    return LevelFiles(tmp_path / "metadata", tmp_path)


def known(book, files, head=ONE):
    return book.level(book.look_at(files.base / "song.wav"), head)


def test_what_was_added_is_known_to_all(files):
    book = LevelBook(files)
    assert known(book, files) is None
    source = book.look_at(files.base / "song.wav")
    book.add(source, -20.5, {ONE: -22.25, OTHER: -math.inf})
    assert known(book, files) == known(LevelBook(files), files) == (-20.5, -22.25)
    assert known(LevelBook(files), files, OTHER) == (-20.5, -math.inf)
    assert book.missing(source, [ONE, OTHER, "new"]) == ["new"]


def test_a_book_that_is_open_sees_what_another_process_adds(files):
    book = LevelBook(files)
    assert known(book, files) is None
    code = f"""
from pathlib import Path
from cadrender.store.levels import LevelBook, LevelFiles
book = LevelBook(LevelFiles(Path({str(files.folder)!r}), Path({str(files.base)!r})))
book.add(book.look_at(Path({str(files.base / "song.wav")!r})), -1.5, {{{ONE!r}: -2.5}})
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    assert known(book, files) == (-1.5, -2.5)


def test_a_changed_source_is_another_one_and_a_moved_one_the_same(files):
    book = LevelBook(files)
    book.add(book.look_at(files.base / "song.wav"), -1.0, {ONE: -2.0})
    moved = (files.base / "song.wav").rename(files.base / "moved.wav")
    assert book.level(book.look_at(moved), ONE) == (-1.0, -2.0)
    moved.write_bytes(b"another song")
    assert book.level(book.look_at(moved), ONE) is None
    assert book.known_source(files.base / "gone.wav") is None


def test_a_source_that_changes_meanwhile(files):
    status = (files.base / "song.wav").stat()
    with pytest.raises(AudioError, match=r"song\.wav: changed while it was being read"):
        LevelBook(files).look_at(files.base / "song.wav", (status.st_size + 1, status.st_mtime_ns))


def with_digest(line):
    """The line with a digest that fits."""
    rest = b"{" + line[line.index(b", ") + 2 :].rstrip(b"\n")
    return b'{"digest": "%s", %s\n' % (hashlib.md5(rest).hexdigest()[:16].encode(), rest[1:])


DAMAGES = {
    "a torn last line": lambda data: data[:-30],
    "zeros": lambda data: b"\0" * len(data),
    "not JSON": lambda data: b"levels!\n" + data.replace(b'"before"', b'"before', 1),
    "another version": lambda data: with_digest(
        data.replace(f'"levels": {FORMAT}'.encode(), b'"levels": 999')
    ),
    "a level that is no number": lambda data: with_digest(data.replace(b"-2.5", b'"loud"')),
    "another level": lambda data: data.replace(b"-2.5", b"-3.5"),
    "another stem": lambda data: data.replace(b"-1.5", b"-1.25"),
    "another digest": lambda data: data.replace(data[12:28], b"0123456789abcdef"),
    "no digest": lambda data: b"{" + data[data.index(b'"levels"') :],
    "a list": lambda data: b"[]\n",
    "nested without end": lambda data: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_measured_again(files, damage):
    book = LevelBook(files)
    source = book.look_at(files.base / "song.wav")
    book.add(source, -1.5, {ONE: -2.5})
    place = files.folder / NAME
    assert with_digest(place.read_bytes()) == place.read_bytes()
    place.write_bytes(DAMAGES[damage](place.read_bytes()))
    book = LevelBook(files)
    assert known(book, files) is None
    book.add(source, -1.5, {ONE: -3.5})
    assert known(LevelBook(files), files) == (-1.5, -3.5)


def test_a_replaced_file_is_read_anew(files):
    book = LevelBook(files)
    source = book.look_at(files.base / "song.wav")
    book.add(source, -1.5, {ONE: -2.5})
    book.refresh()
    place = files.folder / NAME
    line = with_digest(place.read_bytes().replace(ONE.encode(), OTHER.encode()))
    place.unlink()
    place.write_bytes(line)
    assert known(book, files, OTHER) == (-1.5, -2.5)


def test_where_the_metadata_cannot_be_written(files):
    """A folder in the file's place fails for root, too, as a read-only disk does."""
    (files.folder / NAME).mkdir()
    book = LevelBook(files)
    place = book.add(book.look_at(files.base / "song.wav"), -1.5, {ONE: -2.5})
    assert list((files.base / "cache/levels").iterdir()) == [place]
    assert known(LevelBook(files), files) == (-1.5, -2.5)


def test_where_nothing_can_be_written(files):
    (files.folder / NAME).mkdir()
    (files.base / "cache").mkdir(mode=0o700)
    (files.base / "cache/levels").write_text("a file in the folder's place")
    book = LevelBook(files)
    with pytest.raises(CadrenderError, match=r"levels\.jsonl: cannot be written: .*cannot be written"):
        book.add(book.look_at(files.base / "song.wav"), -1.5, {ONE: -2.5})
    assert known(book, files) == (-1.5, -2.5)  # in memory
    assert known(LevelBook(files), files) is None


def test_many_threads_add_at_once(files):
    book = LevelBook(files)
    source = book.look_at(files.base / "song.wav")
    heads = [head_key(f"{k:016d}", "x" * 16) for k in range(64)]

    def add(some):
        for head in some:
            book.add(source, -1.0, {head: -2.0})

    threads = [threading.Thread(target=add, args=(heads[k::4],)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert LevelBook(files).missing(source, heads) == heads  # nothing is read before it is asked for
    fresh = LevelBook(files)
    fresh.refresh()
    assert fresh.missing(source, heads) == []
    assert all(json.loads(line) for line in (files.folder / NAME).read_text().splitlines())


def test_an_input_without_a_level(files):
    nowhere = Input("song.wav", 1, 1, "e" * 64)
    assert LevelBook(files).level(nowhere, ONE) is None
