import numpy as np
import pyloudnorm
import pytest
from cadrender.demo.score import Clock, parse_melody

from cadrender.demo.arrange import CEILING, play
from cadrender.demo.songs import NIGHT_TRAIN, SUMMER_WALTZ
from cadrender.stems import MIXTURE, STEMS, VDBO

RATE = 44100


@pytest.fixture(scope="module")
def waltz():
    return play(SUMMER_WALTZ)


@pytest.fixture(scope="module")
def instrumental():
    return play(NIGHT_TRAIN)


@pytest.fixture(params=["waltz", "instrumental"])
def stems(request):
    return request.getfixturevalue(request.param)


def test_stems_are_whole_and_equally_long(stems):
    assert tuple(stems) == STEMS
    assert {(stem.dtype, stem.shape) for stem in stems.values()} == {
        (np.dtype(np.int16), stems[MIXTURE].shape)
    }
    assert 20 * RATE < len(stems[MIXTURE]) < 40 * RATE
    assert stems[MIXTURE].shape[1] == 2


def test_mixture_is_the_sum_of_its_stems(stems):
    total = sum(stems[name].astype(np.int32) for name in VDBO)
    np.testing.assert_array_equal(stems[MIXTURE], total)
    assert np.abs(total).max() <= 32767 * CEILING + 2


def test_loudness_is_that_of_a_record(stems):
    meter = pyloudnorm.Meter(RATE)
    assert -18 < meter.integrated_loudness(stems[MIXTURE] / 32768) < -14
    for name in VDBO:
        if stems[name].any():
            assert -29 < meter.integrated_loudness(stems[name] / 32768) < -16


def test_instrumental_has_a_silent_vocals_stem(instrumental):
    assert not instrumental["vocals"].any()
    assert all(instrumental[name].any() for name in ("drums", "bass", "other"))


def test_players_rest_in_the_middle(instrumental):
    # the break before the last chorus: no drums and no bass for more than a second, then both again
    for name in ("drums", "bass"):
        seconds = [
            piece.any() for piece in np.array_split(instrumental[name], len(instrumental[name]) // RATE)
        ]
        played = np.flatnonzero(seconds)
        assert not all(seconds[played[0] : played[-1]])


def test_song_begins_and_ends_quietly(stems):
    for stem in stems.values():
        assert np.abs(stem[: RATE // 10]).max() <= 1
        assert np.abs(stem[-RATE // 20 :]).max() < 100


def test_stems_keep_to_their_registers(waltz):
    centroids = {}
    for name in ("bass", "other", "vocals"):
        power = np.abs(np.fft.rfft(waltz[name].mean(axis=1))) ** 2
        centroids[name] = (np.fft.rfftfreq(len(waltz[name]), 1 / RATE) * power).sum() / power.sum()
    assert 40 < centroids["bass"] < 150
    assert 250 < centroids["other"] < 1000
    assert 500 < centroids["vocals"] < 2000


def test_stems_are_stereo_where_they_should_be(waltz):
    left, right = waltz["other"].T.astype(float)
    assert 0.3 < np.corrcoef(left, right)[0, 1] < 0.97


def test_no_clicks(stems):
    # nothing above 15 kHz in a bass: a waveform that breaks off would put it there
    samples = stems["bass"][:, 0] / 32768
    spectra = np.abs(np.fft.rfft(samples[: len(samples) // 1024 * 1024].reshape(-1, 1024) * np.hanning(1024)))
    assert spectra[:, 350:].max() < 1e-4 * spectra.max()


def test_singer_sings_the_melody(waltz):
    clock = Clock(SUMMER_WALTZ.tempo, SUMMER_WALTZ.swing, SUMMER_WALTZ.swing_unit)
    bars = len(SUMMER_WALTZ.sections[0].chords.split("|"))
    notes = parse_melody(SUMMER_WALTZ.sections[1].melody, start=bars * SUMMER_WALTZ.beats_per_bar)
    voice = waltz["vocals"].mean(axis=1)
    heard = []
    for note in notes:
        middle = int(0.5 * (clock.seconds(note.beat) + clock.seconds(note.beat + note.beats)) * RATE)
        piece = voice[middle - 2048 : middle + 2048] * np.hanning(4096)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(piece, 8192)) ** 2)
        # an octave and a half about the register, so that it is the period that is found
        shortest, longest = RATE // 700, RATE // 240
        period = shortest + correlation[shortest:longest].argmax()
        heard.append(69 + 12 * np.log2(RATE / period / 440))
    misses = np.abs(np.array(heard) - [note.pitch for note in notes])
    assert np.mean(misses < 0.6) > 0.85
