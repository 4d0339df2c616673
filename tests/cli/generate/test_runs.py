"""Runs that succeed: the first, further ones, parts of the work, formats, other places."""

import os
import re
import shutil

import numpy as np
import pytest
import soundfile

from cadrender.stems import STEMS, VDBO
from tests import reference
from tests.cli.generate.outputs import (
    LIST,
    OUT,
    SAMPLES,
    at_mic,
    by_reference,
    hrirs,
    list_text,
    same_as_fresh,
    source,
)
from tests.roots import (
    POSITIONS,
    SAMPLERATE,
    SONGS,
    call,
    edit_json,
    invoke,
    make_root,
    music,
    pcm16,
    run,
    tree,
    write_metadata,
    write_wav,
)

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
    assert call("generate", "--root", root, "-j", 1) == 0
    order = [(SONGS[1], POSITIONS[2]), (SONGS[0], POSITIONS[1]), (SONGS[1], POSITIONS[0])]
    assert (root / LIST).read_text() == list_text(order)


# Again, and otherwise


def test_second_run_renders_nothing(fresh):
    root, _ = fresh
    times = {file: file.stat().st_mtime_ns for file in (root / OUT).rglob("*")}
    second = invoke("generate", "--root", root)
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
    assert call("generate", "--root", root, "-j", 1) == 0
    assert "3 samples complete; 3 files to render" in capsys.readouterr().err
    assert same_as_fresh(root, fresh)
    assert kept.stat().st_mtime_ns == time_kept


@pytest.mark.parametrize("jobs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_bytes_do_not_depend_on_the_processes(root, fresh, jobs):
    assert invoke("generate", f"path.root={root}", "-j", jobs).returncode == 0
    assert same_as_fresh(root, fresh)


def test_bytes_do_not_depend_on_order_and_parts(root, fresh, capsys):
    assert call("generate", "--root", root, "--songs", SONGS[1], "-j", 1) == 0
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    assert call("generate", "--root", root, "--stems", "drums,vocals", "-j", 1) == 0
    assert "3 incomplete" in capsys.readouterr().err.splitlines()[-1]
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    assert call("generate", "--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)


def test_selected_songs_and_stems(root, capsys):
    assert (
        call("generate", "--root", root, "--songs", "Se*", "--stems", "bass, other", "--quiet", "-j", 1) == 0
    )
    assert capsys.readouterr() == ("", "")
    expected = {
        f"train/{SONGS[0]}-{position.id}/{stem}.wav" for position in POSITIONS for stem in ("bass", "other")
    }
    assert set(tree(root / OUT)) == expected
    assert (root / LIST).read_text() == "{}"


def test_dry_run_writes_nothing(root, capsys):
    before = tree(root)
    assert call("generate", "--root", root, "--dry-run") == 0
    assert "30 files to render" in capsys.readouterr().err
    assert tree(root) == before
    assert not (root / OUT).exists()


def test_other_places(root, tmp_path):
    scenes = tmp_path / "my scenes.json"
    (root / "metadata/scenes.train.json").rename(scenes)
    status = call(
        "generate",
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
    assert call("generate", "--root", root, "--split", "valid", "-j", 1) == 0
    assert (root / "metadata/at_mic_music.valid.json").read_text() == list_text(
        [(SONGS[0], POSITIONS[0])], "valid"
    )
    assert len(tree(root / OUT / "valid")) == 5


def test_mixture_alone_is_a_song_without_stems(root, capsys):
    for stem in VDBO:
        source(root, SONGS[1], stem).unlink()
    assert call("generate", "--root", root, "-j", 1) == 0
    assert "1 song has no stems: its mixture alone is rendered" in capsys.readouterr().err
    assert (root / LIST).read_text() == list_text(SAMPLES)
    assert len(tree(root / OUT)) == 18


@pytest.mark.parametrize(
    ("container", "subtype"), [("flac", "PCM_16"), ("flac", "PCM_24"), ("wav", "PCM_24"), ("wav", "FLOAT")]
)
def test_other_formats(root, capsys, container, subtype):
    arguments = ("-j", 1, "--root", root, "--format", container, "--subtype", subtype, "--songs", SONGS[1])
    assert call("generate", *arguments) == 0
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
    assert call("generate", *arguments) == 0
    assert "3 samples complete; 0 files to render" in capsys.readouterr().err
    assert tree(root) == before


def test_what_is_not_asked_for_is_as_in_existing_files(root, capsys):
    assert call("generate", "-j", 1, "--root", root, "--format", "flac", "--subtype", "PCM_24") == 0
    for option in (("--format", "flac"), ("--subtype", "PCM_24"), ()):
        assert call("generate", "-j", 1, "--root", root, *option) == 0
        assert "6 samples complete; 0 files to render" in capsys.readouterr().err
    assert call("generate", "-j", 1, "--root", root, "--subtype", "FLOAT", "--dry-run") == 2
    assert "the files that are there are FLAC, which does not hold FLOAT" in capsys.readouterr().err
    assert call("generate", "-j", 1, "--root", root, "--format", "wav", "--dry-run") == 0
    assert "30 files are rendered again: another format is requested" in capsys.readouterr().err


def test_a_part_in_another_format_leaves_the_rest_in_the_list(root):
    assert call("generate", "-j", 1, "--root", root, "--format", "flac") == 0
    options = (("--stems", "vocals"), ("--songs", SONGS[0]))
    for option in options:
        assert call("generate", "-j", 1, "--root", root, "--format", "wav", *option) == 0
        assert (root / LIST).read_text() == list_text(SAMPLES)
        assert call("verify", "--root", root) == 0


def test_silent_and_clipped_files_are_told(tmp_path, capsys):
    root = make_root(tmp_path, songs=SONGS[:1], seconds=(0.5,), positions=POSITIONS[:1])
    write_wav(source(root, SONGS[0], "drums"), np.zeros((22050, 2)))
    loud = np.sign(music(0.5, 5))
    write_wav(source(root, SONGS[0], "bass"), pcm16(loud))
    assert call("generate", "--root", root, "-j", 1, "--verbose") == 0
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
