import numpy as np
import pytest

from cadrender.demo.instruments import PATCHES, RATE, fade, frequency, oscillate, play_note

patches = pytest.mark.parametrize("name", PATCHES)
DRUMS = [name for name, patch in PATCHES.items() if patch.stem == "drums"]
PITCHED = [name for name in PATCHES if name not in DRUMS]


def play(name, seconds=0.6, strength=0.8, seed=1):
    patch = PATCHES[name]
    pitch = {"drums": 0, "bass": 33, "other": 64}[patch.stem]
    return play_note(patch, pitch, seconds, strength, np.random.default_rng(seed))


def spectrum(sound):
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 18)) ** 2
    return np.fft.rfftfreq(1 << 18, 1 / RATE), power


@patches
def test_notes_are_of_their_strength_and_start_and_end_without_a_click(name):
    sound = play(name)
    assert sound.shape[0] == len(PATCHES[name].detune)
    assert np.isfinite(sound).all()
    assert 0.2 < np.abs(sound).max() < 3
    assert np.abs(sound[:, [0, -1]]).max() < 0.01
    assert np.abs(play(name, strength=0.2)).max() < 0.4 * np.abs(sound).max()


@patches
def test_notes_depend_on_the_generator_alone(name):
    np.testing.assert_array_equal(play(name), play(name))
    if PATCHES[name].noise[2] or len(PATCHES[name].detune) > 1:
        assert not np.array_equal(play(name), play(name, seed=2))


@pytest.mark.parametrize("name", PITCHED)
def test_pitched_notes_sound_at_their_pitch_and_end_with_their_release(name):
    sound = play(name, seconds=0.9)
    assert sound.shape[1] <= RATE * (0.9 + PATCHES[name].release)
    hertz = frequency(33 if PATCHES[name].stem == "bass" else 64)
    for row, cents in zip(sound, PATCHES[name].detune, strict=True):
        bins, power = spectrum(row)
        near = (bins > 0.6 * hertz) & (bins < 1.4 * hertz)
        found = 1200 * np.log2(bins[near][power[near].argmax()] / hertz)
        assert abs(found - cents) < 12


@pytest.mark.parametrize("name", DRUMS)
def test_drums_are_transient(name):
    energy = np.cumsum((play(name, seconds=0.0) ** 2).sum(axis=0))
    half = np.searchsorted(energy, 0.5 * energy[-1]) / RATE
    assert half < (0.3 if name in ("crash", "open_hat") else 0.1)


def test_kick_falls_in_pitch():
    sound = play("kick")[0]
    crossings = np.flatnonzero(np.diff(np.signbit(sound)))
    gaps = np.diff(crossings[crossings > 0.02 * RATE])
    assert gaps[-1] > 1.1 * gaps[0]
    bins, power = spectrum(sound[int(0.15 * RATE) :])
    assert abs(bins[power.argmax()] - frequency(PATCHES["kick"].pitch)) < 5


@pytest.mark.parametrize("name", ["clap", "brush", "shaker", "crash"])
def test_noise_is_within_its_band(name):
    low, high, *_ = PATCHES[name].noise
    bins, power = spectrum(play(name)[0])
    inside = power[(bins > low / 1.5) & (bins < 1.5 * high)].sum()
    assert inside > 0.75 * power.sum()


def test_soft_notes_are_duller():
    def brightness(strength):
        bins, power = spectrum(play("steel_guitar", strength=strength)[0])
        return power[bins > 1000].sum() / power.sum()

    assert brightness(0.3) < 0.8 * brightness(0.9)


def test_higher_harmonics_of_strings_die_sooner():
    sound = play("steel_guitar", seconds=2.0)[0]
    shares = []
    for start in (0.2, 1.2):
        bins, power = spectrum(sound[int(start * RATE) :][: RATE // 2])
        shares.append(power[bins > 1000].sum() / power.sum())
    assert shares[1] < 0.1 * shares[0]


def test_oscillators_add_harmonics():
    turns = np.arange(1000) / 777
    wanted = np.sin(2 * np.pi * turns) + 0.5 * np.sin(6 * np.pi * turns)
    np.testing.assert_allclose(oscillate((1.0, 0.0, 0.5), turns), wanted, atol=1.5e-3)


def test_fades_are_smooth_and_in_place():
    sound = np.ones((2, RATE))
    assert fade(sound, 0.1, 0.2) is sound
    assert (sound[:, 4410 : RATE - 8820] == 1).all()
    assert (np.diff(sound[0, :4410]) > 0).all()
    assert (np.diff(sound[0, -8820:]) < 0).all()
    assert np.abs(np.diff(sound)).max() < 4e-4
    assert np.abs(sound[:, [0, -1]]).max() < 1e-6
