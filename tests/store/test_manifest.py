import json
import math
import multiprocessing
import os
import signal
import time

import pytest

from cadrender.errors import AudioError, CadrenderError
from cadrender.store.digest import digest_of
from cadrender.store.manifest import (
    Entry,
    Input,
    append_entries,
    compact,
    look_at_input,
    manifest_file,
    read_manifest,
    relative_name,
)


def entry(path="train/A-hlp_0001/mixture.wav", **changes):
    fields = {
        "path": path,
        "bytes": 44 + 4 * 100,
        "frames": 100,
        "digest": "ab" * 32,
        "before": -20.25,
        "after": -21.5,
        "gain": 1.1,
        "clipped": 3,
        "start": 0,
        "source": Input("train/A/mixture.wav", 444, 123456789012345678, "cd" * 32),
        "left_hrir": Input("l.wav", 10, 1, "01" * 32),
        "right_hrir": Input("r.wav", 20, 2, "02" * 32),
        "version": "1.2",
    }
    return Entry(**(fields | changes))


def test_its_name_comes_from_the_list(tmp_path):
    assert manifest_file(tmp_path / "at_mic_music.train.json").name == "at_mic_music.train.manifest.jsonl"
    assert manifest_file(tmp_path / "mine").name == "mine.manifest.jsonl"


def test_what_is_appended_is_read(tmp_path):
    file = tmp_path / "m.jsonl"
    silent = entry("train/Ñ/b.wav", before=-math.inf, after=-math.inf, gain=0.0)
    append_entries(file, [entry()])
    append_entries(file, [silent])
    assert read_manifest(file) == {entry().path: entry(), silent.path: silent}
    for line in file.read_text().splitlines():
        assert set(json.loads(line)) >= {"path", "bytes", "frames", "blake3", "source", "hrirs", "cadrender"}


def test_the_last_line_of_a_path_counts(tmp_path):
    file = tmp_path / "m.jsonl"
    append_entries(file, [entry(gain=1.0), entry("other"), entry(gain=2.0)])
    assert read_manifest(file)[entry().path].gain == 2.0


def test_a_missing_manifest_holds_nothing(tmp_path):
    assert read_manifest(tmp_path / "none.jsonl") == {}


def test_an_unreadable_manifest_is_named(tmp_path):
    with pytest.raises(CadrenderError, match=str(tmp_path)):
        read_manifest(tmp_path)


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_torn_line_is_ignored_and_closed_off(tmp_path, cut):
    file = tmp_path / "m.jsonl"
    append_entries(file, [entry("one"), entry("two")])
    os.truncate(file, file.stat().st_size - cut)
    # Without its newline alone the line is whole.
    assert set(read_manifest(file)) == ({"one", "two"} if cut == 1 else {"one"})
    append_entries(file, [entry("three")])
    assert set(read_manifest(file)) >= {"one", "three"}
    assert len(file.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'{"path": "x"}',
        b"[" * 100_000,
        b'{"path": 1' + b"0" * 5000 + b"}",
        json.dumps({"path": 5}).encode(),
    ],
)
def test_a_foreign_line_is_left_out(tmp_path, line):
    file = tmp_path / "m.jsonl"
    append_entries(file, [entry("one")])
    file.write_bytes(line + b"\n" + file.read_bytes() + line + b"\n")
    assert set(read_manifest(file)) == {"one"}


@pytest.mark.parametrize("key", ["path", "bytes", "frames", "blake3", "gain", "source", "hrirs", "cadrender"])
@pytest.mark.parametrize("value", [None, True, [], {}, -1.5, [[], []]])
def test_a_line_with_a_field_of_another_type_is_left_out(tmp_path, key, value):
    if key == "gain" and value == -1.5:
        pytest.skip("a float is what belongs there")
    file = tmp_path / "m.jsonl"
    append_entries(file, [entry()])
    fields = json.loads(file.read_text()) | {key: value}
    file.write_text(json.dumps(fields) + "\n")
    assert read_manifest(file) == {}


def _append_many(file, writer, count):
    for number in range(count):
        append_entries(file, [entry(f"{writer}/{number}/{k}") for k in range(3)])


def test_many_processes_append_and_compact_at_once(tmp_path):
    file = tmp_path / "m.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(file, name, 60)) for name in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if file.exists():
            append_entries(file, [entry("again")] * 200)
            compact(file)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = set(read_manifest(file)) - {"again"}
    assert found == {f"{name}/{number}/{k}" for name in range(3) for number in range(60) for k in range(3)}


def test_a_killed_writer_leaves_whole_lines(tmp_path):
    file = tmp_path / "m.jsonl"
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=_append_many, args=(file, "killed", 100_000))
    writer.start()
    while not file.exists() or file.stat().st_size < 100_000:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    append_entries(file, [entry("after")])  # the dead process's lock is gone
    entries = read_manifest(file)
    assert "after" in entries
    assert len(file.read_bytes().splitlines()) - len(entries) <= 1


def test_compacting_keeps_what_counts(tmp_path):
    file = tmp_path / "m.jsonl"
    append_entries(file, [entry("one", gain=float(k)) for k in range(5)])
    append_entries(file, [entry("two")])
    before = read_manifest(file)
    assert compact(file)
    assert read_manifest(file) == before
    assert before["one"].gain == 4.0
    assert len(file.read_text().splitlines()) == 2
    assert not compact(file)


def test_it_is_never_written_through_a_symbolic_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "m.jsonl").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"m\.jsonl"):
        append_entries(tmp_path / "m.jsonl", [entry()])
    assert elsewhere.read_text() == "precious"


def test_digest_reads_every_byte(tmp_path):
    file = tmp_path / "f"
    content = bytearray(os.urandom(3_000_001))
    file.write_bytes(content)
    read = []
    first = digest_of(file, read.append)
    assert sum(read) == len(content)
    for place in (0, 1_048_576, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert digest_of(file) != first


def test_an_input_is_named_relative_to_its_folder(tmp_path):
    file = tmp_path / "a" / "b.wav"
    file.parent.mkdir()
    file.write_bytes(b"abc")
    seen = look_at_input(file, tmp_path)
    assert (seen.path, seen.bytes, seen.mtime_ns) == ("a/b.wav", 3, file.stat().st_mtime_ns)
    assert relative_name(file, tmp_path / "other") == file.as_posix()


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"x\.wav: no such file"):
        look_at_input(tmp_path / "x.wav", tmp_path)


def test_an_input_that_changes_meanwhile_is_refused(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(bytes(5_000_000))

    def change(count):
        file.write_bytes(b"less")

    with pytest.raises(AudioError, match=r"a\.wav: changed while it was being read"):
        look_at_input(file, tmp_path, advance=change)
