"""What has changed is made again, and nothing else."""

import os
import shutil

import numpy as np
import pytest
import soundfile

from cadrender.metadata.scenes import read_scenes
from tests.cli.remix.outputs import (
    AMPLIFIED,
    AT_MIC,
    AT_MIC_MANIFEST,
    MANIFEST,
    SCENES,
    at_mic,
    by_reference,
    pcm,
    remade,
    target,
)
from tests.roots import (
    SONGS,
    call,
    edit_json,
    invoke,
    tree,
    write_wav,
)


@pytest.mark.slow
def test_other_gains_and_other_scenes(root):
    assert remade(root) == set(SCENES)
    edit_json(root / "metadata/gains.json", lambda gains: gains["gain_0007"].update(vocals=9.5))
    assert remade(root) == {"scene_10002"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10002")), by_reference(root, "scene_10002"))

    def swap(scenes):
        scenes["scene_10003"], scenes["scene_10001"] = scenes["scene_10001"], scenes["scene_10003"]

    edit_json(root / "metadata/scenes.train.json", swap)
    assert remade(root) == {"scene_10001", "scene_10003"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10003")), by_reference(root, "scene_10003"))
    assert remade(root) == set()


def test_another_rate_is_announced(root, capsys):
    remade(root)
    assert call("remix", "--root", root, "-j", 1, "--sample-rate", 32000, "--dry-run") == 0
    assert "7 files are made again: another format is requested" in capsys.readouterr().err
    assert call("remix", "--root", root, "-j", 1, "--sample-rate", 0) == 2


def test_another_audiogram(root):
    call("remix", "--root", root, "-j", 1, "--listeners")
    times = {file: file.stat().st_ino for file in (root / AMPLIFIED).rglob("*.wav")}
    edit_json(
        root / "metadata/listeners.train.json",
        lambda listeners: listeners["L0001"].update(audiogram_levels_l=[60] * 8),
    )
    assert remade(root, "--listeners") == set()
    changed = {file.stem for file, inode in times.items() if file.stat().st_ino != inode}
    assert changed == {file.stem for file in times if file.stem.endswith("L0001")}


def test_another_at_mic_file(root):
    remade(root)
    file = root / AT_MIC / "train" / f"{SONGS[1]}-hlp_0003" / "vocals.wav"
    write_wav(file, at_mic(root, file.parent.name, "drums"))
    assert remade(root) == {"scene_10006"}
    np.testing.assert_array_equal(pcm(target(root, "scene_10006")), by_reference(root, "scene_10006"))
    shutil.rmtree(
        root / AT_MIC
    )  # to make room: the targets stay, but that file is not what would be rendered
    assert remade(root) == {"scene_10006"}
    assert remade(root) == set()


def test_songs_that_change_when_the_at_mic_files_are_gone(root):
    remade(root)
    shutil.rmtree(root / AT_MIC)
    assert remade(root) == set()
    song = root / "audio/music/train" / SONGS[1]
    for stem in ("vocals", "mixture"):
        write_wav(song / f"{stem}.wav", soundfile.read(song / "drums.wav", dtype="int16")[0])
    scenes = read_scenes(root / "metadata/scenes.train.json")
    with_it = {scene.id for scene in scenes if scene.music == SONGS[1]}
    assert remade(root) == with_it < set(SCENES)
    (root / AT_MIC_MANIFEST).unlink()  # then nothing says what the others were made from
    assert remade(root) == set(SCENES) - with_it


def test_lost_at_mic_files_of_another_subtype(root):
    """What would be rendered on the way has 16 bits."""
    assert call("generate", "--root", root, "-j", 1, "--subtype", "FLOAT") == 0
    assert remade(root) == set(SCENES)
    shutil.rmtree(root / AT_MIC)
    assert remade(root) == set(SCENES)
    assert remade(root) == set()


def test_a_leftover_in_another_container_is_not_mixed(root):
    """As after a kill between the new file and the removal of the old one."""
    assert call("generate", "--root", root, "-j", 1, "--format", "flac") == 0
    assert remade(root) == set(SCENES)
    expected = {scene: pcm(target(root, scene)) for scene in SCENES}
    for file in (root / AT_MIC).rglob("vocals.flac"):
        write_wav(file.with_suffix(".wav"), soundfile.read(file.with_name("drums.flac"), dtype="int16")[0])
    assert call("remix", "--root", root, "-j", 1, "--force") == 0
    for scene, samples in expected.items():
        np.testing.assert_array_equal(pcm(target(root, scene)), samples)


def test_at_mic_files_that_came_later_change_nothing(bare, capsys):
    assert remade(bare) == set(SCENES)
    assert call("generate", "--root", bare, "-j", 1) == 0
    assert remade(bare) == set()


def test_amplified_targets_without_a_manifest(root):
    """They are looked for where they would be."""
    remade(root, "--listeners")
    (root / MANIFEST).unlink()
    done = invoke("verify", "--root", root)
    assert done.returncode == 1
    assert f"{root / MANIFEST}: no manifest: nothing says what the files should hold" in done.stdout
    before = tree(root / AMPLIFIED)
    some = next((root / AMPLIFIED).rglob("*.wav"))
    some.write_bytes(some.read_bytes()[:-400] + bytes(range(100)) * 4)
    assert invoke("verify", "--root", root, "--repair", "-j", 1).returncode == 0
    assert tree(root / AMPLIFIED) == before
    assert invoke("verify", "--root", root).returncode == 0


def test_a_target_without_a_line_or_with_a_damaged_one(root):
    remade(root)
    manifest = root / MANIFEST
    lines = manifest.read_text().splitlines()
    kept = [line for line in lines if '"scene_10002"' not in line]
    damaged = [line for line in kept if '"scene_10004"' in line]
    manifest.write_text("\n".join([*(line for line in kept if line not in damaged), damaged[0][:99]]))
    assert remade(root) == {"scene_10002", "scene_10004"}
    manifest.write_text("[]\n{}\nnull\n\xff\n" + manifest.read_text())
    assert remade(root) == set()
    os.truncate(target(root, "scene_10001"), 1000)
    assert remade(root) == {"scene_10001"}
