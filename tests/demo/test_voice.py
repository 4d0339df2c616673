import numpy as np
import pytest

from cadrender.demo.instruments import RATE
from cadrender.demo.voice import sing


def sung(*notes, voice="low", seed=1):
    return sing(list(notes), voice, np.random.default_rng(seed))


def power_near(sound, hertz, width):
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    bins = np.fft.rfftfreq(len(sound), 1 / RATE)
    return power[np.abs(bins - hertz) < width].sum()


def pitches(sound, step=512, frame=2048, lowest=90.0, highest=500.0):
    """Pitch every ``step`` frames, in MIDI numbers: the longest lag of the autocorrelation's peak, interpolated."""
    found = []
    shortest, longest = int(RATE / highest), int(RATE / lowest)
    for start in range(0, len(sound) - frame, step):
        piece = sound[start : start + frame] * np.hanning(frame)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(piece, 2 * frame)) ** 2)
        correlation[:frame] /= np.correlate(np.hanning(frame), np.hanning(frame), "full")[frame - 1 :] + 1e-3
        lag = shortest + correlation[shortest:longest].argmax()
        left, middle, right = correlation[lag - 1 : lag + 2]
        lag += 0.5 * (left - right) / (left - 2 * middle + right)
        found.append(69 + 12 * np.log2(RATE / lag / 440))
    return np.array(found)


# the first two formants of men, by Peterson and Barney; the vowels' numbers
VOWELS = {0: (730, 1090), 1: (570, 840), 2: (530, 1840), 3: (320, 870), 4: (300, 2290)}


@pytest.mark.parametrize("vowel", VOWELS)
def test_vowels_are_told_apart_by_their_formants(vowel):
    spoken = {
        number: sung((0.0, 1.2, 45.0, 0.8, number))[int(0.3 * RATE) : int(1.1 * RATE)] for number in VOWELS
    }
    for formant in VOWELS[vowel]:
        shares = {
            number: power_near(sound, formant, 90) / power_near(sound, 0, 5000)
            for number, sound in spoken.items()
        }
        # more than in any vowel without a formant nearby
        far = [shares[k] for k in VOWELS if min(abs(other - formant) for other in VOWELS[k]) > 200]
        assert shares[vowel] > max(far)


@pytest.mark.parametrize("pitch", [45.0, 57.0])
def test_notes_are_at_their_pitch(pitch):
    sound = sung((0.0, 1.5, pitch, 0.8, 0))
    assert np.median(pitches(sound[int(0.2 * RATE) : int(1.3 * RATE)])) == pytest.approx(pitch, abs=0.2)


def test_long_notes_have_a_vibrato_that_comes_late():
    sound = sung((0.0, 3.0, 57.0, 0.8, 0))
    early = pitches(sound[int(0.06 * RATE) : int(0.26 * RATE)], step=256, lowest=150)
    late = pitches(sound[RATE : int(2.9 * RATE)], step=256, lowest=150)
    assert np.ptp(early) < 0.35
    assert 0.4 < np.ptp(late) < 1.2
    spectrum = np.abs(np.fft.rfft((late - late.mean()) * np.hanning(len(late)), 4096))
    assert np.fft.rfftfreq(4096, 256 / RATE)[spectrum.argmax()] == pytest.approx(5.4, abs=0.5)


def test_short_notes_have_none_and_glide_into_each_other():
    notes = [(0.3 * k, 0.3 * (k + 1), pitch, 0.8, 0) for k, pitch in enumerate((57.0, 60.0, 57.0))]
    found = pitches(sung(*notes)[: int(0.85 * RATE)], step=128, frame=1024, lowest=180)
    assert np.abs(np.diff(found)).max() < 1.5
    assert found.max() == pytest.approx(60, abs=0.4)


def test_phrases_begin_and_end_without_a_click_and_rest_between():
    sound = sung((5.0, 5.5, 57.0, 0.8, 0), (5.8, 6.4, 60.0, 0.8, 1))
    assert 1.4 < len(sound) / RATE < 1.7
    assert np.abs(sound[[0, -1]]).max() < 1e-3 * np.abs(sound).max()
    rms = [np.sqrt(np.mean(sound[int(a * RATE) : int(b * RATE)] ** 2)) for a, b in ((0.2, 0.4), (0.6, 0.75))]
    assert rms[1] < 0.05 * rms[0]


def test_women_have_higher_formants():
    def centroid(voice):
        sound = sung((0.0, 1.0, 57.0, 0.8, 2), voice=voice)
        power = np.abs(np.fft.rfft(sound)) ** 2
        return (np.fft.rfftfreq(len(sound), 1 / RATE) * power).sum() / power.sum()

    assert centroid("high") > 1.05 * centroid("low")
