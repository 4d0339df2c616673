"""Names that cause trouble on disks, and links that lead elsewhere."""

import json
import os
import shutil
import subprocess

import pytest

from cadrender.errors import MetadataError
from cadrender.store.names import check_distinct
from tests.roots import POSITIONS, make_root, make_song, run, tree, write_metadata

EXOTIC = (
    "日本の歌 – ☂ « quoted » \"double\" 'single'",
    "-rf --help; $(touch hacked) `ls` %s {x} * ?",
    " leading and trailing ",
    "...dots... .wav",
    "e\u0301 decomposed",
    "CON.aux.nul",
)


def failed(done, status, *words):
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cadrender: ")]
    for word in words:
        assert word in line
    return line


def test_exotic_names_are_rendered_and_proven(tmp_path):
    root = make_root(tmp_path / "it's a root, ünïcode & all", songs=EXOTIC, seconds=[0.5] * len(EXOTIC))
    done = run("generate", "--root", root, "-j", 1)
    assert done.returncode == 0, done.stderr
    assert len(tree(root / "audio/at_mic_music")) == len(EXOTIC) * len(POSITIONS) * 5
    proof = run("verify", "--root", root)
    assert (proof.returncode, proof.stdout) == (0, "")
    assert not (root / "hacked").exists()


def test_a_name_at_the_limit_works_and_one_beyond_it_is_refused(tmp_path):
    longest = "ä" * 123  # 246 bytes, and the sample's name 255
    root = make_root(tmp_path / "root", songs=(longest,), seconds=(0.5,), positions=POSITIONS[:1])
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    assert run("verify", "--root", root).returncode == 0
    beyond = "a" * 247
    shutil.copytree(root / "audio/music/train" / longest, root / "audio/music/train" / beyond)
    write_metadata(root, (beyond,), POSITIONS[:1], [(beyond, "hlp_0001")])
    failed(run("generate", "--root", root, "-j", 1), 2, "longer than a file name may be")


def test_a_path_beyond_the_systems_limit_is_one_line(tmp_path):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    deep = tmp_path
    while len(str(deep)) < os.pathconf("/", "PC_PATH_MAX") - 300:
        deep /= "d" * 250
    deep /= "e" * (os.pathconf("/", "PC_PATH_MAX") - len(str(deep)) - 40)
    deep.mkdir(parents=True)
    try:
        failed(
            run("generate", "--root", root, "-j", 1, "--output-music-dir", deep / "x"),
            1,
            "File name too long",
        )
    finally:
        # beyond what rmtree on the test's folder could name
        subprocess.run(["rm", "-r", tmp_path / ("d" * 250)], check=True)


def test_two_names_for_one_folder_are_refused(tmp_path):
    """Simulate a case-insensitive disk: a bind mount gives one folder both names."""
    songs = ("Song", "SONG")
    root = make_root(tmp_path / "root", songs=songs, seconds=(0.5, 0.6), positions=POSITIONS[:1])
    one, other = (root / "audio/at_mic_music/train" / f"{song}-hlp_0001" for song in songs)
    one.mkdir(parents=True)
    other.mkdir()
    if os.geteuid() or subprocess.run(["mount", "--bind", one, other], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        failed(run("generate", "--root", root, "-j", 1), 2, str(other), "does not tell such names apart")
        assert not list(one.iterdir())
    finally:
        subprocess.run(["umount", other], check=True)
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    assert run("verify", "--root", root).returncode == 0


def test_only_similar_names_are_compared(tmp_path):
    folders = [tmp_path / name for name in ("Straße", "STRASSE", "é", "e\u0301", "other")]
    for folder in folders:
        folder.mkdir()
    check_distinct(folders)
    folders[1].rmdir()
    folders[1].symlink_to(folders[0])
    with pytest.raises(MetadataError, match="STRASSE"):
        check_distinct(folders)


def test_songs_are_read_through_links(tmp_path):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    shutil.move(root / "audio/music", tmp_path / "elsewhere")
    (root / "audio/music").symlink_to(tmp_path / "elsewhere")
    shutil.move(root / "audio/hrtf", tmp_path / "hrirs")
    (root / "audio/hrtf").symlink_to(tmp_path / "hrirs")
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    assert run("verify", "--root", root).returncode == 0


@pytest.mark.parametrize("link", ["train", "train/Song-hlp_0001"])
def test_nothing_is_written_through_a_linked_folder(tmp_path, link):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    (tmp_path / "elsewhere").mkdir()
    place = root / "audio/at_mic_music" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "elsewhere")
    failed(run("generate", "--root", root, "-j", 1), 1, str(place), "symbolic link")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("name", ["bass.wav", ".bass.wav.part"])
def test_nothing_is_written_through_a_linked_file(tmp_path, name):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    place = root / "audio/at_mic_music/train/Song-hlp_0001" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(precious)
    done = run("generate", "--root", root, "-j", 1)
    assert "Traceback" not in done.stderr
    assert precious.read_bytes() == b"precious"
    if name == "bass.wav":  # the link is replaced
        assert done.returncode == 0
        assert not place.is_symlink()
    else:
        assert done.returncode == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
        assert "bass.wav.part: cannot be written" in line
        assert len(list(place.parent.glob("*.wav"))) == 4  # the others are unaffected


@pytest.mark.parametrize("link", ["at_mic_music.train.json", "at_mic_music.train.manifest.jsonl"])
def test_the_list_and_the_manifest_are_not_written_through_links(tmp_path, link):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (root / "metadata" / link).symlink_to(precious)
    done = run("generate", "--root", root, "-j", 1)
    assert "Traceback" not in done.stderr
    assert precious.read_bytes() == b"precious"
    if link.endswith(".jsonl"):
        failed(done, 1, link)
    else:
        assert done.returncode == 0
        assert json.loads((root / "metadata" / link).read_text()).keys() == {"Song-hlp_0001"}


def test_a_song_that_leads_out_of_the_root_by_its_name_is_refused(tmp_path):
    root = make_root(tmp_path / "root", songs=("Song",), seconds=(0.5,), positions=POSITIONS[:1])
    make_song(tmp_path / "outside", "Song", 0.5, 1)
    for name in ("../Song", "/Song", "a/../../Song", "Song\0", ".."):
        write_metadata(root, (name,), POSITIONS[:1], [(name, "hlp_0001")])
        failed(run("generate", "--root", root, "-j", 1), 2)
    assert not (root / "audio/at_mic_music").exists()
