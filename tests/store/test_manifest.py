import json
import math
import multiprocessing
import os
import signal
from pathlib import PurePosixPath

import pytest

from cadrender.errors import AudioError, CadrenderError, UsageError
from cadrender.store.digest import digest_of
from cadrender.store.manifest import Input, Manifest, Record, key_of, relative_name
from tests.processes import wait_for


def record(path="train/A-hlp_0001/mixture.wav", **changes):
    fields = {
        "product": "at-mic",
        "path": path,
        "parameters": {},
        "inputs": {
            "source": Input("audio/music/train/A/mixture.wav", 444, 123456789012345678, "cd" * 32),
            "left_hrir": Input("l.wav", 10, 1, "01" * 32),
            "right_hrir": Input("r.wav", 20, 2, "02" * 32),
        },
        "container": "wav",
        "subtype": "PCM_16",
        "samplerate": 44100,
        "frames": 100,
        "bytes": 44 + 4 * 100,
        "digest": "ab" * 32,
        "levels": {"loudness_before": -20.25, "loudness_after": -21.5, "gain": 1.1, "clipped": 3},
        "version": "1.2",
        "id": "0123456789",
        "mount": "fedcba9876543210",
        "mtime_ns": 123456789012345679,
    }
    return Record(**(fields | changes))


def in_folder(folder):
    return Manifest(folder / "m.jsonl", folder)


def paths(manifest):
    return {each.path for each in manifest.read().values()}


def test_its_name_comes_from_the_list(tmp_path):
    made = Manifest.beside(tmp_path / "at_mic_music.train.json", tmp_path)
    assert (made.file.name, made.base) == ("at_mic_music.train.manifest.jsonl", tmp_path)
    assert Manifest.beside(tmp_path / "mine", tmp_path).file.name == "mine.manifest.jsonl"


def test_what_is_appended_is_read(tmp_path):
    manifest = in_folder(tmp_path)
    levels = {"loudness_before": -math.inf, "loudness_after": -math.inf, "gain": 0.0, "clipped": 0}
    silent = record("train/Ñ/b.wav", levels=levels)
    # A target of which one stem was stored and another one rendered on the way.
    target = record(
        "train/scene_1.flac",
        product="target",
        parameters={"scene": "scene_1", "gains_db": {"vocals": 6, "bass": -1.5}},
        inputs={"bass": Input("b.wav", 1, 2, ""), "vocals": dict(record().inputs)},
        container="flac",
        subtype="PCM_24",
        durable=True,
    )
    manifest.append([record()])
    manifest.append([silent, target])
    assert manifest.read() == {
        ("at-mic", "train/A-hlp_0001/mixture"): record(),
        ("at-mic", "train/Ñ/b"): silent,
        ("target", "train/scene_1"): target,
    }
    for line in manifest.file.read_text().splitlines():
        assert set(json.loads(line)) >= {
            *("product", "path", "parameters", "inputs", "container", "subtype", "samplerate", "frames"),
            *("bytes", "blake3", "levels", "cadrender", "id", "mount", "mtime_ns"),
        }


def test_the_last_line_of_a_file_counts_whatever_its_container(tmp_path):
    manifest = in_folder(tmp_path)
    manifest.append([record("a/b.wav", id="1"), record("other"), record("a/b.flac", id="2")])
    assert {key: each.id for key, each in manifest.read().items() if key[1] == "a/b"} == {
        ("at-mic", "a/b"): "2"
    }
    assert key_of("at-mic", "a.b/c.wav") == ("at-mic", "a.b/c")
    assert key_of("target", "a.b/c") == ("target", "a.b/c")


def test_products_of_one_path_are_told_apart(tmp_path):
    manifest = in_folder(tmp_path)
    manifest.append([record("a/b.wav"), record("a/b.wav", product="excerpt")])
    assert set(manifest.read()) == {("at-mic", "a/b"), ("excerpt", "a/b")}


def test_a_missing_manifest_holds_nothing(tmp_path):
    assert in_folder(tmp_path).read() == {}


def test_an_unreadable_manifest_is_named(tmp_path):
    with pytest.raises(CadrenderError, match=str(tmp_path)):
        Manifest(tmp_path, tmp_path).read()


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_torn_line_is_ignored_and_closed_off(tmp_path, cut):
    manifest = in_folder(tmp_path)
    manifest.append([record("one"), record("two")])
    os.truncate(manifest.file, manifest.file.stat().st_size - cut)
    # Without its newline alone the line is whole.
    assert paths(manifest) == ({"one", "two"} if cut == 1 else {"one"})
    manifest.append([record("three")])
    assert paths(manifest) >= {"one", "three"}
    assert len(manifest.file.read_bytes().splitlines()) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b'{"path": "x"}',
        b'{"path": "x", "blake3": "y"}',
        b"[" * 100_000,
        b'{"path": 1' + b"0" * 5000 + b"}",
        json.dumps({"path": 5}).encode(),
    ],
)
def test_a_foreign_line_is_left_out(tmp_path, line):
    manifest = in_folder(tmp_path)
    manifest.append([record("one")])
    manifest.file.write_bytes(line + b"\n" + manifest.file.read_bytes() + line + b"\n")
    assert paths(manifest) == {"one"}


@pytest.mark.parametrize(
    "key",
    [
        *("product", "path", "parameters", "inputs", "container", "subtype", "samplerate", "frames", "bytes"),
        *("blake3", "levels", "cadrender", "id", "mount", "mtime_ns"),
    ],
)
@pytest.mark.parametrize("value", [None, True, [], {}, -1.5, [[], []], {"gain": []}, {"gain": True}])
def test_a_line_with_a_field_of_another_type_is_left_out(tmp_path, key, value):
    if (key in ("parameters", "inputs", "levels") and value == {}) or (key, type(value)) == (
        "parameters",
        dict,
    ):
        pytest.skip("that is what belongs there")
    manifest = in_folder(tmp_path)
    manifest.append([record()])
    fields = json.loads(manifest.file.read_text()) | {key: value}
    manifest.file.write_text(json.dumps(fields) + "\n")
    assert manifest.read() == {}


@pytest.mark.parametrize(
    "change", [{"container": "aiff"}, {"subtype": "PBM_16"}, {"container": "flac", "subtype": "FLOAT"}]
)
def test_a_line_of_a_format_that_is_never_written_is_left_out(tmp_path, change):
    manifest = in_folder(tmp_path)
    manifest.append([record(**change)])
    assert manifest.read() == {}


@pytest.mark.parametrize("key", ["path", "bytes", "mtime_ns", "blake3"])
@pytest.mark.parametrize("value", [None, True, [], {}, -1.5])
def test_a_line_with_an_input_of_another_form_is_left_out(tmp_path, key, value):
    manifest = in_folder(tmp_path)
    manifest.append([record()])
    fields = json.loads(manifest.file.read_text())
    fields["inputs"]["source"][key] = value
    manifest.file.write_text(json.dumps(fields) + "\n")
    assert manifest.read() == {}


def test_a_manifest_of_an_unreleased_version_is_refused_in_one_line(tmp_path):
    manifest = in_folder(tmp_path)
    old = {
        **{"path": "train/A-hlp_0001/mixture.wav", "bytes": 444, "frames": 100, "blake3": "ab" * 32},
        **{"loudness_before": -20.25, "loudness_after": -21.5, "gain": 1.1, "clipped": 3, "start": 0},
        "source": {"path": "train/A/mixture.wav", "bytes": 444, "mtime_ns": 1, "blake3": "cd" * 32},
        "hrirs": [{"path": "l.wav", "bytes": 10, "mtime_ns": 1, "blake3": "01" * 32}] * 2,
        "cadrender": "0.1.0",
    }
    manifest.file.write_text(json.dumps(old) + "\n")
    with pytest.raises(
        UsageError, match=r"m\.jsonl: written by an unreleased version .*; delete it"
    ) as error:
        manifest.read()
    assert "\n" not in str(error.value)


def _append_many(folder, writer, count):
    for number in range(count):
        in_folder(folder).append([record(f"{writer}/{number}/{k}") for k in range(3)])


def test_many_processes_append_and_compact_at_once(tmp_path):
    manifest = in_folder(tmp_path)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append_many, args=(tmp_path, name, 60)) for name in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if manifest.file.exists():
            manifest.append([record("again")] * 200)
            manifest.compact()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = paths(manifest) - {"again"}
    assert found == {f"{name}/{number}/{k}" for name in range(3) for number in range(60) for k in range(3)}


def test_a_killed_writer_leaves_whole_lines(tmp_path):
    manifest = in_folder(tmp_path)
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=_append_many, args=(tmp_path, "killed", 100_000))
    writer.start()
    wait_for(
        lambda: not writer.is_alive() or (manifest.file.exists() and manifest.file.stat().st_size > 100_000)
    )
    assert writer.is_alive() and writer.pid
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    manifest.append([record("after")])  # the dead process's lock is gone
    found = paths(manifest)
    assert "after" in found
    assert len(manifest.file.read_bytes().splitlines()) - len(found) <= 1


def test_compacting_keeps_what_counts(tmp_path):
    manifest = in_folder(tmp_path)
    manifest.append([record("one", id=str(k)) for k in range(60)])
    manifest.append([record("two", id="two")])
    manifest.mark_durable(["two"])
    run = manifest.begin_run("a mount", ["59"])
    before = manifest.load()
    assert manifest.compact()
    after = manifest.load()
    assert after == before
    assert after.records["at-mic", "one"].id == "59"
    assert [each.durable for each in after.records.values()] == [False, True]
    assert list(after.unfinished) == [run]
    assert len(manifest.file.read_text().splitlines()) == 3
    assert not manifest.compact()


def test_it_is_never_written_through_a_symbolic_link(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "m.jsonl").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"m\.jsonl"):
        in_folder(tmp_path).append([record()])
    assert elsewhere.read_text() == "precious"


def test_digest_reads_every_byte(tmp_path):
    file = tmp_path / "f"
    content = bytearray(os.urandom(3_000_001))
    file.write_bytes(content)
    read: list[int] = []
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
    seen = in_folder(tmp_path).look_at(file)
    assert (seen.path, seen.bytes, seen.mtime_ns) == ("a/b.wav", 3, file.stat().st_mtime_ns)
    assert relative_name(file, tmp_path / "other") == file.as_posix()
    assert in_folder(tmp_path).stat(file) == Input("a/b.wav", 3, file.stat().st_mtime_ns, "")


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"x\.wav: no such file"):
        in_folder(tmp_path).look_at(tmp_path / "x.wav")
    with pytest.raises(AudioError, match=r"x\.wav: no such file"):
        in_folder(tmp_path).stat(tmp_path / "x.wav")


def test_an_input_that_changes_meanwhile_is_refused(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(bytes(5_000_000))

    def change(count):
        file.write_bytes(b"less")

    with pytest.raises(AudioError, match=r"a\.wav: changed while it was being read"):
        in_folder(tmp_path).look_at(file, advance=change)


@pytest.mark.parametrize("folder", ["", "train/Mr. X - .../"])
@pytest.mark.parametrize(
    "name", ["mixture.wav", "mixture", "a.b.flac", ".hidden", ".a.wav", "The Dots...", "x.", "..b"]
)
def test_a_key_has_no_suffix(folder, name):
    path = folder + name
    assert key_of("at-mic", path) == ("at-mic", path.removesuffix(PurePosixPath(path).suffix))
