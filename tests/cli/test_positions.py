import subprocess
import sys

import pytest
import soundfile
import soxr
from click.testing import CliRunner

from cadrender.cli.positions import command
from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.positions import HeadPosition, read_positions
from tests.roots import head_response, write_wav

HUMANS = ["E1", "E2", "E4", "E5", "E6", "E7", "E8", "E9", "E11", "E12", "E13", "N1", "N3", "N4", "N5", "N6"]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "audio" / "hrtf"
    folder.mkdir(parents=True)
    for human in HUMANS:
        for angle in ("n37.5", "n30.0", "n22.5", "p22.5", "p30.0", "p37.5"):
            write_wav(folder / f"BTE_fr-VP_{human}-{angle}.wav", head_response(64, 8, 0))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_official_files_give_the_official_positions(root):
    words = [sys.executable, "-m", "cadrender", "positions", "--root", str(root)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    file = root / "metadata" / "head_loudspeaker_positions.json"
    assert done.stdout == f"{file}: 144 positions of 16 heads, written\n"
    positions = read_positions(file)
    assert list(positions) == [f"hlp_{n:04d}" for n in range(1, 145)]
    assert positions["hlp_0001"] == HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr")
    assert positions["hlp_0144"] == HeadPosition("hlp_0144", "VP_N6", -22.5, 37.5, "BTE_fr")
    for position in positions.values():
        for hrir in (position.left_hrir, position.right_hrir):
            assert (root / "audio" / "hrtf" / hrir).is_file()


def test_files_that_no_position_uses_are_told(root):
    for name in ("notes.wav", "BTE_fr-VP_X-n30.0.wav"):
        (root / "audio" / "hrtf" / name).touch()
    result = run("--root", root)
    assert result.exit_code == 0
    assert "144 positions of 16 heads" in result.output
    assert "2 WAV files in no position, such as BTE_fr-VP_X-n30.0.wav" in result.output


def test_a_different_file_needs_force(root):
    file = root / "metadata" / "head_loudspeaker_positions.json"
    run("--root", root)
    before = file.read_bytes()
    assert "unchanged" in run("--root", root).output
    for side in "np":
        write_wav(root / "audio" / "hrtf" / f"BTE_fr-KEMAR-{side}30.wav", head_response(64, 8, 0))
    result = run("--root", root)
    assert isinstance(result.exception, UsageError) and "--force" in str(result.exception)
    assert file.read_bytes() == before
    assert run("--root", root, "--force").exit_code == 0
    positions = read_positions(file)
    assert len(positions) == 145
    assert positions["hlp_0001"] == HeadPosition("hlp_0001", "KEMAR", -30, 30, "BTE_fr")


def test_a_folder_without_hrirs_is_an_error(tmp_path):
    result = run("--root", tmp_path)
    assert isinstance(result.exception, MetadataError) and "audio/hrtf" in str(result.exception)
    (tmp_path / "audio" / "hrtf").mkdir(parents=True)
    result = run("--root", tmp_path)
    assert isinstance(result.exception, MetadataError) and "BTE_fr-VP_E1-n37.5.wav" in str(result.exception)
    assert not (tmp_path / "metadata").exists()


def pairs(root):
    positions = read_positions(root / "metadata" / "head_loudspeaker_positions.json")
    return [(p.mic, p.subject, p.left_angle, p.right_angle) for p in positions.values()]


def test_heads_angles_and_pairs_can_be_chosen(root):
    for angle in ("n30.0", "p30.0", "p0.0"):
        write_wav(root / "audio" / "hrtf" / f"ITE-KEMAR-{angle}.wav", head_response(64, 8, 0))
    result = run("--root", root, "--pairs", "symmetric", "--subject", "VP_N1", "--subject", "VP_E2")
    assert "6 positions of 2 heads, written" in result.output
    assert pairs(root) == [
        ("BTE_fr", subject, -angle, angle) for subject in ("VP_E2", "VP_N1") for angle in (37.5, 30, 22.5)
    ]
    result = run("--root", root, "--mic", "ITE", "--angles", "0", "--force")
    assert "1 position of 1 head, written" in result.output
    assert pairs(root) == [("ITE", "KEMAR", 0, 0)]
    run("--root", root, "--mic", "BTE_fr", "--subject", "VP_E1", "--angles", "-30,+22.5,+30", "--force")
    assert pairs(root) == [("BTE_fr", "VP_E1", -30, 22.5), ("BTE_fr", "VP_E1", -30, 30)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mic", "ITE"], "no HRIR file is named after the microphone 'ITE'; there are: BTE_fr"),
        (["--subject", "VP_E3"], "the subject 'VP_E3'; there are: VP_E1, VP_E2, VP_E4, VP_E5, "),
        (["--angles", "30,45"], "BTE_fr-VP_E1: no HRIR file for -45, 45 degrees; there are: -37.5, -30, "),
        (["--angles", "30;45"], "angle '30;45' is not a number of degrees"),
        (["--angles", "200"], "angle '200' is not a number of degrees from -180 to 180"),
        (["--angles", "nan"], "angle 'nan'"),
        (["--angles", "+30"], "no head has an HRIR on the left and one on the right"),
        (["--angles", "-30,+22.5", "--pairs", "symmetric"], "at the same angle"),
    ],
)
def test_what_is_not_there_is_named(root, options, said):
    result = run("--root", root, *options)
    assert isinstance(result.exception, UsageError) and said in str(result.exception)
    assert not (root / "metadata").exists()


def test_hrirs_of_another_rate_are_refused_or_resampled(root):
    folder = root / "audio" / "hrtf"
    file = folder / "BTE_fr-VP_E1-n30.0.wav"
    hrir = head_response(480, 40, 3)
    write_wav(file, hrir, 48000, "FLOAT")
    write_wav(folder / "BTE_fr-VP_E2-p30.0.wav", hrir, 96000, "PCM_24")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = run("--root", root)
    assert isinstance(result.exception, UsageError)
    assert f"{file}: 48000 Hz; 44100 Hz is needed (1 of 2 such files): --resample" in str(result.exception)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not (root / "metadata").exists()

    result = run("--root", root, "--resample")
    assert result.exit_code == 0, result.exception
    assert "2 HRIR files resampled from 48000 Hz, 96000 Hz to 44100 Hz" in result.output
    assert "BTE_fr-VP_E1-n30.0.wav as BTE_fr-VP_E1-n30.0.wav.1" in result.output
    taps, rate = soundfile.read(file)
    assert (rate, soundfile.info(file).subtype) == (44100, "FLOAT")
    expected = soxr.resample(hrir, 48000, 44100, quality="VHQ") * 48000 / 44100
    assert abs(taps - expected).max() < 1e-6
    assert (folder / f"{file.name}.1").read_bytes() == before[file]
    untouched = folder / "BTE_fr-VP_E1-p30.0.wav"
    assert untouched.read_bytes() == before[untouched]
    assert "unchanged" in run("--root", root, "--resample").output


def test_nothing_is_resampled_for_positions_that_are_refused(root):
    assert run("--root", root).exit_code == 0
    file = root / "audio" / "hrtf" / "BTE_fr-VP_E1-n30.0.wav"
    write_wav(file, head_response(480, 40, 3), 48000)
    before = file.read_bytes()
    result = run("--root", root, "--resample", "--angles", "30")
    assert isinstance(result.exception, UsageError) and "--force" in str(result.exception)
    assert file.read_bytes() == before


def test_unreadable_hrirs_are_named(root):
    file = root / "audio" / "hrtf" / "BTE_fr-VP_E1-n30.0.wav"
    file.write_bytes(b"RIFF")
    result = run("--root", root)
    assert isinstance(result.exception, MetadataError) and str(result.exception).startswith(f"{file}: ")
    assert not (root / "metadata").exists()
