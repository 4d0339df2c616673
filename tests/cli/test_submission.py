"""Submissions: what the challenge's evaluator reads, from one command."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from benchmarks import reference
from cadrender.dsp.nalr import nalr_filter
from cadrender.stems import STEMS, VDBO
from tests.cli.remix.outputs import (
    AT_MIC,
    CFS,
    LISTENERS,
    SCENES,
    add_metadata,
    gains_of,
    sample_of,
)
from tests.roots import (
    SAMPLERATE,
    call,
    edit_json,
    environment,
    invoke,
    leftovers,
    make_root,
    tree,
    write_wav,
)

OUT = "audio/submission/train/enhanced_signals"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A root with a submission; its last song is so quiet that nothing has to be scaled."""
    root = add_metadata(make_root(tmp_path_factory.mktemp("submission") / "root"))
    quiet = root / "audio/music/train" / sample_of(root, "scene_10002")[0].rpartition("-hlp")[0]
    for file in quiet.iterdir():
        write_wav(file, soundfile.read(file)[0] / 40)
    assert invoke("generate", "--root", root, "-j", 1, "-q").returncode == 0
    result = invoke("remix", "--root", root, "--submission", "-j", 2)
    assert result.returncode == 0, result.stderr
    assert "14 submissions made (14 files), 0 skipped, 0 failures" in result.stderr
    assert leftovers(root) == []
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def pairs(root):
    content = json.loads((root / "metadata/scene_listeners.train.json").read_text())
    return [(scene, listener) for scene, listeners in content.items() for listener in listeners]


def file_of(root, scene, listener):
    return root / OUT / f"{scene}_{listener}_remix.flac"


def as_the_evaluator(file):
    """int16 of full scale 1 as float32, times the number in the text file."""
    pcm, rate = soundfile.read(file, dtype="int16")
    return (pcm / 32768).astype(np.float32) * float(file.with_suffix(".txt").read_text()), rate


def by_reference(root, scene, listener, quality="HQ"):
    """What a listener receives of a target, unclipped, by NumPy and pyloudnorm, at 32 kHz."""
    sample, gain = sample_of(root, scene)
    signals = {
        stem: soundfile.read(root / AT_MIC / "train" / sample / f"{stem}.wav", dtype="int16")[0] / 32768
        for stem in STEMS
    }
    gains = gains_of(root, gain)
    total = sum(signals[stem] * 10 ** (gains[stem] / 20) for stem in VDBO)
    level = reference.loudness(signals["mixture"], SAMPLERATE) - reference.loudness(total, SAMPLERATE)
    total = total * 10 ** (level / 20)
    (who,) = (each for each in LISTENERS if each.id == listener)
    filters = [nalr_filter(CFS, levels, SAMPLERATE) for levels in (who.levels_left, who.levels_right)]
    ears = [np.convolve(total[:, ear], filters[ear]) for ear in (0, 1)]
    return soxr.resample(np.stack(ears, axis=1), SAMPLERATE, 32000, quality=quality)


def test_it_is_what_the_evaluator_reads(made):
    factors = set()
    for scene, listener in pairs(made):
        file = file_of(made, scene, listener)
        info = soundfile.info(file)
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_16", 2)
        expected = by_reference(made, scene, listener)
        factor = max(1.0, np.abs(expected).max())
        text = file.with_suffix(".txt").read_text()
        assert float(text) == pytest.approx(factor, rel=1e-6)
        assert text == f"{float(text)}"
        # As the challenge writes it: divided, truncated; a rounding error may decide a value or two.
        pcm = np.clip(expected / factor * 32768, -32768, 32767).astype(np.int16)
        stored = soundfile.read(file, dtype="int16")[0]
        assert stored.shape == pcm.shape
        assert np.abs(stored.astype(int) - pcm).max() <= 1
        assert np.count_nonzero(stored != pcm) <= 2
        signal, rate = as_the_evaluator(file)
        assert rate == 32000
        assert np.abs(signal - expected).max() <= 1.01 * factor / 32768
        factors.add(factor > 1)
    assert factors == {False, True}
    assert len(list((made / OUT).iterdir())) == 2 * len(pairs(made)) == 28


def test_again_nothing_is_made_and_all_is_proven(made, capsys):
    before = tree(made)
    assert call("remix", "--root", made, "--submission", "-j", 1) == 0
    assert "14 submissions complete; 0 files to make" in capsys.readouterr().err
    assert tree(made) == before
    assert call("verify", "--root", made, "--deep", "100%", "-j", 1) == 0
    assert "no problems" in capsys.readouterr().err


def test_the_bytes_do_not_depend_on_what_is_on_disk(root, made):
    shutil.rmtree(root / "audio/submission")
    shutil.rmtree(root / AT_MIC)
    assert call("remix", "--root", root, "--submission", "-j", 1) == 0
    assert tree(root / OUT) == tree(made / OUT)


@pytest.mark.parametrize("damage", ["missing", "another", "empty"])
def test_a_factor_that_does_not_belong_is_noticed_and_mended(root, made, capsys, damage):
    text = file_of(root, "scene_10001", "L0001").with_suffix(".txt")
    if damage == "missing":
        text.unlink()
    else:
        text.write_text("" if damage == "empty" else "2.5")
    assert call("verify", "--root", root, "-j", 1) == 1
    problems = capsys.readouterr().out.splitlines()
    told = "missing" if damage == "missing" else "not what belongs to scene_10001_L0001_remix.flac"
    assert problems == [f"{text}: {told}"]
    assert call("remix", "--root", root, "--submission", "-j", 1) == 0
    assert "1 submission made (1 file), 13 skipped" in capsys.readouterr().err
    assert tree(root / OUT) == tree(made / OUT)
    text.unlink()
    assert call("verify", "--root", root, "-j", 1, "--repair", "-q") == 0
    assert tree(root / OUT) == tree(made / OUT)


DYING = """
import os, sys
from pathlib import Path

left = int(sys.argv[1])

def dying(method):
    def counted(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return method(*arguments, **options)
    return counted

Path.unlink, Path.replace = dying(Path.unlink), dying(Path.replace)
from cadrender.cli import main
main(sys.argv[2:])
"""


@pytest.mark.slow
def test_a_kill_never_leaves_a_file_with_the_factor_of_another(root, tmp_path):
    """Killed before each removal and renaming of a run that replaces a submission by another one."""
    old = tree(root / OUT)
    scene = next(name[:11] for name in old if name.endswith(".txt") and float(old[name]) > 1)
    names = [name for name in old if name.startswith(scene) and name.endswith(".flac")]
    arguments = ("remix", "--submission", "--scenes", scene, "-j", 1, "-q", "--root")
    edit_json(root / "metadata/scenes.train.json", lambda scenes: scenes[scene].update(gain="gain_0139"))
    final = shutil.copytree(root, tmp_path / "final")
    assert invoke(*arguments, final).returncode == 0
    new = tree(final / OUT)
    assert any(new[name.replace(".flac", ".txt")] != old[name.replace(".flac", ".txt")] for name in names)
    killed, stages = True, set()
    for count in range(100):
        trial = shutil.copytree(root, tmp_path / f"trial {count}")
        command = [sys.executable, "-c", DYING, str(count), *map(str, arguments), str(trial)]
        killed = subprocess.run(command, env=environment(), timeout=60).returncode == -9
        left = tree(trial / OUT)
        for name in names:
            text = name.replace(".flac", ".txt")
            if name in left:
                assert (left[name], left[text]) in ((old[name], old[text]), (new[name], new[text]))
            stages.add("gone" if name not in left else "old" if left[name] == old[name] else "new")
        assert invoke(*arguments, trial).returncode == 0
        assert tree(trial / OUT) == new
        shutil.rmtree(trial)
        if not killed:
            break
    assert not killed
    assert stages == {"old", "gone", "new"}


def test_the_resampler_can_be_chosen(root, capsys):
    assert call("remix", "--root", root, "--submission", "--resampler-quality", "VHQ", "-j", 1) == 0
    assert "14 files are made again: made with other parameters" in capsys.readouterr().err
    expected = by_reference(root, "scene_10001", "L0001", "VHQ")
    signal, _ = as_the_evaluator(file_of(root, "scene_10001", "L0001"))
    assert np.abs(signal - expected).max() <= 1.01 * max(1.0, np.abs(expected).max()) / 32768
    assert call("verify", "--root", root, "--deep", "100%", "-j", 1) == 0


def test_in_another_place(root, made, tmp_path):
    place = ("--output-submission-dir", tmp_path / "exp")
    assert (
        call("remix", "--root", root, "--submission", "-j", 1, "-q", *place, "--scenes", "scene_1000[12]")
        == 0
    )
    found = tree(tmp_path / "exp/train/enhanced_signals")
    assert len(found) == 8
    assert found == {name: tree(made / OUT)[name] for name in found}


@pytest.mark.parametrize("option", [("--format", "wav"), ("--listeners",), ("--sample-rate", "44100")])
def test_its_format_is_fixed(made, capsys, option):
    assert call("remix", "--root", made, "--submission", *option) == 2
    error = capsys.readouterr().err
    assert "--submission does not go with" in error
    assert error.count("\n") == 1


def test_every_scene_of_the_list_can_be_made_from_python(made):
    import cadrender

    catalogue = cadrender.open_root(made).catalogue("submission")
    outputs = {output.file: output for output in catalogue.outputs()}
    assert len(outputs) == 2 * len(SCENES)
    output = outputs[file_of(made, "scene_10003", "L0003")]
    stored = soundfile.read(output.file, dtype="int16")[0]
    ours = output.signal.read()
    assert np.count_nonzero(ours != stored) <= 2
    with pytest.raises(cadrender.UsageError, match="a submission is for a listener"):
        catalogue.output(catalogue.scenes[0])
