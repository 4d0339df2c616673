from itertools import pairwise

import numpy as np
import pyloudnorm
import pytest

from cadrender.demo.arrange import CEILING, play
from cadrender.demo.songs import SONGS
from cadrender.stems import MIXTURE, STEMS, VDBO

RATE = 44100
NIGHT_TRAIN, SUMMER_WALTZ = SONGS[2:]


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
    voice = waltz["vocals"].mean(axis=1)
    misses = []
    notes = SUMMER_WALTZ.notes()
    together = {note.start for note in notes if note.part == "harmony"}
    for note in notes:
        if note.part != "vocals" or note.start in together:
            continue
        middle = int(0.5 * (SUMMER_WALTZ.seconds(note.start) + SUMMER_WALTZ.seconds(note.stop)) * RATE)
        piece = voice[middle - 2048 : middle + 2048] * np.hanning(4096)
        correlation = np.fft.irfft(np.abs(np.fft.rfft(piece, 8192)) ** 2)
        # an octave and a half about the register, so that it is the period that is found
        shortest, longest = RATE // 700, RATE // 240
        period = shortest + correlation[shortest:longest].argmax()
        misses.append(abs(69 + 12 * np.log2(RATE / period / 440) - note.pitch))
    assert len(misses) > 15
    assert np.mean(np.array(misses) < 0.6) > 0.85


def power_at(samples, seconds, lasts):
    """Power spectrum of a piece, and the MIDI pitches of its bins."""
    piece = samples[int(seconds * RATE) : int((seconds + lasts) * RATE)]
    power = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 1 << 17))[1:] ** 2
    return power, 69 + 12 * np.log2(np.fft.rfftfreq(1 << 17, 1 / RATE)[1:] / 440)


def test_chords_are_heard(instrumental):
    samples = instrumental["other"].mean(axis=1)
    chords = [chord for chord in NIGHT_TRAIN.chords() if 8 <= chord[0] < 24]
    assert len(chords) == 4
    for beat, _, classes in chords:
        power, pitches = power_at(samples, NIGHT_TRAIN.seconds(beat) + 0.5, 1.4)
        fundamentals = (pitches > 54) & (pitches < 73)
        shares = [
            power[fundamentals & (np.abs((pitches - pitch_class + 6) % 12 - 6) < 0.4)].sum()
            for pitch_class in range(12)
        ]
        inside = [shares[pitch_class] for pitch_class in classes]
        outside = [share for pitch_class, share in enumerate(shares) if pitch_class not in classes]
        assert min(inside) > 5 * max(outside), beat


def test_bass_plays_its_notes(waltz):
    samples = waltz["bass"][:, 0].astype(float)
    notes = [note for note in SUMMER_WALTZ.notes() if note.part == "upright_bass"]
    assert len(notes) > 20
    for note in notes:
        start, stop = SUMMER_WALTZ.seconds(note.start), SUMMER_WALTZ.seconds(note.stop)
        power, pitches = power_at(samples, start + 0.1, min(stop - start, 1.0) - 0.1)
        assert abs(pitches[power.argmax()] - note.pitch) < 0.3


def test_drums_are_struck_when_the_score_says(instrumental):
    drums = instrumental["drums"].astype(float)
    power = (drums[: len(drums) // 441 * 441] ** 2).sum(axis=1).reshape(-1, 441).sum(axis=1)
    kicks = [NIGHT_TRAIN.seconds(note.start) for note in NIGHT_TRAIN.notes() if note.part == "kick"]
    rises = [
        power[round(100 * kick) + 1 :][:4].max() / (1 + power[round(100 * kick) - 5 :][:3].mean())
        for kick in kicks[1:]
    ]
    assert np.median(rises) > 30
    crest = np.abs(drums).max() / drums[drums != 0].std()
    assert 5 < crest < 20


def test_room_answers_after_a_phrase_and_from_all_sides(waltz):
    voice = waltz["vocals"].astype(float)
    notes = [note for note in SUMMER_WALTZ.notes() if note.part == "vocals" and note.start < 36]
    rests = [one.stop for one, other in pairwise(notes) if other.start - one.stop >= 1]
    assert len(rests) >= 1

    def rms(signal, seconds):
        return np.sqrt(np.mean(signal[int(seconds * RATE) :][: RATE // 10] ** 2))

    for beat in rests:
        stop = SUMMER_WALTZ.seconds(beat)
        # 0.2 s after the note the voice itself is silent
        assert 2e-3 < rms(voice, stop + 0.25) / rms(voice, stop - 0.3) < 0.2
    # the voice is in the middle: what differs between left and right comes from the room
    middle, side = voice.sum(axis=1), np.diff(voice, axis=1)[:, 0]
    verse = slice(*(int(SUMMER_WALTZ.seconds(beat) * RATE) for beat in (12, 36)))
    assert 0.03 < side[verse].std() / middle[verse].std() < 0.4
