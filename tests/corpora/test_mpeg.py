import numpy as np
import pytest
import soundfile

from cadrender.corpora.mpeg import with_length
from tests.corpora.trees import mp3, tone

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def without_header(path):
    """Cut the first frame, which holds nothing but the Xing header, off a file."""
    content = path.read_bytes()
    second = content.index(content[:2], 4)
    path.write_bytes(content[second:])
    return path


def swelling(rate, channels):
    """Noise that grows, so that the frames at the beginning are smaller than the average one."""
    frames = 2 * rate
    return (
        np.random.default_rng(rate).uniform(-0.3, 0.3, (frames, channels))
        * np.linspace(0, 1, frames)[:, None]
    )


def test_a_file_with_a_length_is_left_alone(tmp_path):
    assert with_length(mp3(tmp_path / "a.mp3", tone(440))) is None


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_a_file_without_a_length_gets_one(tmp_path, rate, channels):
    signal = swelling(rate, channels)
    path = mp3(tmp_path / "a.mp3", signal, rate)
    expected = soundfile.read(path, always_2d=True)[0]
    without_header(path)
    (tmp_path / "b.mp3").write_bytes(with_length(path))
    decoded = soundfile.read(tmp_path / "b.mp3", always_2d=True)[0]
    # Without the header nothing tells how many frames of silence the encoder put in front.
    extra = len(decoded) - len(expected)
    assert 0 <= extra <= 4 * 1152
    errors = [np.abs(decoded[start:][: len(expected)] - expected).max() for start in range(extra + 1)]
    assert min(errors) < 1e-4


def test_tags_are_passed_over(tmp_path):
    path = without_header(mp3(tmp_path / "a.mp3", swelling(44100, 2)))
    plain = with_length(path)
    tagged = tmp_path / "b.mp3"
    tagged.write_bytes(
        b"ID3\x04\0\0\0\0\x01\x00" + b"\xff\xfb" * 64 + path.read_bytes() + b"TAG" + bytes(125)
    )
    assert with_length(tagged)[: len(plain)] == plain


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xfb\x90", b"ID3", b"\xff" * 5000, bytes(5000)])
def test_what_is_no_mp3_is_left_alone(tmp_path, content):
    (tmp_path / "a.mp3").write_bytes(content)
    assert with_length(tmp_path / "a.mp3") is None
