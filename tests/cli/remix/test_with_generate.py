"""``generate --remix``, and the targets of excerpts."""

import shutil

import numpy as np
import pytest
import soundfile

from benchmarks import reference
from cadrender.metadata.scenes import read_scenes
from cadrender.stems import STEMS, VDBO
from tests.cli.remix.outputs import (
    AT_MIC,
    OUT,
    SCENES,
    by_reference,
    gains_of,
    pcm,
    remade,
    same_targets,
    target,
)
from tests.roots import (
    SAMPLERATE,
    SONGS,
    call,
    invoke,
    leftovers,
    tree,
    write_wav,
)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_generate_and_remix(bare, fresh, jobs):
    done = invoke("generate", "--root", bare, "--remix", "-j", jobs)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "7 targets" not in lines[0] and "0 targets complete; 7 to make" in done.stderr
    assert "rendered on the way" not in done.stderr
    assert lines[-2].startswith("6 samples rendered")
    assert lines[-1].startswith("7 targets made (7 files), 0 skipped")
    assert same_targets(bare, fresh, OUT, AT_MIC)
    assert leftovers(bare) == []
    again = invoke("generate", "--root", bare, "--remix", "-j", jobs)
    assert again.stderr.splitlines()[-1].startswith("0 targets made (0 files), 7 skipped")


def test_generate_and_remix_after_a_song_has_changed(root, capsys):
    assert remade(root) == set(SCENES)
    for stem in ("vocals", "mixture"):
        file = root / "audio/music/train" / SONGS[1] / f"{stem}.wav"
        write_wav(file, soundfile.read(file)[0][::-1])
    inodes = {scene: target(root, scene).stat().st_ino for scene in SCENES}
    assert call("generate", "--root", root, "-j", 1, "--remix") == 0
    assert {s for s in SCENES if target(root, s).stat().st_ino != inodes[s]} == set(SCENES[3:6])
    for scene in SCENES[3:6]:
        np.testing.assert_array_equal(pcm(target(root, scene)), by_reference(root, scene))


def test_generate_and_remix_with_a_song_that_fails(bare, fresh, capsys):
    # Its header is in order, so that it fails while it is rendered.
    file = bare / "audio/music/train" / SONGS[0] / "bass.wav"
    signal = soundfile.read(file)[0]
    signal[999] = np.nan
    write_wav(file, signal, subtype="FLOAT")
    assert call("generate", "--root", bare, "-j", 1, "--remix") == 1
    error = capsys.readouterr().err
    assert f"failed: {file}: holds NaN" in error
    assert f"failed: {SONGS[0]}-hlp_0001: bass.wav is not complete: nothing is made of it" in error
    assert sorted(tree(bare / OUT)) == [f"train/{scene}.wav" for scene in SCENES[3:6]]
    for scene in SCENES[3:6]:
        assert pcm(target(bare, scene)).tobytes() == pcm(target(fresh[0], scene)).tobytes()


def test_generate_and_remix_need_whole_samples(bare, capsys):
    assert call("generate", "--root", bare, "--remix", "--stems", "bass") == 2
    assert "--remix needs whole samples" in capsys.readouterr().err


def test_generate_and_remix_of_songs_without_stems(bare, capsys):
    for song in SONGS:
        for stem in VDBO:
            (bare / "audio/music/train" / song / f"{stem}.wav").unlink()
    assert call("generate", "--root", bare, "-j", 1, "--remix") == 0
    assert "2 songs without stems" in capsys.readouterr().err.splitlines()[-1]


def test_excerpts(bare):
    assert (
        call(
            "excerpts",
            *("--root", bare, "--split", "valid", "--duration", 0.5, "-j", 1),
            *("-q", f"path.listeners_file={bare}/metadata/listeners.train.json"),
        )
        == 0
    )
    scenes = read_scenes(bare / "metadata/scenes.valid.json")
    folder = bare / AT_MIC / "valid"
    expected = {}
    for scene in scenes:
        signals = {s: pcm(folder / f"{scene.music}-{scene.position}" / f"{s}.wav") for s in STEMS}
        expected[scene.id] = reference.remix(
            signals, gains_of(bare, scene.gain), signals["mixture"], SAMPLERATE
        )
    for at_mic_there in (True, False):
        if not at_mic_there:
            shutil.rmtree(bare / AT_MIC)
            shutil.rmtree(bare / OUT)
        assert call("remix", "--root", bare, "--split", "valid", "-j", 1) == 0
        assert len(scenes) == 4
        for scene in scenes:
            np.testing.assert_array_equal(pcm(bare / OUT / f"valid/{scene.id}.wav"), expected[scene.id])
