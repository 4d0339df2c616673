"""The main job as its users run it: real processes on real files."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import psutil
import pytest
import soundfile

from cadrender.cli import main
from cadrender.pipeline import plan as plan_module
from cadrender.stems import STEMS, VDBO
from cadrender.store.atomic import temporary_name
from tests import reference
from tests.roots import (
    POSITIONS,
    SAMPLERATE,
    SONGS,
    edit_json,
    leftovers,
    make_root,
    make_song,
    music,
    pcm16,
    run,
    start,
    tree,
    write_metadata,
    write_wav,
)

OUT = "audio/at_mic_music"
LIST = "metadata/at_mic_music.train.json"
SAMPLES = [(song, position) for song in SONGS for position in POSITIONS]


def at_mic(root, song, position, stem, suffix="wav"):
    return root / OUT / "train" / f"{song}-{position.id}" / f"{stem}.{suffix}"


def hrirs(root, position):
    return [
        soundfile.read(root / "audio/hrtf" / name)[0] for name in (position.left_hrir, position.right_hrir)
    ]


def source(root, song, stem):
    return root / "audio/music/train" / song / f"{stem}.wav"


def by_reference(root, song, position, stem):
    pcm = soundfile.read(source(root, song, stem), dtype="int16")[0]
    return reference.render(pcm, *hrirs(root, position), SAMPLERATE)


def list_text(samples, split="train"):
    """The list of samples, letter by letter."""

    def text(words):
        return '"' + "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in words) + '"'

    entries = []
    for song, position in samples:
        name = f"{song}-{position.id}"
        lines = [
            f'"Track Name": {text(name)}',
            f'"Split": "{split}"',
            f'"Path": {text(f"{split}/{name}")}',
            f'"Original Track Name": {text(song)}',
            f'"Head Position": "{position.id}"',
        ]
        entries.append(f"    {text(name)}: {{\n        " + ",\n        ".join(lines) + "\n    }")
    return "{\n" + ",\n".join(entries) + "\n}" if entries else "{}"


def listed(root):
    return list(json.loads((root / LIST).read_text()))


def inputs_of(root, copy):
    """Copy what generate reads of a root."""
    for name in ("audio/music", "audio/hrtf", "metadata"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("at_mic_music*"))
    return copy


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A root after its first run, and that run."""
    root = make_root(tmp_path_factory.mktemp("generate") / "a root")
    return root, run("generate", "--root", root, "-j", 2, "-v")


@pytest.fixture
def root(fresh, tmp_path):
    """A root of one's own on which nothing was run yet."""
    return inputs_of(fresh[0], tmp_path / "root")


def same_as_fresh(root, fresh):
    return (
        tree(root / OUT) == tree(fresh[0] / OUT)
        and (root / LIST).read_bytes() == (fresh[0] / LIST).read_bytes()
    )


def call(*arguments):
    """Run generate in this process, which is quicker; return its exit status."""
    with pytest.raises(SystemExit) as exit:
        main(["generate", *map(str, arguments)])
    return exit.value.code


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("cadrender: ")
    assert error.count("\n") == 1
    return error


# The first run


def test_first_run_succeeds(fresh):
    _, first = fresh
    assert (first.returncode, first.stdout) == (0, "")
    lines = first.stderr.splitlines()
    assert lines[0].startswith(f"6 samples of {len(SONGS)} songs in ")
    assert lines[1].startswith("0 samples complete; 30 files to render: 51 s of audio, 0.01 GB (")
    assert lines[2] == "2 processes"
    assert re.fullmatch(
        r"6 samples rendered \(30 files\), 0 skipped, \d+ clipped, 0 silent, 0 failures, [\d.]+ s, "
        r"[\d.]+ ns per frame on 2 processes",
        lines[-1],
    )


@pytest.mark.parametrize("song", SONGS)
@pytest.mark.parametrize("position", POSITIONS, ids=lambda position: position.id)
def test_samples_are_the_references(fresh, song, position):
    root, _ = fresh
    for stem in STEMS:
        file = at_mic(root, song, position, stem)
        info = soundfile.info(file)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (SAMPLERATE, 2, "WAV", "PCM_16")
        expected = by_reference(root, song, position, stem)
        assert expected.any()
        np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], expected)


def test_nothing_else_is_written(fresh):
    root, _ = fresh
    expected = {f"train/{song}-{position.id}/{stem}.wav" for song, position in SAMPLES for stem in STEMS}
    assert set(tree(root / OUT)) == expected
    assert {file.name for file in (root / "metadata").iterdir()} == {
        "musdb18.train.json",
        "head_loudspeaker_positions.json",
        "scenes.train.json",
        "at_mic_music.train.json",
        "at_mic_music.train.manifest.jsonl",
    }


def test_list_of_samples_to_the_byte(fresh):
    root, _ = fresh
    assert (root / LIST).read_bytes() == list_text(SAMPLES).encode("ascii")


def test_list_is_in_order_of_first_appearance(root):
    scenes = [(SONGS[1], "hlp_0003"), (SONGS[0], "hlp_0002"), (SONGS[1], "hlp_0003"), (SONGS[1], "hlp_0001")]
    write_metadata(root, SONGS, POSITIONS, scenes)
    assert call("--root", root, "-j", 1) == 0
    order = [(SONGS[1], POSITIONS[2]), (SONGS[0], POSITIONS[1]), (SONGS[1], POSITIONS[0])]
    assert (root / LIST).read_text() == list_text(order)


# Again, and otherwise


def test_second_run_renders_nothing(fresh):
    root, _ = fresh
    times = {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")}
    second = run("generate", "--root", root)
    assert second.returncode == 0
    assert "6 samples complete; 0 files to render" in second.stderr
    assert second.stderr.splitlines()[-1].startswith("0 samples rendered (0 files), 6 skipped, 0 clipped")
    assert {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")} == times
    assert (root / LIST).read_text() == list_text(SAMPLES)


def test_only_what_is_missing_is_rendered_again(root, fresh, capsys):
    shutil.copytree(fresh[0] / OUT, root / OUT)
    kept = at_mic(root, SONGS[0], POSITIONS[0], "drums")
    time_kept = kept.stat().st_mtime_ns
    at_mic(root, SONGS[0], POSITIONS[0], "vocals").unlink()
    os.truncate(at_mic(root, SONGS[0], POSITIONS[1], "bass"), 100_001)
    write_wav(at_mic(root, SONGS[1], POSITIONS[2], "mixture"), np.zeros((57330, 2)), subtype="FLOAT")
    assert call("--root", root, "-j", 1) == 0
    assert "3 samples complete; 3 files to render" in capsys.readouterr().err
    assert same_as_fresh(root, fresh)
    assert kept.stat().st_mtime_ns == time_kept


@pytest.mark.parametrize("jobs", [1, 3])
def test_bytes_do_not_depend_on_the_processes(root, fresh, jobs):
    assert run("generate", f"path.root={root}", "-j", jobs).returncode == 0
    assert same_as_fresh(root, fresh)


def test_bytes_do_not_depend_on_order_and_parts(root, fresh, capsys):
    assert call("--root", root, "--songs", SONGS[1], "-j", 1) == 0
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    assert call("--root", root, "--stems", "drums,vocals", "-j", 1) == 0
    assert "3 incomplete" in capsys.readouterr().err.splitlines()[-1]
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    assert call("--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)


def test_selected_songs_and_stems(root, capsys):
    assert call("--root", root, "--songs", "Se*", "--stems", "bass, other", "--quiet", "-j", 1) == 0
    assert capsys.readouterr() == ("", "")
    expected = {
        f"train/{SONGS[0]}-{position.id}/{stem}.wav" for position in POSITIONS for stem in ("bass", "other")
    }
    assert set(tree(root / OUT)) == expected
    assert (root / LIST).read_text() == "{}"


def test_dry_run_writes_nothing(root, capsys):
    before = tree(root)
    assert call("--root", root, "--dry-run") == 0
    assert "30 files to render" in capsys.readouterr().err
    assert tree(root) == before
    assert not (root / OUT).exists()


def test_other_places(root, tmp_path):
    scenes = tmp_path / "my scenes.json"
    (root / "metadata/scenes.train.json").rename(scenes)
    status = call(
        *("-j", 1, f"path.root={root}", f"path.output_music_dir={tmp_path / 'fast/at_mic'}"),
        *(
            "--output-music-file",
            tmp_path / "lists/at_mic.json",
            "--scenes-file",
            scenes,
            "--songs",
            SONGS[1],
        ),
    )
    assert status == 0
    assert (tmp_path / "lists/at_mic.json").read_text() == list_text(SAMPLES[3:])
    assert len(tree(tmp_path / "fast/at_mic")) == 15
    assert not (root / OUT).exists()
    assert not (root / LIST).exists()


def test_other_split(tmp_path):
    root = make_root(tmp_path, songs=SONGS[:1], seconds=(0.5,), positions=POSITIONS[:1])
    for file in (root / "metadata").glob("*.train.json"):
        file.rename(file.with_name(file.name.replace("train", "valid")))
    edit_json(
        root / "metadata/musdb18.valid.json",
        lambda tracks: tracks[0].update(Split="valid", Path="train/" + SONGS[0]),
    )
    assert call("--root", root, "--split", "valid", "-j", 1) == 0
    assert (root / "metadata/at_mic_music.valid.json").read_text() == list_text(
        [(SONGS[0], POSITIONS[0])], "valid"
    )
    assert len(tree(root / OUT / "valid")) == 5


def test_mixture_alone_is_a_song_without_stems(root, capsys):
    for stem in VDBO:
        source(root, SONGS[1], stem).unlink()
    assert call("--root", root, "-j", 1) == 0
    assert "1 song has no stems: its mixture alone is rendered" in capsys.readouterr().err
    assert (root / LIST).read_text() == list_text(SAMPLES)
    assert len(tree(root / OUT)) == 18


@pytest.mark.parametrize(
    ("container", "subtype"), [("flac", "PCM_16"), ("flac", "PCM_24"), ("wav", "PCM_24"), ("wav", "FLOAT")]
)
def test_other_formats(root, capsys, container, subtype):
    arguments = ("-j", 1, "--root", root, "--format", container, "--subtype", subtype, "--songs", SONGS[1])
    assert call(*arguments) == 0
    for position in POSITIONS:
        for stem in ("vocals", "mixture"):
            file = at_mic(root, SONGS[1], position, stem, container)
            info = soundfile.info(file)
            assert (info.format, info.subtype) == (container.upper(), subtype)
            if subtype == "PCM_16":
                np.testing.assert_array_equal(
                    soundfile.read(file, dtype="int16")[0], by_reference(root, SONGS[1], position, stem)
                )
                continue
            signal = soundfile.read(source(root, SONGS[1], stem))[0]
            rendered = reference.convolve(signal, *hrirs(root, position))
            loudness = [reference.loudness(x, SAMPLERATE) for x in (signal, rendered)]
            rendered *= 10 ** ((loudness[0] - loudness[1]) / 20)
            if subtype == "PCM_24":  # rounded, unless rounding is undecided within the computing error
                whole = rendered * 2**23
                stored = soundfile.read(file, dtype="int32")[0] / 256
                assert np.abs(stored - whole).max() <= 0.5 + 1e-6
            else:
                np.testing.assert_allclose(soundfile.read(file)[0], rendered, rtol=2**-23, atol=1e-12)
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    before = tree(root)
    assert call(*arguments) == 0
    assert "3 samples complete; 0 files to render" in capsys.readouterr().err
    assert tree(root) == before


def test_silent_and_clipped_files_are_told(tmp_path, capsys):
    root = make_root(tmp_path, songs=SONGS[:1], seconds=(0.5,), positions=POSITIONS[:1])
    write_wav(source(root, SONGS[0], "drums"), np.zeros((22050, 2)))
    loud = np.sign(music(0.5, 5))
    write_wav(source(root, SONGS[0], "bass"), pcm16(loud))
    assert call("--root", root, "-j", 1, "--verbose") == 0
    lines = capsys.readouterr().err.splitlines()
    drums, bass = (at_mic(root, SONGS[0], POSITIONS[0], stem) for stem in ("drums", "bass"))
    rendered = reference.convolve(pcm16(loud) / 32768, *hrirs(root, POSITIONS[0]))
    gain = reference.loudness(pcm16(loud) / 32768, SAMPLERATE) - reference.loudness(rendered, SAMPLERATE)
    clipped = reference.to_pcm16(rendered * 10 ** (gain / 20))[1]
    assert clipped > 100
    assert f"clipped: {bass}: {clipped} PCM values" in lines
    assert any(line.startswith(f"silent: {drums}: ") for line in lines)
    assert ", 1 clipped, 1 silent, 0 failures, " in lines[-1]
    assert not soundfile.read(drums)[0].any()


# Songs that fail


def _damage_in_the_middle(root, song):
    """A FLAC under a WAV's name: its header says nothing of the damage."""
    file = source(root, song, "drums")
    soundfile.write(file, np.random.default_rng(1).uniform(-1, 1, (22050, 2)), SAMPLERATE, format="FLAC")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)


def _nan(root, song):
    signal = music(0.5, 9)
    signal[1000, 0] = np.nan
    write_wav(source(root, song, "vocals"), signal, subtype="FLOAT")


# Name, how it comes about, the file and what is said of it, and the stems that can be rendered nevertheless.
TROUBLES = {
    "truncated": (
        lambda root, song: os.truncate(source(root, song, "bass"), 50_001),
        "bass",
        r"truncated: 38243 bytes fewer than its header promises",
        (),
    ),
    "not audio": (
        lambda root, song: source(root, song, "other").write_bytes(b"no audio" * 99),
        "other",
        r"not a readable audio file: .+",
        (),
    ),
    "empty": (
        lambda root, song: source(root, song, "other").write_bytes(b""),
        "other",
        r"not a readable audio file: .+",
        (),
    ),
    "damaged": (
        _damage_in_the_middle,
        "drums",
        r"(cannot be read: .+|damaged: \d+ frames can be read of the 22050 it promises)",
        ("mixture", "vocals", "bass", "other"),
    ),
    "missing": (lambda root, song: source(root, song, "vocals").unlink(), "vocals", "no such file", ()),
    "mono": (
        lambda root, song: write_wav(source(root, song, "mixture"), np.ones(22050)),
        "mixture",
        r"1 channel\(s\); stereo is needed",
        (),
    ),
    "rate": (
        lambda root, song: write_wav(source(root, song, "drums"), np.ones((22050, 2)), 48000),
        "drums",
        "48000 Hz; 44100 Hz is needed",
        (),
    ),
    "NaN": (_nan, "vocals", "holds NaN or infinite samples", ("mixture", "drums", "bass", "other")),
    "unequal": (
        lambda root, song: write_wav(source(root, song, "bass"), np.ones((22049, 2))),
        "bass",
        "22049 frames, but the mixture has 22050",
        (),
    ),
    "short": (
        lambda root, song: make_song(root, song, 17639 / 44100, 1),
        "mixture",
        "17639 frames; a loudness needs at least 17640 \\(400 ms\\)",
        (),
    ),
}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    """A root with a good song first and last, and one for each trouble between; after its run."""
    songs = ["Good", *TROUBLES, "Good, too"]
    root = tmp_path_factory.mktemp("troubled")
    make_root(root, songs=songs, seconds=[0.5] * len(songs), positions=POSITIONS[:2])
    for name, (happen, *_) in TROUBLES.items():
        happen(root, name)
    return root, run("generate", "--root", root, "-j", 2)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_is_one_line_that_names_the_file(troubled, trouble):
    root, result = troubled
    _, stem, cause, rendered = TROUBLES[trouble]
    lines = [line for line in result.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == len(TROUBLES)
    file = re.escape(str(source(root, trouble, stem)))
    assert sum(re.fullmatch(f"failed: {file}: {cause}", line) is not None for line in lines) == 1
    for position in POSITIONS[:2]:
        there = {stem for stem in STEMS if at_mic(root, trouble, position, stem).exists()}
        assert there == set(rendered)


def test_the_other_songs_are_rendered(troubled):
    root, result = troubled
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    good = [(song, position) for song in ("Good", "Good, too") for position in POSITIONS[:2]]
    assert (root / LIST).read_text() == list_text(good)
    for song, position in good:
        for stem in STEMS:
            np.testing.assert_array_equal(
                soundfile.read(at_mic(root, song, position, stem), dtype="int16")[0],
                by_reference(root, song, position, stem),
            )
    last = result.stderr.splitlines()[-1]
    files = 5 * 4 + 4 * 4  # of the good songs, and what could be rendered of two damaged ones
    assert last.startswith(f"4 samples rendered ({files} files), 0 skipped, 20 incomplete, ")
    assert f", {len(TROUBLES)} failures, " in last
    assert leftovers(root) == []


def test_dry_run_tells_what_headers_tell(troubled, capsys):
    root, _ = troubled
    before = tree(root)
    assert call("--root", root, "--dry-run", "--quiet") == 1
    assert len(capsys.readouterr().err.splitlines()) == len(TROUBLES) - 2  # two are found by reading all
    assert tree(root) == before


def test_songs_that_are_not_selected_do_not_count(troubled, capsys):
    root, _ = troubled
    assert call("--root", root, "--songs", "Good*") == 0
    assert "failed" not in capsys.readouterr().err


def test_mended_song_is_rendered_in_the_next_run(root, fresh):
    file = source(root, SONGS[0], "bass")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert call("--root", root, "-j", 1) == 1
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    file.write_bytes(content)
    assert call("--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)


# What is refused before anything is touched


def _track(**values):
    return "musdb18.train", lambda tracks: tracks[0].update(values)


def _scene(**values):
    return "scenes.train", lambda scenes: scenes["scene_10001"].update(values)


def _position(**values):
    return "head_loudspeaker_positions", lambda positions: positions["hlp_0001"].update(values)


OUTSIDE = {
    "path up": _track(Path="../../../elsewhere"),
    "path up later": _track(Path="train/../../../elsewhere"),
    "absolute path": _track(Path="/elsewhere"),
    "NUL in a path": _track(Path="train/a\0b"),
    "backslash": _track(Path="train\\..\\..\\elsewhere"),
    "split up": _track(Split=".."),
    "split of two": _track(Split="train/more"),
    "absolute split": _track(Split="/elsewhere"),
    "track up": _track(**{"Track Name": "../elsewhere"}),
    "track of dots": _track(**{"Track Name": ".."}),
    "subject up": _position(subject="../../elsewhere/x"),
    "NUL in a subject": _position(subject="VP\0E1"),
    "absolute microphone": _position(mic="/elsewhere/BTE"),
    "scene's song": _scene(music="../elsewhere"),
    "scene's position": _scene(head_loudspeaker_positions="../elsewhere"),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_names_that_lead_outside(root, capsys, case):
    file, change = OUTSIDE[case]
    edit_json(root / f"metadata/{file}.json", change)
    before = tree(root.parent)
    assert call("--root", root) == 2
    one_line(capsys)
    assert tree(root.parent) == before
    assert not (root / OUT).exists()


def test_position_id_that_leads_outside(root, capsys):
    def rename(positions):
        positions["../../elsewhere"] = positions.pop("hlp_0001")

    edit_json(root / "metadata/head_loudspeaker_positions.json", rename)
    edit_json(
        root / "metadata/scenes.train.json",
        lambda scenes: scenes["scene_10001"].update(head_loudspeaker_positions="../../elsewhere"),
    )
    before = tree(root.parent)
    assert call("--root", root) == 2
    one_line(capsys)
    assert tree(root.parent) == before


def _rename_hrir(root):
    (root / "audio/hrtf" / POSITIONS[0].left_hrir).rename(root / "x.wav")


REFUSED = {
    "no root": (lambda root: shutil.rmtree(root / "metadata"), "scenes.train.json: cannot read"),
    "damaged scenes": (
        lambda root: (root / "metadata/scenes.train.json").write_text('{"scene_1": '),
        "scenes.train.json: not valid JSON",
    ),
    "unknown song": (
        lambda root: edit_json(
            root / "metadata/scenes.train.json", lambda s: s["scene_10001"].update(music="?")
        ),
        "the track '?' is not in the music list",
    ),
    "missing HRIR": (
        _rename_hrir,
        f"{POSITIONS[0].left_hrir}: no such file (needed by head position hlp_0001)",
    ),
    "mono HRIR": (
        lambda root: write_wav(root / "audio/hrtf" / POSITIONS[0].left_hrir, np.ones(200)),
        f"{POSITIONS[0].left_hrir}: 1 channel(s)",
    ),
    "HRIR at another rate": (
        lambda root: write_wav(root / "audio/hrtf" / POSITIONS[2].right_hrir, np.ones((200, 2)), 48000),
        f"{POSITIONS[2].right_hrir}: 48000 Hz; 44100 Hz is needed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_metadata_and_hrirs_that_cannot_be_used(root, capsys, case):
    happen, message = REFUSED[case]
    happen(root)
    before = tree(root.parent)
    assert call("--root", root) == 2
    assert message in one_line(capsys)
    assert tree(root.parent) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--songs", "Nobody*"], "--songs 'Nobody*': no song of the scenes has such a name"),
        (
            ["--stems", "vocals,trumpet"],
            "unknown stem 'trumpet'; known ones: mixture, vocals, drums, bass, other",
        ),
        (["--format", "flac", "--subtype", "FLOAT"], "not FLOAT"),
        (["--format", "mp3"], "'mp3'"),
        (["-j", "0"], "0"),
        (["-j", "-2"], "-2"),
        (["--split", "dev"], "'dev'"),
        (["path.rot=x"], "near ones: path.root"),
        (["rubbish"], "key=value"),
    ],
)
def test_wrong_usage(root, capsys, arguments, message):
    before = tree(root)
    assert call("--root", root, *arguments) == 2
    assert message in capsys.readouterr().err
    assert tree(root) == before


def test_no_root_at_all(capsys):
    assert call() == 2
    assert "--root DIR" in one_line(capsys)


def test_outputs_never_go_through_links(root, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / OUT).mkdir(parents=True)
    (root / OUT / "train").symlink_to(elsewhere)
    assert call("--root", root, "-j", 1) == 1
    assert f"{root / OUT / 'train'}: a symbolic link" in capsys.readouterr().err.splitlines()[-1]
    assert list(elsewhere.iterdir()) == []


def test_linked_files_are_replaced(root, fresh, tmp_path):
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    for file in (at_mic(root, SONGS[0], POSITIONS[0], "vocals"), root / LIST):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)
    assert call("--root", root, "-j", 1) == 0
    assert target.read_bytes() == b"precious"
    assert same_as_fresh(root, fresh)


def test_linked_songs_are_read(root, fresh, tmp_path):
    (root / "audio/music/train" / SONGS[0]).rename(tmp_path / "elsewhere")
    (root / "audio/music/train" / SONGS[0]).symlink_to(tmp_path / "elsewhere")
    assert call("--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)


# Space


def test_not_enough_space(root, capsys, monkeypatch):
    monkeypatch.setattr(plan_module, "free_space", lambda folder: 8_000_000)
    before = tree(root)
    assert call("--root", root, "--quiet") == 1
    assert re.fullmatch(
        r"cadrender: .*at_mic_music: 0\.01 GB will be written, and 0\.01 GB are free \(--force .*\)\n",
        capsys.readouterr().err,
    )
    assert tree(root) == before
    monkeypatch.setattr(plan_module, "free_space", lambda folder: 10_000_000)
    assert call("--root", root, "--quiet", "--dry-run") == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounting.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounting.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_full_disk(root, fresh, small_disk, capsys, jobs):
    arguments = ("--root", root, "--output-music-dir", small_disk / "out", "-j", jobs)
    assert call(*arguments) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("GB are free (--force to try all the same)")
    assert list(small_disk.iterdir()) == []
    stopped = run("generate", *arguments, "--force")
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stderr
    assert stopped.stderr.splitlines()[-1].endswith(
        "cannot be written: No space left on device; run the same command again to go on"
    )
    whole = tree(fresh[0] / OUT)
    for name, content in tree(small_disk / "out").items():
        assert name.endswith(".part") or content == whole[name]
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    assert call(*arguments) == 0
    assert tree(small_disk / "out") == whole
    assert (root / LIST).read_text() == list_text(SAMPLES)


# Interruptions


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A root whose rendering takes a second or two, and its complete output."""
    root = tmp_path_factory.mktemp("long")
    make_root(root, songs=SONGS, seconds=(16.0, 15.0))
    assert call("--root", root, "-j", 1) == 0
    return root, tree(root / OUT)


@contextlib.contextmanager
def running(root, *arguments):
    """A generate of its own, which is ended whatever happens."""
    process = start("generate", "--root", root, *arguments)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition, process=None, seconds=60):
    """Wait until a condition holds; the process must not end before."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None
        time.sleep(0.002)
    return result


def family(process):
    """A process and all its descendants."""
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def clear(root):
    shutil.rmtree(root / OUT, ignore_errors=True)
    for file in (root / "metadata").glob("*at_mic_music*"):
        file.unlink()


def writing(root):
    """Something is being written."""
    return list((root / OUT).rglob(".*.part"))


def some_files(root):
    """Some files are complete."""
    return len(list((root / OUT).rglob("*.wav"))) >= 3


@contextlib.contextmanager
def frozen(root, moment, *arguments):
    """A generate on a cleared root that stands still, with all its workers, at a moment of its work."""
    for _ in range(10):
        clear(root)
        with running(root, *arguments) as process:
            wait_for(lambda process=process: process.poll() is not None or moment(root))
            os.killpg(process.pid, signal.SIGSTOP)
            if process.poll() is None and len(list((root / OUT).rglob("*.wav"))) < 30:
                yield process
                return
    raise AssertionError("always finished before it could be stopped")


def end_and_wait(process, how):
    """End a process that stands still; return the seconds until all is over, and what was said."""
    members = family(process)
    how(process)
    began = time.monotonic()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    error = process.communicate(timeout=30)[1]
    seconds = time.monotonic() - began
    wait_for(lambda: not any(is_alive(member) for member in members), seconds=5)
    return seconds, error


def ctrl_c(process):
    os.killpg(process.pid, signal.SIGINT)


def terminate(process):
    process.send_signal(signal.SIGTERM)


def terminate_all(process):
    os.killpg(process.pid, signal.SIGTERM)


def kill_all(process):
    os.killpg(process.pid, signal.SIGKILL)


def resumed(root, complete, *arguments):
    """Whether the next run ends with the tree of an undisturbed one."""
    return (
        call("--root", root, "-j", 1, *arguments) == 0
        and tree(root / OUT) == complete
        and (root / LIST).read_text() == list_text(SAMPLES)
        and leftovers(root) == []
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "how", "moment"),
    [
        (1, ctrl_c, some_files),
        (1, terminate, writing),
        (2, ctrl_c, writing),
        (2, ctrl_c, some_files),
        (2, terminate, some_files),
        (2, terminate_all, writing),
    ],
)
def test_interrupted(long, jobs, how, moment):
    root, complete = long
    with frozen(root, moment, "-j", jobs) as process:
        seconds, error = end_and_wait(process, how)
    assert process.returncode == (130 if how == ctrl_c else 143)
    assert seconds < 2
    assert error.splitlines()[3:] == [
        "interrupted: every file in its place is whole; run the same command again to go on"
    ]
    there = tree(root / OUT)
    assert all(complete[name] == content for name, content in there.items() if not name.endswith(".part"))
    assert listed(root) == [
        f"{song}-{position.id}"
        for song, position in SAMPLES
        if all(at_mic(root, song, position, stem).exists() for stem in STEMS)
    ]
    assert resumed(root, complete)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed(long, capsys, jobs):
    root, complete = long
    with frozen(root, lambda root: some_files(root) and writing(root), "-j", jobs) as process:
        end_and_wait(process, kill_all)
    left = leftovers(root)
    assert left
    assert resumed(root, complete)
    files = f"{len(left)} temporary file{'s' * (len(left) != 1)}"
    assert f"removed {files} of an interrupted run" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_end_with_their_parent(long):
    root, complete = long
    with frozen(root, writing, "-j", 2) as process:
        assert len(family(process)) >= 3
        end_and_wait(process, lambda process: process.kill())
    assert resumed(root, complete)


@pytest.mark.slow
def test_killed_worker_is_replaced(long):
    root, complete = long
    with frozen(root, writing, "-j", 2) as process:
        workers = [member for member in family(process)[1:] if "popen_loky_posix" in str(member.cmdline())]
        assert len(workers) == 2
        _, error = end_and_wait(process, lambda process: workers[0].kill())
    assert process.returncode == 0
    assert [line for line in error.splitlines() if line.startswith("a worker process was killed")]
    assert "Traceback" not in error
    assert tree(root / OUT) == complete
    assert leftovers(root) == []


def test_leftovers_of_complete_samples_are_removed(fresh, capsys):
    root, _ = fresh
    left = temporary_name(at_mic(root, SONGS[0], POSITIONS[0], "vocals"))
    left.write_bytes(b"of a killed run")
    assert call("--root", root) == 0
    assert "removed 1 temporary file of an interrupted run" in capsys.readouterr().err
    assert leftovers(root) == []


# Two at once


@pytest.mark.slow
def test_two_at_once(long):
    root, complete = long
    clear(root)
    with running(root, "-j", 2) as one, running(root, "-j", 2) as other:
        errors = [process.communicate(timeout=60)[1] for process in (one, other)]
        assert (one.returncode, other.returncode) == (0, 0), errors
    assert tree(root / OUT) == complete
    assert (root / LIST).read_text() == list_text(SAMPLES)
    rendered = [int(re.search(r"(\d+) samples? rendered", error)[1]) for error in errors]
    assert max(rendered) >= 3
    assert sum(rendered) <= 2 * len(SAMPLES)


def files_below(folder):
    """How many there are; nothing is read, since they come and go meanwhile."""
    return sum(file.is_file() for file in folder.rglob("*"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_waits_for_another_process(root, fresh, jobs):
    """This process has claimed a file: generate does the rest, waits, and does it when the claim ends."""
    file = at_mic(root, SONGS[0], POSITIONS[1], "bass")
    file.parent.mkdir(parents=True)
    with temporary_name(file).open("w") as claimed, running(root, "-j", jobs) as process:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        wait_for(lambda: files_below(root / OUT) == 30, process)
        assert not file.exists()
        time.sleep(1)
        assert process.poll() is None
        fcntl.flock(claimed, fcntl.LOCK_UN)
        error = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert error.count("another cadrender is at work on some of these files: waiting for it") == 1
    assert same_as_fresh(root, fresh)


def test_interrupted_while_it_waits(root):
    file = at_mic(root, SONGS[0], POSITIONS[1], "bass")
    file.parent.mkdir(parents=True)
    with temporary_name(file).open("w") as claimed, running(root, "-j", 2) as process:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        wait_for(lambda: files_below(root / OUT) == 30, process)
        time.sleep(0.7)
        seconds, error = end_and_wait(process, ctrl_c)
    assert (process.returncode, seconds < 2) == (130, True)
    assert error.splitlines()[-1].startswith("interrupted: ")
    assert (root / LIST).read_text() == list_text([sample for sample in SAMPLES if sample != SAMPLES[1]])


# Around it


def test_help():
    result = run("generate", "--help")
    assert result.returncode == 0
    options = (
        "--root --jobs --config --output-music-dir --output-music-file --scenes-file --split --songs --stems "
        "--format --subtype --force --dry-run --quiet --verbose --music-file -j KEY=VALUE"
    )
    for option in options.split():
        assert option in result.stdout


def test_cache_that_cannot_be_written(root, fresh, tmp_path):
    file = tmp_path / "file"
    file.touch()
    result = run("generate", "--root", root, "-j", 2, CADRENDER_CACHE_DIR=str(file / "cache"))
    assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
    assert result.stderr.count("not used as a cache") == 1
    assert same_as_fresh(root, fresh)


@pytest.mark.slow
def test_home_that_is_missing(root, fresh):
    """No cache anywhere: kernels are compiled by each process for itself."""
    gone = str(root / "metadata/scenes.train.json/nobody")
    environment = dict.fromkeys(("HOME", "XDG_CACHE_HOME"), gone) | {"CADRENDER_CACHE_DIR": None}
    result = run("generate", "--root", root, "-j", 1, **environment)
    assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr
    assert result.stderr.count("not used as a cache") == 1
    assert same_as_fresh(root, fresh)


def test_relative_root(root, fresh, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert call("--root", root.name, "-j", 1) == 0
    assert same_as_fresh(root, fresh)
