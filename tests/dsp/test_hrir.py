import numpy as np
import pytest

from cadrender.dsp import fft
from cadrender.dsp.hrir import Heads, trim


def noise(taps, seed=0):
    return np.random.default_rng(seed).standard_normal((taps, 2))


@pytest.mark.parametrize(
    ("before", "inside", "after"), [(0, 5, 0), (3, 1, 0), (0, 1, 4), (100, 20, 300), (2, 9, 2)]
)
def test_trim(before, inside, after):
    response = np.concatenate([np.zeros((before, 2)), noise(inside), np.zeros((after, 2))])
    delay, trimmed = trim(response)
    assert delay == before // 4 * 4
    np.testing.assert_array_equal(trimmed, response[delay : before + inside])


def test_trim_keeps_what_one_column_needs():
    response = np.zeros((20, 3))
    response[4, 2], response[15, 0] = 1e-300, -1.0
    delay, trimmed = trim(response)
    assert (delay, len(trimmed)) == (4, 12)
    np.testing.assert_array_equal(trimmed, response[4:16])


def test_trim_keeps_zeros_in_the_middle():
    response = noise(50)
    response[10:40] = 0.0
    assert (trim(response)[0], len(trim(response)[1])) == (0, 50)


def test_trim_of_nothing_but_zeros():
    delay, trimmed = trim(np.zeros((7, 4)))
    assert (delay, trimmed.tolist()) == (0, [[0.0] * 4])


def test_heads_of_unequal_lengths():
    late = np.concatenate([np.zeros((40, 2)), noise(10)])
    heads = Heads([(noise(30), noise(20)), (late, late), (np.zeros((5, 2)), np.zeros((9, 2)))])
    assert len(heads) == 3
    assert heads.delays == [0, 40, 0]
    assert (heads.taps, heads.trimmed_taps) == (50, 30)


@pytest.mark.parametrize("length", [256, 320, 1024])
def test_spectra(length):
    """Left to left, right to left, left to right, right to right; real and imaginary parts; nothing in the padding."""
    left, right = noise(100, 1), noise(90, 2)
    left[:20] = right[:20] = 0.0
    heads = Heads([(left, right), (right, left)])
    bins = length // 2 + 1
    for spectra, start in ((heads.spectra(length), 20), (heads.delayed_spectra(length), 0)):
        assert spectra.shape == (2, 8, length // 2 + fft.ROW_PADDING)
        for row, response in enumerate((left[:, 0], right[:, 0], left[:, 1], right[:, 1])):
            expected = np.fft.rfft(response[start:], length)
            got = spectra[0, 2 * row, :bins] + 1j * spectra[0, 2 * row + 1, :bins]
            np.testing.assert_allclose(got, expected, atol=1e-12)
        assert not spectra[..., bins:].any()
        np.testing.assert_array_equal(spectra[0, [0, 2, 4, 6]], spectra[1, [2, 0, 6, 4]])


def test_weights_give_the_energy_of_a_convolution():
    """Their scalar product with a short signal's correlations is the energy of all that both ears receive."""
    length = 256
    signal, left, right = noise(60, 1), noise(50, 2), noise(40, 3)
    heads = Heads([(left, right)])
    received = [np.convolve(signal[:, 0], left[:, ear]) for ear in (0, 1)]
    for ear in (0, 1):
        received[ear][: len(signal) + len(right) - 1] += np.convolve(signal[:, 1], right[:, ear])
    spectra = np.fft.rfft(signal.T, length)
    weights = heads.weights(length)[0][:, : length // 2 + 1]
    energy = 0.0
    for pair, (i, j) in enumerate([(0, 0), (1, 1), (0, 1), (1, 0)]):
        product = spectra[i] * np.conj(spectra[j])
        energy += product.real @ weights[2 * pair] + product.imag @ weights[2 * pair + 1]
    assert energy == pytest.approx(sum(np.sum(ear**2) for ear in received), rel=1e-12)


def test_transformed_once():
    heads = Heads([(noise(100), noise(100))])
    assert heads.spectra(512) is heads.spectra(512)
    assert heads.spectra(512) is not heads.spectra(1024)


@pytest.mark.parametrize("taps", [1, 2, 3, 8, 100, 383, 384, 385, 820, 2048, 8192, 40_000])
@pytest.mark.parametrize("count", [1, 4, 16])
def test_block_lengths(taps, count):
    """What the kernels rely on: lengths they can split, and an overlap that ends within the next block."""
    heads = Heads([(noise(taps), noise(taps))] * count)
    length, block = heads.block()
    assert length in fft.LENGTHS
    assert length % 16 == 0
    assert block % 4 == 0
    overlap = -(-(taps - 1) // 4) * 4
    assert block + taps - 1 <= length
    assert overlap <= block
    assert length <= max(256, 12 * taps, 4096)  # otherwise most of a transform would be spent on zeros
    assert heads.loudness_length(4410) in fft.LENGTHS
    assert heads.loudness_length(4410) >= 2 * taps
