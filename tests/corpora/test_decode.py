import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from cadrender.corpora.decode import read_blocks, sum_blocks
from cadrender.errors import AudioError
from tests.corpora.trees import mp3, tone, write


def decoded(path):
    lengths = {}
    signal = np.concatenate(list(read_blocks(path, lengths)))
    assert lengths == {path: len(signal)}
    return signal


def amplitude(signal, frequency, rate=44100):
    """The amplitude of the sine of `frequency`, by projection on a whole number of its periods' window."""
    time = np.arange(len(signal)) / rate
    window = np.hanning(len(signal))
    return 2 * abs(np.sum(window * signal * np.exp(-2j * np.pi * frequency * time))) / window.sum()


def test_stereo_at_44100_is_unchanged(tmp_path):
    signal = np.random.default_rng(1).integers(-32768, 32768, (100_000, 2), dtype=np.int16)
    path = write(tmp_path / "a.wav", signal)
    assert np.array_equal(decoded(path) * 32768, signal)


def test_mono_becomes_two_equal_channels(tmp_path):
    signal = tone(440, channels=1)
    both = decoded(write(tmp_path / "a.wav", signal, subtype="DOUBLE"))
    assert np.array_equal(both[:, :1], signal)
    assert np.array_equal(both[:, 0], both[:, 1])


@pytest.mark.parametrize("rate", [8000, 22050, 32000, 48000, 88200, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2])
def test_another_rate_keeps_pitch_level_and_length(tmp_path, rate, channels):
    path = write(tmp_path / "a.wav", tone(1000, 2, rate, channels, level=0.5), rate, subtype="DOUBLE")
    signal = decoded(path)
    assert signal.shape == (2 * 44100, 2)
    middle = signal[22050:-22050]
    for channel in middle.T:
        assert amplitude(channel, 1000) == pytest.approx(0.5, rel=1e-5)
    time = np.arange(22050, 22050 + len(middle)) / 44100
    assert middle[:, 0] == pytest.approx(0.5 * np.sin(2 * np.pi * 1000 * time), abs=1e-4)


def test_what_44100_cannot_hold_is_gone(tmp_path):
    path = write(tmp_path / "a.wav", tone(30_000, 1, 96000, level=0.5), 96000, subtype="DOUBLE")
    assert np.abs(decoded(path)[2000:-2000]).max() < 1e-6


@pytest.mark.parametrize("suffix", ["flac", "ogg", "mp3"])
def test_other_formats(tmp_path, suffix):
    signal = tone(440, 1.5)
    both = decoded(write(tmp_path / f"a.{suffix}", signal))
    assert len(both) == len(signal)
    assert amplitude(both[4410:-4410, 0], 440) == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize("block", [1, 1000, 44100, 1 << 20])
def test_sum_is_as_long_as_the_longest_and_knows_no_block(tmp_path, block):
    signals = [tone(300, 0.1), tone(500, 0.3), tone(700, 0.2)]
    paths = [write(tmp_path / f"{n}.wav", signal, subtype="DOUBLE") for n, signal in enumerate(signals)]
    expected = np.zeros((13230, 2))
    for signal in signals:
        expected[: len(signal)] += signal
    lengths = {}
    blocks = list(sum_blocks(paths, lengths, block))
    assert np.array_equal(np.concatenate(blocks), expected)
    assert {len(part) for part in blocks[:-1]} <= {block}
    assert [lengths[path] for path in paths] == [4410, 13230, 8820]


def test_sum_of_nothing(tmp_path):
    assert list(sum_blocks([], {})) == []


def damage(path, kind):
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[: len(content) * 2 // 3], "empty": b"", "text": b"no audio\n" * 999}[kind]
    )
    return path


@pytest.mark.parametrize(
    ("suffix", "kind", "message"),
    [
        ("wav", "cut", r"is damaged: 0\.7 s of 1\.0 s can be decoded"),
        ("flac", "cut", "is damaged"),
        ("mp3", "cut", r"is damaged: 0\.\d s of 1\.0 s can be decoded"),
        ("wav", "empty", "is empty"),
        ("mp3", "empty", "is empty"),
        ("wav", "text", "cannot be decoded; expected WAV, FLAC, MP3 or Ogg"),
        ("mp3", "text", "cannot be decoded; expected WAV, FLAC, MP3 or Ogg"),
    ],
)
def test_damage_is_noticed(tmp_path, suffix, kind, message):
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, (44100, 2))
    path = damage(write(tmp_path / f"a.{suffix}", noise), kind)
    with pytest.raises(AudioError, match=rf"a\.{suffix}: {message}") as caught:
        decoded(path)
    assert "\n" not in str(caught.value)


def test_one_missing_frame_of_a_wav_is_damage(tmp_path):
    path = write(tmp_path / "a.wav", tone(440))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(AudioError, match="is damaged"):
        decoded(path)


def test_mp3_without_a_length_is_read_to_its_end(tmp_path):
    swelling = np.random.default_rng(1).uniform(-0.3, 0.3, (88200, 2)) * np.linspace(0, 1, 88200)[:, None]
    path = mp3(tmp_path / "a.mp3", swelling)
    content = path.read_bytes()
    path.write_bytes(content[content.index(content[:2], 4) :])
    assert soundfile.info(path).frames < 60000  # what libsndfile makes of it
    assert 88200 <= len(decoded(path)) < 88200 + 4 * 1152


@pytest.mark.parametrize(
    ("signal", "rate", "message"),
    [
        (np.zeros((1000, 3)), 44100, "has 3 channels; expected 1 or 2"),
        (np.zeros((1000, 2)), 100, "has 100 Hz; expected 8000 to 384000 Hz"),
        (np.full((1000, 2), np.nan), 44100, "NaN"),
        (np.full((1000, 2), np.inf), 44100, "infinite"),
    ],
)
def test_unfit_signals_are_refused(tmp_path, signal, rate, message):
    with pytest.raises(AudioError, match=message):
        decoded(write(tmp_path / "a.wav", signal, rate, subtype="FLOAT"))


def test_missing_files_folders_and_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp3")
    for name, message in {
        "none.wav": "No such file",
        ".": "no regular file",
        "pipe.mp3": "no regular file",  # opening it would wait for ever
    }.items():
        with pytest.raises(AudioError, match=message):
            decoded(tmp_path / name)


def test_quiet_stderr(tmp_path):
    path = damage(mp3(tmp_path / "a.mp3", tone(440, 2)), "cut")
    script = """
import sys
from pathlib import Path
from cadrender.corpora.decode import quiet_stderr, read_blocks
from cadrender.errors import AudioError
def read():
    try:
        list(read_blocks(Path(sys.argv[1]), {}))
    except AudioError:
        pass
if sys.argv[2] == "loud":
    read()
with quiet_stderr():
    read()
print("still here", file=sys.stderr)
"""
    loud, quiet = (
        subprocess.run(
            [sys.executable, "-c", script, path, how], stderr=subprocess.PIPE, text=True, check=True
        )
        for how in ("loud", "quiet")
    )
    assert len(loud.stderr.splitlines()) > 1  # or this test shows nothing
    assert quiet.stderr == "still here\n"
