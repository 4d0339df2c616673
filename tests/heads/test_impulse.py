import io

import numpy as np
import pytest
import soundfile

from cadrender.heads import delayed, resampled
from cadrender.heads.impulse import wav_bytes


def pulse(centre, taps=300, width=4.0):
    """A Gaussian pulse: short, smooth, and known between the samples."""
    return np.exp(-0.5 * ((np.arange(taps) - centre) / width) ** 2)


def spectrum(response, samplerate, frequencies):
    return np.exp(-2j * np.pi * np.outer(frequencies / samplerate, np.arange(len(response)))) @ response


@pytest.mark.parametrize("delay", [0, 1, 17.0, 600])
def test_a_whole_delay_only_adds_zeros(delay):
    response = np.random.default_rng(0).standard_normal(64)
    out = delayed(response, delay)
    assert np.array_equal(out, np.concatenate([np.zeros(int(delay)), response]))


@pytest.mark.parametrize("delay", [0.5, 3.25, 40.999, 700.125])
def test_a_fractional_delay_lies_between_the_samples(delay):
    out = delayed(pulse(100, 200), delay)
    assert len(out) == 200 + int(np.ceil(delay))
    assert np.allclose(out, pulse(100 + delay, len(out)), atol=1e-12)


def test_ringing_before_the_first_tap_is_kept_where_there_is_room():
    for taps in (1, 2):  # an odd and an even number of samples to transform
        response = np.array([1.0, 0.0])[:taps]
        out = delayed(response, 20.5)
        assert np.allclose(out, np.sinc(np.arange(21 + taps) - 20.5), atol=1e-4)
    assert np.abs(out[:20]).max() > 0.1


@pytest.mark.parametrize(("old", "new"), [(48000, 44100), (44100, 48000), (96000, 44100)])
def test_resampling_keeps_the_frequency_response(old, new):
    response = pulse(120, 400) - 0.4 * pulse(150, 400, 3.0)
    out = resampled(np.stack([response, -2 * response], axis=1), old, new)
    frequencies = np.linspace(50, 15000, 100)
    for ear, sign in enumerate((1, -2)):
        error = spectrum(out[:, ear], new, frequencies) - sign * spectrum(response, old, frequencies)
        assert np.abs(error).max() < 1e-5 * np.abs(spectrum(response, old, frequencies)).max()


def test_the_same_rate_changes_nothing():
    response = np.random.default_rng(1).standard_normal((50, 2))
    assert resampled(response, 44100, 44100.0) is response


def test_a_wav_file_holds_float_taps_and_nothing_of_today():
    hrir = np.random.default_rng(2).standard_normal((50, 2)).astype(np.float32) * 3
    content = wav_bytes(hrir, 44100)
    assert b"PEAK" not in content
    with soundfile.SoundFile(io.BytesIO(content)) as sound:
        assert (sound.samplerate, sound.subtype, sound.format) == (44100, "FLOAT", "WAV")
        assert np.array_equal(sound.read(dtype="float32"), hrir)
