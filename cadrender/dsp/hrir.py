"""Head-related impulse responses (HRIRs), trimmed and transformed for the two passes over a stem."""

import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from cadrender.dsp import fft
from cadrender.dsp.arrays import Floats, Samples
from cadrender.dsp.grid import Grid

# Nanoseconds per stereo inverse transform of each length (pyFFTW, batches of 16, AVX-512 machine of the README).
# Only the ratios matter: they determine block lengths. Measured by ``python -m benchmarks.block_lengths``.
_TRANSFORM_NS = {
    256: 302,
    320: 413,
    384: 488,
    512: 664,
    640: 929,
    768: 1110,
    1024: 1570,
    1280: 1980,
    1536: 2750,
    2048: 3310,
    2560: 5150,
    3072: 6890,
    4096: 10200,
    5120: 13700,
    6144: 18000,
    8192: 25000,
    10240: 32900,
    12288: 41500,
    16384: 63700,
    20480: 73600,
    24576: 90600,
    32768: 156000,
    40960: 188000,
    49152: 307000,
    65536: 456000,
    81920: 635000,
    98304: 659000,
    131072: 836000,
}


def transform_cost(length: int) -> float:
    """Nanoseconds of one stereo transform: measured, or extrapolated from the longest one measured."""
    longest = max(_TRANSFORM_NS)
    return _TRANSFORM_NS.get(length, _TRANSFORM_NS[longest] * (length / longest) ** 1.25)


def trim(hrir: Floats) -> tuple[int, Floats]:
    """Trim zero rows; leading ones in multiples of four, the kernels' step.

    Parameters
    ----------
    hrir : ndarray
        (taps, any).

    Returns
    -------
    delay : int
        Leading rows removed.
    hrir : ndarray
        The other rows; one row of zeros if all were zero.
    """
    sounding = np.flatnonzero(np.any(hrir != 0.0, axis=1))
    if len(sounding) == 0:
        return 0, hrir[:1] * 0.0
    delay = int(sounding[0]) // 4 * 4
    return delay, hrir[delay : sounding[-1] + 1]


def _planar_spectra(responses: Floats, length: int) -> Floats:
    """Real and imaginary parts of the spectra of (n, taps) responses, as (2 n, length // 2 + padding)."""
    out = np.zeros((2 * len(responses), length // 2 + fft.ROW_PADDING))
    spectra = np.fft.rfft(responses, length)
    out[0::2, : length // 2 + 1] = spectra.real
    out[1::2, : length // 2 + 1] = spectra.imag
    return out


def _correlation_weights(responses: Floats, length: int) -> Floats:
    """The weights of a segment's correlations in the energy of both ears.

    With ``h_ie`` the response from channel i to ear e, ``rho_ij(t) = sum_e sum_m h_ie[m] h_je[m + t]``. A lag of zero
    counts once, a positive one twice (for itself and its negative). The spectrum of that one-sided sequence is
    scaled so that the plain scalar product with a half spectrum is the sum over all lags (Parseval).
    """
    taps = responses.shape[1]
    padded = 2 * taps
    spectra = np.fft.rfft(responses, padded)
    left_left, right_left, left_right, right_right = spectra  # channel to ear
    pairs = np.array(
        [
            np.conj(left_left) * left_left + np.conj(left_right) * left_right,
            np.conj(right_left) * right_left + np.conj(right_right) * right_right,
            np.conj(left_left) * right_left + np.conj(left_right) * right_right,
            np.conj(right_left) * left_left + np.conj(right_right) * left_right,
        ]
    )
    lags = np.fft.irfft(pairs, padded)[:, :taps]
    lags[:, 1:] *= 2.0
    weights = _planar_spectra(lags, length) / length
    weights[:, 1 : length // 2] *= 2.0
    return weights


class Heads:
    """The HRIRs of head positions, ready to be applied to any stem.

    Parameters
    ----------
    hrirs : sequence of (ndarray, ndarray)
        For each head position the HRIR of the left and of the right loudspeaker, (taps, 2) float64, left ear first.
        Lengths may differ.

    Attributes
    ----------
    delays : list of int
        Frames trimmed off the start of each head's responses.
    taps : int
        Taps of the longest response, delay included.
    """

    def __init__(self, hrirs: Iterable[tuple[Floats, Floats]]) -> None:
        self._hrirs = list(hrirs)
        both = []
        for left, right in self._hrirs:
            rows = np.zeros((max(len(left), len(right)), 4))
            # Channel to ear: left to left, right to left, left to right, right to right.
            rows[: len(left), 0], rows[: len(left), 2] = left[:, 0], left[:, 1]
            rows[: len(right), 1], rows[: len(right), 3] = right[:, 0], right[:, 1]
            both.append(trim(rows))
        self.delays = [delay for delay, _ in both]
        self._responses = [response.T.copy() for _, response in both]
        self.taps = max(delay + len(response) for delay, response in both)
        self.trimmed_taps = max(len(response) for _, response in both)
        self._made: dict[tuple[object, int], Samples] = {}
        self._alone: dict[int, Heads] = {}

    def __len__(self) -> int:
        return len(self.delays)

    def block(self) -> Grid:
        """The blocks of the overlap-add convolution."""
        return _block(self.trimmed_taps - 1, len(self))

    def loudness_length(self, hop: int) -> int:
        """Transform length of the correlations; half of it covers the responses.

        Parameters
        ----------
        hop : int
            Frames per segment.
        """

        def cost(length: int) -> float:
            chunks = -(-hop // (length // 2))
            return (1 + chunks + 1.3 * len(self)) * (transform_cost(length) + 0.5 * length)

        return min((n for n in fft.LENGTHS if n >= max(2 * self.taps, 256)), key=cost)

    def spectra(self, length: int) -> Floats:
        """Spectra of the trimmed responses.

        Returns
        -------
        ndarray
            (heads, 8, length // 2 + ROW_PADDING): see :func:`cadrender.dsp.kernels.apply_hrirs`.
        """
        return self._of_all("spectra", length, _planar_spectra, self._responses)

    def delayed_spectra(self, length: int) -> Floats:
        """:meth:`spectra` of the responses with their delays."""
        return self._of_all("delayed", length, _planar_spectra, self._delayed())

    def weights(self, length: int) -> Floats:
        """The weights of a segment's correlations in each head's energy.

        Returns
        -------
        ndarray
            (heads, 8, length // 2 + ROW_PADDING): see :func:`cadrender.dsp.kernels.correlate`.
        """
        # A delay that all responses of a head share does not change their correlations.
        return self._of_all("weights", length, _correlation_weights, self._responses)

    def alone(self, head: int) -> "Heads":
        """One of the heads on its own."""
        if len(self) == 1:
            return self
        if head not in self._alone:
            self._alone[head] = Heads(self._hrirs[head : head + 1])
        return self._alone[head]

    def response(self, head: int) -> Floats:
        """One head's trimmed responses.

        Returns
        -------
        ndarray
            (4, taps): left channel to left ear, right to left, left to right, right to right.
        """
        return self._responses[head]

    def once(self, what: object, length: int, make: Callable[[], Samples]) -> Samples:
        """Cache anything derived from the HRIRs; the stems of a song share it."""
        if (what, length) not in self._made:
            self._made[what, length] = make()
        return self._made[what, length]

    def _of_all(
        self,
        what: str,
        length: int,
        transform: Callable[[Floats, int], Floats],
        responses: Iterable[Floats],
    ) -> Floats:
        return self.once(what, length, lambda: np.stack([transform(each, length) for each in responses]))

    def _delayed(self) -> Iterator[Floats]:
        for delay, response in zip(self.delays, self._responses, strict=True):
            yield np.concatenate([np.zeros((4, delay)), response], axis=1)


@functools.cache
def _block(overlap: int, heads: int) -> Grid:
    """The cheapest blocks for responses one frame longer than the overlap."""

    def cost(length: int) -> float:
        # Spectral product, overlap-add and quantisation: fitted to timings of the whole pass.
        others = 100 + (2 + length / 10_000) * length
        return (transform_cost(length) * (1 + 1 / heads) + others) / (length - overlap)

    # The overlap must not reach past the next block, and blocks are moved four frames at a time.
    length = min((n for n in fft.LENGTHS if n >= max(2 * overlap + 8, 256)), key=cost)
    return Grid(length, (length - overlap) // 4 * 4)
