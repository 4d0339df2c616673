"""Songs that fail are told of, one line each, and the others rendered."""

import os
import re

import numpy as np
import pytest
import soundfile

from cadrender.stems import STEMS
from tests.cli.generate.outputs import LIST, SAMPLES, at_mic, by_reference, list_text, same_as_fresh, source
from tests.roots import (
    POSITIONS,
    SAMPLERATE,
    SONGS,
    call,
    invoke,
    leftovers,
    make_root,
    make_song,
    music,
    tree,
    write_wav,
)


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
        r"1 channel; stereo is needed",
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
    return root, invoke("generate", "--root", root, "-j", 1)


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
    assert call("generate", "--root", root, "--dry-run", "--quiet") == 1
    assert len(capsys.readouterr().err.splitlines()) == len(TROUBLES) - 2  # two are found by reading all
    assert tree(root) == before


def test_songs_that_are_not_selected_do_not_count(troubled, capsys):
    root, _ = troubled
    assert call("generate", "--root", root, "--songs", "Good*") == 0
    assert "failed" not in capsys.readouterr().err


@pytest.mark.slow
def test_mended_song_is_rendered_in_the_next_run(root, fresh):
    file = source(root, SONGS[0], "bass")
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert call("generate", "--root", root, "-j", 1) == 1
    assert (root / LIST).read_text() == list_text(SAMPLES[3:])
    file.write_bytes(content)
    assert call("generate", "--root", root, "-j", 1) == 0
    assert same_as_fresh(root, fresh)
