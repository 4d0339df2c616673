import contextlib
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import soundfile

from cadrender.corpora.decode import quiet_stderr, read_blocks, sum_blocks
from cadrender.errors import AudioError
from tests.corpora.trees import ffmpeg, mp3, tone, write


def decoded(path):
    lengths: dict[Any, int] = {}
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
    lengths: dict[Any, int] = {}
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


# MP3, with ffmpeg as the judge

NO_HEADER = ("-write_xing", 0)
ENCODINGS = {
    "variable bit rate": ("-q:a", 2),
    "variable bit rate, no header": ("-q:a", 2, *NO_HEADER),
    "constant bit rate": ("-b:a", "128k"),
    "constant bit rate, no header": ("-b:a", "128k", *NO_HEADER),
    "mono, half the rate": ("-ac", 1, "-ar", 22050, "-q:a", 4),
    "mono, a quarter of the rate, no header": ("-ac", 1, "-ar", 11025, "-q:a", 4, *NO_HEADER),
    "48 kHz": ("-ar", 48000, "-q:a", 2),
}


@pytest.fixture(scope="module")
def swelling(tmp_path_factory):
    """Noise that grows: frames at the beginning are smaller than the average one; and beyond full scale at the end."""
    signal = (
        np.random.default_rng(1).uniform(-0.9, 0.9, (4 * 44100, 2)) * np.linspace(0, 1, 4 * 44100)[:, None]
    )
    return write(tmp_path_factory.mktemp("noise") / "swelling.wav", signal)


def encode(source, path, *options):
    ffmpeg("-i", source, *options, path)
    return path


def by_ffmpeg(path, rate, channels):
    content = ffmpeg("-i", path, "-f", "f32le", "-ar", rate, "-ac", channels, "-")
    return np.frombuffer(content, "<f4").reshape(-1, channels)


def assert_as_ffmpeg(path):
    info = soundfile.info(path)
    expected = by_ffmpeg(path, info.samplerate, info.channels)
    signal = np.concatenate(list(read_blocks(path, {}, info.samplerate)))
    assert len(signal) == len(expected)
    np.testing.assert_allclose(signal, np.broadcast_to(expected, signal.shape), rtol=0, atol=1e-5)
    return signal


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_mp3_as_ffmpeg_decodes_it(tmp_path, swelling, encoding):
    """To its end, without the delay that a header tells, and without clipping what is beyond full scale."""
    path = encode(swelling, tmp_path / "a.mp3", *ENCODINGS[encoding])
    signal = assert_as_ffmpeg(path)
    info = soundfile.info(path)
    if "no header" not in encoding:
        assert len(signal) == 4 * info.samplerate
    elif "variable" in encoding:
        assert info.frames < 0.6 * len(signal)  # libsndfile's own estimate
    if info.samplerate == 44100:
        assert np.abs(signal).max() > 1.0


@pytest.mark.parametrize("header", [(), NO_HEADER])
def test_mp3_cut_out_of_a_longer_one(tmp_path, swelling, header):
    """Its first frames refer to data that are gone; they count all the same."""
    whole = encode(swelling, tmp_path / "whole.mp3", "-q:a", 2, *NO_HEADER)
    path = tmp_path / "a.mp3"
    ffmpeg("-ss", "1.7", "-i", whole, "-c", "copy", *header, path)
    assert_as_ffmpeg(path)


@pytest.mark.parametrize("tag", ["ID3v1", "APE", "ID3v2"])
@pytest.mark.parametrize("header", [(), NO_HEADER])
def test_tags_are_no_sound(tmp_path, swelling, tag, header):
    plain = encode(swelling, tmp_path / "plain.mp3", "-q:a", 2, "-id3v2_version", 0, *header)
    before, after = {
        "ID3v1": (b"", b"TAG" + bytes(125)),
        "APE": (b"", b"APETAGEX" + np.random.default_rng(1).bytes(5000)),
        "ID3v2": (b"ID3\x04\0\0\0\0\x01\x00" + b"\xff\xfb" * 64, b""),
    }[tag]
    path = tmp_path / "a.mp3"
    path.write_bytes(before + plain.read_bytes() + after)
    assert np.array_equal(decoded(path), decoded(plain))


JOINED = {
    "two with headers": (("-q:a", 2), ("-q:a", 2)),
    "the second without": (("-q:a", 2), ("-q:a", 2, *NO_HEADER)),
    "the first without": (("-q:a", 2, *NO_HEADER), ("-q:a", 2)),
    "of two rates": (("-q:a", 2, *NO_HEADER), ("-q:a", 2, "-ar", 22050, *NO_HEADER)),
    "of two kinds": (("-q:a", 2, *NO_HEADER), ("-q:a", 2, "-ac", 1, *NO_HEADER)),
}


@pytest.mark.parametrize("how", JOINED)
def test_a_second_stream_is_noticed(tmp_path, swelling, how):
    one, other = (
        encode(swelling, tmp_path / f"{k}.mp3", *options).read_bytes()
        for k, options in enumerate(JOINED[how])
    )
    path = tmp_path / "a.mp3"
    path.write_bytes(one + other)
    with pytest.raises(AudioError, match=r"a\.mp3: .*a second (MP3 )?stream"):
        decoded(path)


@pytest.mark.parametrize("header", [(), NO_HEADER])
def test_damage_in_the_middle_of_an_mp3_is_noticed(tmp_path, swelling, header):
    path = encode(swelling, tmp_path / "a.mp3", "-q:a", 2, *header)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + np.random.default_rng(1).bytes(5000) + content[middle + 5000 :])
    with pytest.raises(AudioError, match=r"a\.mp3: is damaged"):
        decoded(path)


def test_an_mp3_without_header_loses_its_last_frame_at_most(tmp_path, swelling):
    path = encode(swelling, tmp_path / "a.mp3", "-q:a", 2, *NO_HEADER)
    whole = decoded(path)
    path.write_bytes(path.read_bytes()[:-100])
    cut = decoded(path)
    assert len(whole) - 2 * 1152 <= len(cut) < len(whole)
    assert np.array_equal(cut, whole[: len(cut)])


def test_what_begins_like_an_mp3_never_blocks(tmp_path, swelling):
    """The pipe's other end must go away, wherever the decoder gives up."""
    content = encode(swelling, tmp_path / "whole.mp3", "-q:a", 2).read_bytes()
    random = np.random.default_rng(1)
    path = tmp_path / "a.mp3"
    threads = threading.active_count()
    for _ in range(100):
        piece = bytearray(content[: random.integers(1, len(content))])
        for place in random.integers(0, min(len(piece), 400), 3):
            piece[place] = random.integers(256)
        path.write_bytes(piece)
        with quiet_stderr(), contextlib.suppress(AudioError):
            next(read_blocks(path, {}), None)
    assert threading.active_count() == threads


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
        ".": "not a regular file",
        "pipe.mp3": "not a regular file",  # opening it would wait for ever
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
