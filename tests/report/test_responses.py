import numpy as np
import pytest
from scipy import signal

from cadrender.report.responses import frequencies, responses

RATE = 44100


def impulse(left=(1.0, 0), right=(1.0, 0), taps=384):
    """An HRIR of one impulse an ear: its size and its delay in frames."""
    out = np.zeros((taps, 2))
    for ear, (size, delay) in enumerate((left, right)):
        out[delay, ear] = size
    return out


def only(hrir, name="BTE_fr-VP_E1-n30.0.wav", rate=RATE):
    (found,) = responses({name: hrir}, rate)
    return found


def test_bands_are_twelve_an_octave_and_stay_under_half_the_rate():
    bands = frequencies(RATE)
    assert bands[0] == 100 and bands[12] == pytest.approx(200) and 18_900 < bands[-1] <= 20_000
    assert frequencies(16000)[-1] < 8000


def test_an_impulse_is_flat_whatever_its_delay():
    found = only(impulse((1.0, 40), (0.5, 77)))
    np.testing.assert_allclose(found.near, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.far, 20 * np.log10(0.5), atol=1e-9)
    assert found.level == pytest.approx(20 * np.log10(2))


def test_the_magnitude_is_that_of_the_filter():
    b, a = signal.butter(2, 1000, fs=RATE)
    hrir = np.repeat(signal.lfilter(b, a, np.eye(1, 4096)[0])[:, None], 2, axis=1)
    bands = frequencies(RATE)
    expected = 20 * np.log10(np.abs(signal.freqz(b, a, bands, fs=RATE)[1]))
    found = only(hrir)
    below = bands < 15000  # a band's mean power is not the power at its centre near the filter's zero
    np.testing.assert_allclose(found.near[below], expected[below], atol=0.25)


@pytest.mark.parametrize("frames", [0, 1, 13, 30])
def test_the_delay_is_how_much_later_the_far_ear_hears(frames):
    near, far = (1.0, 20), (0.7, 20 + frames)
    late = 1e6 * frames / RATE
    assert only(impulse(near, far)).delay == pytest.approx(late, abs=1.5)
    assert only(impulse(far, near), "BTE_fr-VP_E1-p30.0.wav").delay == pytest.approx(late, abs=1.5)
    assert only(impulse(far, near)).delay == pytest.approx(-late, abs=1.5)


def test_near_and_far_follow_the_side_of_the_loudspeaker():
    hrir = impulse((1.0, 0), (0.1, 0))
    left, right = only(hrir, "BTE_fr-A-n30.wav"), only(hrir, "BTE_fr-A-p30.wav")
    assert (left.azimuth, right.azimuth) == (-30, 30)
    for response, sign in ((left, 1), (right, -1)):
        assert response.level == pytest.approx(20 * sign)
        np.testing.assert_allclose(response.near - response.far, 20 * sign)


def test_a_loudspeaker_ahead_or_behind_is_one_whatever_its_side_in_the_name():
    hrir = impulse((0.1, 0), (1.0, 0))
    names = [f"BTE_fr-{head}-{side}{angle}.wav" for head in "AB" for side in "np" for angle in (0, 180, 110)]
    found = responses({name: hrir for name in names}, RATE)
    assert [(response.head, response.azimuth) for response in found] == [
        (head, azimuth) for head in "AB" for azimuth in (-110, 0, 110, 180)
    ]
    assert [round(response.level) for response in found] == [-20, 20, 20, 20] * 2


def test_azimuths_go_round():
    found = responses({f"BTE_fr-A-{name}.wav": impulse() for name in ("n270", "p190", "p370.5")}, RATE)
    assert [response.azimuth for response in found] == [-170, 10.5, 90]


def test_heads_stand_in_natural_order_and_strange_names_are_left_out():
    names = ["BTE_fr-VP_E11-n30.wav", "BTE_fr-VP_E2-p30.wav", "BTE_fr-VP_E2-n30.wav", "notes.wav"]
    found = responses({name: impulse() for name in names}, RATE)
    assert [(response.head, response.azimuth) for response in found] == [
        ("VP_E2", -30),
        ("VP_E2", 30),
        ("VP_E11", -30),
    ]


def test_several_microphones_are_told_apart():
    found = responses({f"{mic}-VP_E1-n30.wav": impulse() for mic in ("BTE_fr", "ITE")}, RATE)
    assert {response.head for response in found} == {"VP_E1 BTE_fr", "VP_E1 ITE"}


@pytest.mark.parametrize("rate", [100, 8000, 192000])
@pytest.mark.parametrize("taps", [1, 2, 20000])
def test_any_length_and_rate_gives_numbers(rate, taps):
    for hrir in (np.zeros((taps, 2)), np.ones((taps, 2))):
        found = only(hrir, rate=rate)
        assert np.isfinite([*found.near, *found.far, found.delay, found.level]).all()
        assert len(found.near) == len(frequencies(rate)) > 0
