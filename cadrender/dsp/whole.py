"""One pass over a stem for one head, keeping its float64 signal until its loudness is known.

This takes half the time of the two passes in :mod:`cadrender.dsp.convolve` if there is only one head, when the
shared part of the first pass is not shared, or if HRIRs are long, which slow that pass down most. It needs 16
bytes per frame, so it is for stems that are not too long.
"""

from collections.abc import Iterator

import numpy as np

from cadrender.dsp.arrays import Floats, Samples
from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.mix import ALONE, MixMeter, to_int16

# Bytes of a stem and of its float64 signal: six minutes of 16-bit music.
_LIMIT = 320 * 2**20

# Taps from which it is faster for any number of heads, one after the other; measured.
_LONG = 3000


def suits(signal: Samples, heads: Heads) -> bool:
    """Whether this is faster for a stem, (frames, 2), and its heads."""
    return (len(heads) == 1 or heads.trimmed_taps >= _LONG) and 16 * len(signal) + signal.nbytes <= _LIMIT


def convolve_whole(signal: Samples, samplerate: int, heads: Heads) -> tuple[float, float, list[Floats]]:
    """Apply one head's HRIRs to a stem, and measure both.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    samplerate : int
        In hertz.
    heads : Heads
        Of one head.

    Returns
    -------
    before, after : float
        LUFS of the stem and of its convolution; minus infinity for silence.
    pieces : list of ndarray
        The convolution, (n, 2) float64 each.

    Raises
    ------
    ValueError
        If the signal is shorter than 400 ms.
    """
    meter = MixMeter(len(signal), samplerate, ALONE[None])
    pieces: list[Floats] = []
    at = 0
    for _, piece, _ in convolve(signal, heads, [1.0], pcm16=False, keep=True):
        meter.feed(_row(piece), _row(signal[at : at + len(piece)]), len(piece))
        pieces.append(piece)
        at += len(piece)
    before, (after,) = meter.loudness()
    return before, after, pieces


def _row(piece: Samples) -> Samples:
    """A piece as the meter needs it: a row, padded to a multiple of four frames."""
    missing = -len(piece) % 4
    if missing:
        piece = np.concatenate([piece, np.zeros((missing, 2), piece.dtype)])
    return piece.reshape(1, -1)


def scaled(pieces: list[Floats], gain: float, pcm16: bool) -> Iterator[tuple[Samples, int]]:
    """Scale the pieces by their gain.

    Yields
    ------
    piece : ndarray
        (n, 2) int16 or float64.
    clipped : int
        Clipped PCM values of an int16 piece.
    """
    for piece in pieces:
        if pcm16:
            yield to_int16(piece, gain)
            continue
        if gain:
            piece *= gain
        else:
            piece[:] = 0.0  # a product could be -0.0
        yield piece, 0
