import os
import struct

import numpy as np
import pytest
import soundfile

from cadrender.errors import AudioError
from cadrender.store import Header, read_header, read_hrir, read_stem
from tests.roots import write_wav

RATE = 44100


def noise(frames=RATE // 2, channels=2, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (frames, channels))


@pytest.fixture
def wav(tmp_path):
    """A PCM_16 stem of half a second."""
    file = tmp_path / "vocals.wav"
    write_wav(file, noise())
    return file


def line(error):
    """The message of an error; it must be one line that names the file."""
    text = str(error.value)
    assert "\n" not in text
    assert "vocals" in text
    return text


def test_header(wav):
    assert read_header(wav) == Header(RATE // 2, RATE, 2, "WAV", "PCM_16")


@pytest.mark.parametrize("missing", [1, 2, 4, 1000])
def test_truncated_wav(wav, missing):
    os.truncate(wav, wav.stat().st_size - missing)
    for read in (read_header, lambda file: read_stem(file, RATE)):
        with pytest.raises(
            AudioError, match=f"truncated: {missing} bytes fewer than its header promises"
        ) as error:
            read(wav)
        line(error)


def test_wav_from_a_pipe_has_no_length_in_its_header(wav):
    content = bytearray(wav.read_bytes())
    for place in (4, 40):
        content[place : place + 4] = b"\xff\xff\xff\xff"
    wav.write_bytes(content)
    assert read_header(wav).frames == RATE // 2
    assert len(read_stem(wav, RATE)) == RATE // 2


def test_header_that_promises_four_gigabytes(wav):
    content = bytearray(wav.read_bytes())
    struct.pack_into("<I", content, 4, 2**32 - 100)
    struct.pack_into("<I", content, 40, 2**32 - 136)
    wav.write_bytes(content)
    with pytest.raises(AudioError, match="truncated: 42948") as error:
        read_stem(wav, RATE)
    line(error)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "no such file"),
        (b"", "not a readable audio file: "),
        (b"RIFF", "not a readable audio file: "),
        (b"not audio at all " * 100, "not a readable audio file: "),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a readable audio file: "),
    ],
)
def test_what_is_no_audio_file(tmp_path, content, cause):
    file = tmp_path / "vocals.wav"
    if content is not None:
        file.write_bytes(content)
    for read in (read_header, lambda file: read_stem(file, RATE), lambda file: read_hrir(file, RATE)):
        with pytest.raises(AudioError, match=cause) as error:
            read(file)
        line(error)


def test_folder_and_impossible_name(tmp_path):
    (tmp_path / "vocals").mkdir()
    for file in (tmp_path / "vocals", tmp_path / ("vocals" + 300 * "x"), tmp_path / "vocals" / "a\0b"):
        with pytest.raises(AudioError) as error:
            read_header(file)
        line(error)


@pytest.mark.parametrize(
    ("subtype", "dtype"),
    [
        ("PCM_U8", "int16"),
        ("PCM_16", "int16"),
        ("PCM_24", "int32"),
        ("PCM_32", "int32"),
        ("FLOAT", "float32"),
        ("DOUBLE", "float64"),
        ("ULAW", "float32"),
    ],
)
def test_samples_are_read_exactly(tmp_path, subtype, dtype):
    file = tmp_path / "vocals.wav"
    write_wav(file, noise(), subtype=subtype)
    signal = read_stem(file, RATE)
    assert (signal.dtype, signal.shape) == (dtype, (RATE // 2, 2))
    scale = float(2 ** (8 * signal.itemsize - 1)) if signal.dtype.kind == "i" else 1.0
    np.testing.assert_array_equal(signal / scale, soundfile.read(file, dtype="float64")[0])


@pytest.mark.parametrize("container", ["FLAC", "AIFF", "WAVEX", "W64", "RF64"])
def test_other_containers(tmp_path, container):
    file = tmp_path / "vocals.wav"
    pcm = np.random.default_rng(2).integers(-(2**15), 2**15, (RATE // 2, 2), dtype=np.int16)
    soundfile.write(file, pcm, RATE, format=container, subtype="PCM_16")
    np.testing.assert_array_equal(read_stem(file, RATE), pcm)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_excerpt(tmp_path, subtype):
    file = tmp_path / "vocals.wav"
    write_wav(file, noise(), subtype=subtype)
    whole = read_stem(file, RATE)
    np.testing.assert_array_equal(read_stem(file, RATE, 100, 20000), whole[100:20100])
    np.testing.assert_array_equal(read_stem(file, RATE, 100), whole[100:])
    np.testing.assert_array_equal(read_stem(file, RATE, 0, 5), whole[:5])
    np.testing.assert_array_equal(read_stem(file, RATE, len(whole) - 1, 1), whole[-1:])


@pytest.mark.parametrize(("start", "frames"), [(-1, 10), (0, 0), (0, RATE), (RATE // 2, 1), (22000, 100)])
def test_excerpt_outside(wav, start, frames):
    with pytest.raises(AudioError, match=f"no frames {start} to {start + frames}: it has 22050") as error:
        read_stem(wav, RATE, start, frames)
    line(error)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_numbers_that_are_not_finite(tmp_path, value, subtype):
    file = tmp_path / "vocals.wav"
    signal = noise()
    signal[-1, 1] = value
    write_wav(file, signal, subtype=subtype)
    with pytest.raises(AudioError, match="NaN or infinite") as error:
        read_stem(file, RATE)
    line(error)
    with pytest.raises(AudioError) as error:
        read_stem(file, RATE, 10)
    line(error)
    assert len(read_stem(file, RATE, 0, RATE // 2 - 1)) == RATE // 2 - 1


@pytest.mark.parametrize(
    ("shape", "rate", "cause"),
    [
        ((RATE, 1), RATE, r"1 channel; stereo is needed"),
        ((RATE, 3), RATE, r"3 channels; stereo is needed"),
        ((RATE, 2), 48000, "48000 Hz; 44100 Hz is needed"),
        ((17639, 2), RATE, "400 ms"),
        ((0, 2), RATE, "0 frames; a loudness needs at least 17640"),
    ],
)
def test_stems_that_cannot_be_rendered(tmp_path, shape, rate, cause):
    file = tmp_path / "vocals.wav"
    write_wav(file, np.zeros(shape), rate)
    with pytest.raises(AudioError, match=cause) as error:
        read_stem(file, RATE)
    line(error)


def test_400_ms_are_enough(tmp_path):
    file = tmp_path / "vocals.wav"
    write_wav(file, np.zeros((17640, 2)))
    assert len(read_stem(file, RATE)) == 17640


def test_damaged_in_the_middle(tmp_path):
    file = tmp_path / "vocals.flac"
    soundfile.write(file, noise(3 * RATE), RATE, format="FLAC", subtype="PCM_16")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    file.write_bytes(content)
    with pytest.raises(AudioError) as error:
        read_stem(file, RATE)
    line(error)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_hrir(tmp_path, subtype):
    file = tmp_path / "BTE_fr-vocals.wav"
    write_wav(file, noise(384), subtype=subtype)
    hrir = read_hrir(file, RATE)
    assert hrir.dtype == np.float64 and hrir.shape == (384, 2)
    np.testing.assert_array_equal(hrir, soundfile.read(file, dtype="float64")[0])


@pytest.mark.parametrize(
    ("samples", "rate", "cause"),
    [
        (np.ones((384, 1)), RATE, "1 channel"),
        (np.ones((384, 2)), 48000, "48000 Hz; 44100 Hz is needed"),
        (np.zeros((0, 2)), RATE, "empty"),
        (np.full((384, 2), np.nan), RATE, "NaN or infinite"),
    ],
)
def test_hrirs_that_cannot_be_used(tmp_path, samples, rate, cause):
    file = tmp_path / "vocals.wav"
    write_wav(file, samples, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match=cause) as error:
        read_hrir(file, RATE)
    line(error)


def test_links_are_followed(wav, tmp_path):
    link = tmp_path / "link.wav"
    link.symlink_to(wav)
    np.testing.assert_array_equal(read_stem(link, RATE), read_stem(wav, RATE))
