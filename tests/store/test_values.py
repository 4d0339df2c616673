"""FLOAT stems with outliers: exact up to 120 dB above full scale, refused in one line beyond."""

import numpy as np
import pytest

import cadrender
from benchmarks import reference
from cadrender.errors import AudioError
from cadrender.store.audio import LOUDEST, read_hrir, read_stem
from cadrender.store.blocks import BlockReader
from cadrender.store.parts import read_part
from tests.roots import POSITIONS, SAMPLERATE, SONGS, head_response, invoke, make_root, music, write_wav


def read_blocks(file):
    out = np.empty(2 * SAMPLERATE)
    with BlockReader(file, SAMPLERATE, SAMPLERATE, "float64") as reader:
        reader.read(0, out)
    return out.reshape(-1, 2)


READERS = {
    "whole": lambda file: read_stem(file, SAMPLERATE),
    "excerpt": lambda file: read_stem(file, SAMPLERATE, 100, 30_000),
    "part": lambda file: read_part(file, SAMPLERATE, SAMPLERATE, 100, 30_000)[0],
    "blocks": read_blocks,
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (LOUDEST, None),
        (-LOUDEST, None),
        (2e6, "holds a sample of 2e+06; full scale is 1, the limit is 1e+06"),
        (-1e9, "holds a sample of 1e+09; full scale is 1"),
        (np.nan, "holds NaN or infinite samples"),
        (-np.inf, "holds NaN or infinite samples"),
    ],
)
def test_every_reader_looks_at_the_values(tmp_path, read, subtype, value, told):
    file = tmp_path / "stem.wav"
    signal = music(1.0, 1)
    signal[20_000, 1] = value
    write_wav(file, signal, SAMPLERATE, subtype)
    if told is None:
        assert np.abs(READERS[read](file)).max() == LOUDEST
        return
    with pytest.raises(AudioError) as error:
        READERS[read](file)
    assert str(error.value).startswith(f"{file}: {told}")
    assert "\n" not in str(error.value)


def test_an_hrir_may_be_as_loud_as_it_likes(tmp_path):
    """Its level is taken out again by the loudness."""
    response = 1e9 * head_response(100, 5, 1)
    write_wav(tmp_path / "hrir.wav", response, SAMPLERATE, "DOUBLE")
    assert np.abs(read_hrir(tmp_path / "hrir.wav", SAMPLERATE)).max() > 1e7


def test_commands_name_the_file_and_go_on(tmp_path):
    root = make_root(tmp_path / "root")
    file = root / "audio/music/train" / SONGS[0] / "drums.wav"
    signal = music(2.1, 1)
    signal[12_345] = 3e9
    write_wav(file, signal, SAMPLERATE, "FLOAT")
    result = invoke("generate", "--root", root, "-j", 1, "-q")
    assert result.returncode == 1
    line = f"{file}: holds a sample of 3e+09; full scale is 1, the limit is 1e+06"
    assert f"failed: {line}" in result.stderr.splitlines()
    assert len(list((root / "audio/at_mic_music").rglob("drums.wav"))) == len(POSITIONS) * (len(SONGS) - 1)
    assert "holds a sample of 3e+09" in invoke("check", "--root", root).stdout


def test_outliers_up_to_the_limit_change_no_pcm_value():
    """One a second: one PCM value in 10**7 may differ, by one step."""
    signal = music(20.0, 1).astype(np.float32).astype(np.float64)
    signal[SAMPLERATE // 2 :: SAMPLERATE] = LOUDEST
    left, right = head_response(300, 20, 1), head_response(300, 30, 2)
    ours = cadrender.at_mic_stem(signal, SAMPLERATE, left, right)
    rendered = reference.convolve(signal, left, right)
    levels = (reference.loudness(each, SAMPLERATE) for each in (signal, rendered))
    expected, _ = reference.to_pcm16(rendered * 10 ** (np.subtract(*levels) / 20))
    assert np.count_nonzero(expected) > 10_000
    np.testing.assert_array_equal(ours, expected)
