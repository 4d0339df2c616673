import subprocess
import sys

import pytest
from click.testing import CliRunner

from cadrender import metadata
from cadrender.cli.positions import command
from cadrender.errors import MetadataError, UsageError

HUMANS = ["E1", "E2", "E4", "E5", "E6", "E7", "E8", "E9", "E11", "E12", "E13", "N1", "N3", "N4", "N5", "N6"]


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "audio" / "hrtf"
    folder.mkdir(parents=True)
    for human in HUMANS:
        for angle in ("n37.5", "n30.0", "n22.5", "p22.5", "p30.0", "p37.5"):
            (folder / f"BTE_fr-VP_{human}-{angle}.wav").touch()
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_official_files_give_the_official_positions(root):
    words = [sys.executable, "-m", "cadrender", "positions", "--root", str(root)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    file = root / "metadata" / "head_loudspeaker_positions.json"
    assert done.stdout == f"{file}: 144 positions of 16 heads, written\n"
    positions = metadata.read_positions(file)
    assert list(positions) == [f"hlp_{n:04d}" for n in range(1, 145)]
    assert positions["hlp_0001"] == metadata.HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr")
    assert positions["hlp_0144"] == metadata.HeadPosition("hlp_0144", "VP_N6", -22.5, 37.5, "BTE_fr")
    for position in positions.values():
        for hrir in (position.left_hrir, position.right_hrir):
            assert (root / "audio" / "hrtf" / hrir).is_file()


def test_files_that_no_position_uses_are_told(root):
    for name in ("notes.wav", "BTE_fr-VP_X-n30.0.wav"):
        (root / "audio" / "hrtf" / name).touch()
    result = run("--root", root)
    assert result.exit_code == 0
    assert "144 positions of 16 heads" in result.output
    assert "2 WAV files belong to no position, such as BTE_fr-VP_X-n30.0.wav" in result.output


def test_a_different_file_needs_force(root):
    file = root / "metadata" / "head_loudspeaker_positions.json"
    run("--root", root)
    before = file.read_bytes()
    assert "already" in run("--root", root).output
    for side in "np":
        (root / "audio" / "hrtf" / f"BTE_fr-KEMAR-{side}30.wav").touch()
    result = run("--root", root)
    assert isinstance(result.exception, UsageError) and "--force" in str(result.exception)
    assert file.read_bytes() == before
    assert run("--root", root, "--force").exit_code == 0
    positions = metadata.read_positions(file)
    assert len(positions) == 145
    assert positions["hlp_0001"] == metadata.HeadPosition("hlp_0001", "KEMAR", -30, 30, "BTE_fr")


def test_a_folder_without_hrirs_is_an_error(tmp_path):
    result = run("--root", tmp_path)
    assert isinstance(result.exception, MetadataError) and "audio/hrtf" in str(result.exception)
    (tmp_path / "audio" / "hrtf").mkdir(parents=True)
    result = run("--root", tmp_path)
    assert isinstance(result.exception, MetadataError) and "BTE_fr-VP_E1-n37.5.wav" in str(result.exception)
    assert not (tmp_path / "metadata").exists()
