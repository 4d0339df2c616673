import numpy as np
import pytest
from scipy.special import eval_legendre, spherical_jn, spherical_yn

from cadrender.demo.head import ANGLES, LEAD, SAMPLERATE, SUBJECTS, TAPS, SphericalHead, make_head, make_hrir

SPEED_OF_SOUND = 343.0
SIDEWAYS = SphericalHead(radius=0.0875, ear_azimuth=90.0, ear_elevation=0.0)


def spectrum(hrir, frequency):
    """Response at one frequency, by the sum that defines it."""
    time = np.arange(len(hrir)) / SAMPLERATE
    return np.exp(-2j * np.pi * frequency * time) @ hrir


def onset(taps):
    """Frame at which the wave arrives: the first to pass 15 % of the peak, finely interpolated."""
    fine = np.fft.irfft(np.fft.rfft(taps, 1024), 1024 * 64)
    return np.argmax(np.abs(fine) > 0.15 * np.abs(fine).max()) / 64


def sphere_response(frequency, radius, distance, angle):
    """Pressure on a rigid sphere, straight from the sum over spherical Hankel functions."""
    orders = np.arange(60)
    k = 2 * np.pi * frequency / SPEED_OF_SOUND
    far = spherical_jn(orders, k * distance) - 1j * spherical_yn(orders, k * distance)
    slope = spherical_jn(orders, k * radius, True) - 1j * spherical_yn(orders, k * radius, True)
    terms = (2 * orders + 1) * eval_legendre(orders, np.cos(np.radians(angle))) * far / slope
    return -distance / (k * radius**2) * np.exp(1j * k * distance) * terms[np.isfinite(terms)].sum()


@pytest.mark.parametrize("frequency", [200.0, 1000.0, 3100.0, 9000.0])
@pytest.mark.parametrize("azimuth", [-37.5, 0.0, 70.0])
def test_sphere_follows_the_series(frequency, azimuth):
    found = spectrum(make_hrir(SIDEWAYS, azimuth, torso=False), frequency)
    delay = np.exp(-2j * np.pi * frequency * LEAD / SAMPLERATE)
    for column, ear in enumerate((-90, 90)):
        wanted = 0.5 * delay * sphere_response(frequency, 0.0875, 2.0, azimuth - ear)
        assert abs(found[column] - wanted) < 2e-3 * abs(wanted)


@pytest.mark.parametrize("azimuth", [15.0, 30.0, 60.0, 90.0])
def test_time_difference_at_the_wave_front_is_woodworths(azimuth):
    hrir = make_hrir(SIDEWAYS, azimuth, torso=False)
    found = (onset(hrir[:, 0]) - onset(hrir[:, 1])) / SAMPLERATE
    angle = np.radians(azimuth)
    assert found == pytest.approx(0.0875 / SPEED_OF_SOUND * (angle + np.sin(angle)), rel=0.09)


@pytest.mark.parametrize("azimuth", [-60.0, 20.0, 90.0])
def test_time_difference_at_low_frequencies_is_kuhns(azimuth):
    # Kuhn, J. Acoust. Soc. Am. 62 (1977): three radii, not two, over the speed of sound
    left, right = spectrum(make_hrir(SIDEWAYS, azimuth, torso=False), 150.0)
    found = np.angle(right / left) / (2 * np.pi * 150)
    assert found == pytest.approx(3 * 0.0875 / SPEED_OF_SOUND * np.sin(np.radians(azimuth)), rel=0.04)


@pytest.mark.parametrize("azimuth", [30.0, 45.0, 60.0])
def test_level_difference_rises_with_frequency(azimuth):
    hrir = make_hrir(SIDEWAYS, azimuth, torso=False)
    left, right = np.abs([spectrum(hrir, frequency) for frequency in (125, 500, 1000, 8000)]).T
    decibels = 20 * np.log10(right / left)
    assert (np.diff(decibels) > 0).all()
    assert 0 < decibels[0] < 1.5
    assert 6 < decibels[-1] < 25


@pytest.mark.parametrize("azimuth", [22.5, 30.0, 37.5, 90.0])
def test_left_and_right_mirror_each_other(azimuth):
    head = make_head("VP_E1")
    np.testing.assert_allclose(make_hrir(head, -azimuth), make_hrir(head, azimuth)[:, ::-1], atol=1e-14)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_nearer_ear_hears_it_earlier_and_louder(subject):
    head = make_head(subject)
    for angle in ANGLES:
        hrir = make_hrir(head, angle)
        near, far = (0, 1) if angle < 0 else (1, 0)
        assert hrir.shape == (TAPS, 2)
        assert np.isfinite(hrir).all()
        assert 3 < onset(hrir[:, far]) - onset(hrir[:, near]) < 30
        assert (hrir[:, near] ** 2).sum() > 1.3 * (hrir[:, far] ** 2).sum()


def test_impulse_responses_fit_their_length():
    hrir = make_hrir(make_head("VP_N3"), -37.5)
    peak = np.abs(hrir).max()
    assert 0.3 < peak < 1
    assert np.abs(hrir[:20]).max() < 1e-3 * peak
    assert np.abs(hrir[256:]).max() < 1e-3 * peak


def test_torso_answers_after_the_direct_sound():
    head = make_head("VP_E4")
    echo = make_hrir(head, 30.0) - make_hrir(head, 30.0, torso=False)
    direct = make_hrir(head, 30.0, torso=False)
    assert 4 < onset(echo[:, 1]) - onset(direct[:, 1]) < 60
    assert 0.02 < np.abs(echo).max() / np.abs(direct).max() < 0.35


def test_heads_differ_and_stay_the_same():
    heads = [make_head(subject) for subject in SUBJECTS]
    assert len(SUBJECTS) == len({head.radius for head in heads}) == 16
    assert all(0.08 < head.radius < 0.094 for head in heads)
    assert heads == [make_head(subject) for subject in SUBJECTS]
