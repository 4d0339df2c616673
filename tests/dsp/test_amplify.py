"""NAL-R: gains by hand from the published formula, filters as designed by the challenge's baseline."""

from typing import Any

import numpy as np
import pytest

from cadrender.dsp import nalr
from cadrender.dsp.amplify import Amplifier, amplify
from cadrender.dsp.nalr import FREQUENCIES, ORDER, insertion_gains, nalr_filter

RATE = 44100
CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)

# Standard audiograms of Bisgaard, Vlaming and Dahlquist (2010), and their gains by Byrne and Dillon's (1986) formula,
# 0.05 (H500 + H1000 + H2000) + 0.31 H(f) + k(f) with k = -17, -8, 1, -1, -2, -2, calculated by hand. N2: the sum is
# 80, so 4 + 0.31 H + k: 4 + 6.2 - 17 < 0, 4 + 6.2 - 8, 4 + 7.75 + 1, ... N6's sum of 255 is above 180:
# 9 + 0.116 * 75 = 17.7 (Byrne, Parkinson and Newall, 1990).
N2 = (20, 20, 25, 35, 40, 45, 50, 55)
N3 = (35, 35, 40, 50, 55, 60, 65, 70)
S2 = (20, 20, 25, 55, 75, 95, 95, 100)
N6 = (75, 80, 85, 90, 95, 100, 100, 105)
BY_HAND = {
    N2: (0, 2.2, 12.75, 13.85, 15.95, 17.5),
    N3: (0.1, 9.1, 19.65, 20.75, 22.85, 24.4),
    S2: (0, 3.2, 13.75, 21.05, 32.45, 32.45),
    N6: (23.95, 34.5, 45.05, 44.6, 46.7, 46.7),
}


@pytest.mark.parametrize("levels", BY_HAND)
def test_insertion_gains_by_hand(levels):
    np.testing.assert_allclose(insertion_gains(CFS, levels), BY_HAND[levels], atol=1e-12)


def test_the_slope_changes_at_60_db_without_a_step():
    gains = [insertion_gains((250, 8000), (level, level))[2] for level in (59.9, 60.0, 60.1)]
    np.testing.assert_allclose(np.diff(gains), [0.1 * (0.31 + 0.15), 0.1 * (0.31 + 3 * 0.116)], atol=1e-12)


def test_other_frequencies_are_interpolated_on_a_logarithmic_axis():
    # 2000 Hz is halfway through two octaves: 40 dB; outside, the outermost level.
    gains = insertion_gains((500, 1000, 4000), (20, 30, 50))
    total = 20 + 30 + 40
    np.testing.assert_allclose(
        gains,
        np.maximum(0, 0.05 * total + 0.31 * np.array([20, 20, 30, 40, 50, 50]) + [-17, -8, 1, -1, -2, -2]),
        atol=1e-12,
    )


# Taps 0, 37, 90, 105, 109 and 110 of the filters designed by pyclarity 0.4.1's NALR(220, 44100).
TAPS = (0, 37, 90, 105, 109, 110)
BASELINE = {
    N2: [
        *(-9.838049485215424e-05, -0.0010120228883732701, -0.03620401346810069),
        *(-0.17078405743088435, -0.577014000232795, 6.891492182425814),
    ],
    S2: [
        *(0.00025407881636574196, -0.004188639361896136, 0.053490541901694826),
        *(-1.8493223620738994, -4.805589063424587, 36.95578409062449),
    ],
    N6: [
        *(-0.0035774614979400244, -0.035040504672212876, -2.014721837379805),
        *(-6.407498793048863, -10.359383422634602, 205.69523259611353),
    ],
}


@pytest.mark.parametrize("levels", BASELINE)
def test_filters_are_the_baselines(levels):
    taps = nalr_filter(CFS, levels, RATE)
    assert taps.shape == (ORDER + 1,)
    np.testing.assert_allclose(
        taps, taps[::-1], rtol=0, atol=1e-14 * np.abs(taps).max() * ORDER
    )  # linear phase
    np.testing.assert_allclose(taps[list(TAPS)], BASELINE[levels], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    ("frequencies", "magnitude"),
    [
        # The sum of magnitudes expected by pyclarity's own tests (tests/enhancer/test_nalr.py).
        ((250, 500, 1000, 1500, 4000, 6000), 29.808253441926134),
        ((250, 500, 1000, 2000, 4000, 6000), 28.846583644263408),
    ],
)
def test_filters_have_the_magnitude_that_the_baselines_tests_expect(frequencies, magnitude):
    taps = nalr_filter(frequencies, (45, 45, 35, 45, 60, 65), RATE)
    assert np.abs(taps).sum() == pytest.approx(magnitude, rel=1e-12)


@pytest.mark.parametrize("levels", BY_HAND)
def test_the_filters_response_is_the_prescription(levels):
    spectrum = np.abs(np.fft.rfft(nalr_filter(CFS, levels, RATE), RATE))  # one bin per hertz
    # 221 taps resolve 400 Hz: low frequencies are smeared, the others match within half a decibel.
    for frequency, gain in list(zip(FREQUENCIES, BY_HAND[levels], strict=True))[2:]:
        assert 20 * np.log10(spectrum[frequency]) == pytest.approx(gain, abs=0.7), frequency


@pytest.mark.parametrize("levels", [(0,) * 8, (-5,) * 8])
def test_no_loss_is_a_mere_delay(levels):
    taps = nalr_filter(CFS, levels, RATE)
    assert taps[ORDER // 2] == 1 and np.count_nonzero(taps) == 1


@pytest.mark.parametrize("frames", [1, 219, 220, 221, 65_535, 65_536, 65_537, 65_316, 140_001])
def test_amplified_is_the_whole_convolution(frames):
    signal = np.random.default_rng(frames).standard_normal((frames, 2))
    out = amplify(signal, RATE, (CFS, N3), (CFS, S2))
    expected = np.stack(
        [np.convolve(signal[:, ear], nalr_filter(CFS, levels, RATE)) for ear, levels in enumerate((N3, S2))],
        axis=1,
    )
    assert out.shape == (frames + ORDER, 2)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-11)


def test_several_listeners_and_pieces_of_any_length():
    random = np.random.default_rng(1)
    signal = random.standard_normal((150_000, 2))
    levels = [N2, N6, (0,) * 8]
    filters = [(nalr_filter(CFS, one, RATE), nalr_filter(CFS, one, RATE)) for one in levels]
    amplifier = Amplifier(filters)
    out: list[list[Any]] = [[], [], []]
    start = 0
    while start < len(signal):
        stop = start + int(random.integers(1, 30_000))
        for listener, piece in amplifier.feed(signal[start:stop]):
            out[listener].append(piece.copy())
        start = stop
    for listener, piece in amplifier.finish():
        out[listener].append(piece.copy())
    for pieces, (left, _) in zip(out, filters, strict=True):
        expected = np.stack([np.convolve(signal[:, ear], left) for ear in (0, 1)], axis=1)
        np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("left", "problem"),
    [
        (([250, 1000, 4000], [np.nan, 1, 2]), "all finite"),
        (([-250, 1000], [20, 20]), "ascending frequencies .* not \\[-250"),
        (([1000, 250], [20, 20]), "ascending frequencies"),
        (([250, 250], [20, 20]), "ascending frequencies"),
        (([250, 1000], [20]), "shapes \\(2,\\) and \\(1,\\)"),
        (([], []), "shapes"),
        (([250], [20], [20]), "as many levels"),
        ({"f": 1}, "as many levels"),
        (None, "as many levels"),
    ],
)
def test_what_is_no_audiogram(left, problem):
    with pytest.raises(ValueError, match=f"^left: .*{problem}"):
        amplify(np.zeros((44100, 2)), RATE, left, (CFS, N2))


def test_the_example_in_the_docstring_runs():
    import doctest

    assert doctest.testmod(nalr).failed == 0
