"""``cadrender heads``, and the way from a SOFA file to at-mic music."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from cadrender import open_root
from tests.reference import render
from tests.roots import SONGS, invoke, make_root
from tests.sofas import AZIMUTHS, make_sofa, responses


@pytest.fixture
def file(tmp_path):
    return tmp_path / "head.sofa"


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_three_commands_lead_from_a_sofa_file_to_at_mic_music(tmp_path, file):
    ir = np.round(responses(len(AZIMUTHS), 2) * 2**15) / 2**15
    ir[AZIMUTHS.index(330)] = ir[
        AZIMUTHS.index(330), ::-1
    ]  # a head: what is on the right reaches the right ear first
    make_sofa(file, ir=ir)
    root = make_root(tmp_path / "root")
    for path in (*(root / "audio/hrtf").iterdir(), root / "metadata/head_loudspeaker_positions.json"):
        path.unlink()
    (root / "metadata/scenes.train.json").unlink()
    assert invoke("gains", "--root", root).returncode == 0

    done = invoke("heads", file, "--root", root, "--mic", "BTE_fr", "--angles", "0,30")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{file}: subject KEMAR, microphone BTE_fr (receivers 0 and 1)\n"
        f"{root}/audio/hrtf: 3 HRIR files written\n"
        f"{root}/metadata/head_loudspeaker_positions.json: 4 positions added, hlp_0001 to hlp_0004\n"
    )
    done = invoke("scenes", "--root", root, "--without-listeners", "--scenes-per-song", "4")
    assert (done.returncode, done.stderr) == (0, "")
    done = invoke("generate", "--root", root, "-j", "1")
    assert done.returncode == 0, done.stderr

    taps = {-30.0: ir[AZIMUTHS.index(30)].T, 0.0: ir[0].T, 30.0: ir[AZIMUTHS.index(330)].T}
    positions = json.loads((root / "metadata/head_loudspeaker_positions.json").read_text())
    pairs = {(p["left_angle"], p["right_angle"]) for p in positions.values()}
    assert pairs == {(-30, 0), (-30, 30), (0, 0), (0, 30)}
    opened = open_root(root)
    for name, position in positions.items():
        source, rate = soundfile.read(root / "audio/music/train" / SONGS[0] / "drums.wav", dtype="int16")
        expected = render(source, taps[position["left_angle"]], taps[position["right_angle"]], rate)
        at_mic = root / "audio/at_mic_music/train" / f"{SONGS[0]}-{name}" / "drums.wav"
        assert np.array_equal(soundfile.read(at_mic, dtype="int16")[0], expected)
        sample = f"{SONGS[0]}-{name}"
        assert np.array_equal(opened.render(sample, "drums"), expected)
        assert np.array_equal(np.concatenate([b.copy() for b in opened.blocks(sample, "drums")]), expected)
    # One file is used by both loudspeakers, and everybody else finds it, too.
    assert invoke("verify", "--root", root).returncode == 0
    shutil.rmtree(root / "audio/at_mic_music")
    done = invoke("remix", "--root", root, "-j", "1")
    assert (done.returncode, "0 failures" in done.stderr + done.stdout) == (0, True)
    done = invoke("check", "--root", root)
    assert "hrtf" not in done.stdout + done.stderr


def test_a_dry_run_lists_what_a_file_holds(file, tmp_path):
    make_sofa(
        file,
        azimuths=np.arange(0, 360, 15),
        distances=1.4,
        samplerate=48000,
        receivers=4,
        descriptions=["BTE_fr left", "BTE_fr right", "ITE left", "ITE right"],
        Data_Delay=np.array([[0, 1, 2, 3.5]]),
    )
    before = tree(tmp_path)
    done = invoke("heads", file, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: SimpleFreeFieldHRIR 1.0",
        "  subject: KEMAR",
        "  receivers: 0 left 'BTE_fr left'; 1 right 'BTE_fr right'; 2 left 'ITE left'; 3 right 'ITE right'",
        "  rate: 48000 Hz, 200 taps",
        "  delays: 0 to 3.5 samples",
        "  distances: 1.4 m",
        "  directions: 24, of which in the horizontal plane 24: every 15 degrees from -165 to 180",
    ]
    assert tree(tmp_path) == before


def test_what_was_done_to_the_responses_is_said(file, tmp_path):
    make_sofa(
        file,
        convention="GeneralFIR",
        azimuths=[30.4, 329, 0],
        samplerate=48000,
        Data_Delay=np.array([[2, 2.5]]),
        listener="VP_E1",
    )
    done = invoke("heads", file, "--root", tmp_path / "root", "--angles", "30,0", "--mic", "CIC")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == (
        f"{file}: subject VP_E1, microphone CIC (receivers 0 and 1); resampled from 48000 to 44100 Hz; "
        "delays of up to 2.5 samples applied; measured at other angles, in degrees: -30 (by 0.4), 30 (by 1)"
    )
    done = invoke("heads", file, "--root", tmp_path / "root", "--angles", "30,0", "--mic", "CIC")
    assert "0 HRIR files written, 3 there already" in done.stdout
    assert "0 positions added\n" in done.stdout


def test_settings_can_be_overridden(file, tmp_path):
    make_sofa(file)
    done = invoke(
        "heads", file, "--root", tmp_path / "r", "sample_rate=32000", f"path.hrtf_dir={tmp_path}/h=1"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert soundfile.info(tmp_path / "h=1/ear-KEMAR-n30.0.wav").samplerate == 32000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--root DIR"),
        (
            ["--root", "R", "--angles", "30,40"],
            "nothing measured within 1 degree of -40, 40; the nearest are -37.5",
        ),
        (["--root", "R", "--angles", "front"], "angle 'front'"),
        (["--root", "R", "--receivers", "1"], "'1' is not two receiver numbers"),
        (["--root", "R", "--factor", "nan"], "--factor"),
        (["--root", "R", "--factor", "0"], "--factor"),
        (["--root", "R", "--tolerance", "nan"], "nan"),
        (["--root", "R", "--distance", "-1"], "--distance"),
        (["--root", "R", "--pairs", "none"], "--pairs"),
        (["--root", "R", "--mic", "a-b"], "'a-b'"),
        (["--root", "R", "nope=1"], "nope"),
        (["--root", "R", "other.sofa"], "other.sofa: cannot read the file: No such file"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(file, tmp_path, arguments, said):
    make_sofa(file)
    done = invoke("heads", file, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and said in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("wav", "not a SOFA file (which is an HDF5 file)"),
        ("folder", "cannot read the file: Is a directory"),
        ("cut", "damaged: "),
        ("nan", "Data.IR holds NaN or infinite values (measurement 6)"),
        ("hdf5", "not a SOFA file: an HDF5 file without the attribute Conventions = SOFA"),
        (
            "other convention",
            "unsupported convention 'MultiSpeakerBRIR'; supported: SimpleFreeFieldHRIR, GeneralFIR",
        ),
    ],
)
def test_files_that_are_no_heads_are_one_line_and_status_2(file, tmp_path, kind, said):
    import h5py

    if kind == "folder":
        file.mkdir()
    elif kind == "wav":
        soundfile.write(file, np.zeros((10, 2)), 44100, format="WAV")
    elif kind == "hdf5":
        with h5py.File(file, "w") as data:
            data["x"] = [1]
    else:
        ir = responses(len(AZIMUTHS), 2)
        if kind == "nan":
            ir[AZIMUTHS.index(330), 0, 5] = np.nan
        make_sofa(file, ir=ir)
        if kind == "cut":
            file.write_bytes(file.read_bytes()[:-100])
        if kind == "other convention":
            with h5py.File(file, "r+") as data:
                data.attrs["SOFAConventions"] = "MultiSpeakerBRIR"
    done = invoke("heads", file, "--root", tmp_path / "root")
    assert done.returncode == 2
    assert done.stderr.startswith(f"cadrender: {file}: {said}") and done.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()
