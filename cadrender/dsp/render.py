"""At-mic rendering of one stem: HRIRs, then the source's loudness (section 2 of ``docs/contract.md``)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cadrender.dsp import whole
from cadrender.dsp.arrays import Samples, checked_dtype, checked_hrir, checked_samplerate, checked_signal
from cadrender.dsp.convolve import convolve, loudness_before_and_after
from cadrender.dsp.hrir import Heads


@dataclass(frozen=True)
class Level:
    """The loudness of a stem, and the gain that brings its at-mic signal to it.

    Attributes
    ----------
    before, after : float
        LUFS of the stem and of its convolution with the HRIRs; minus infinity for silence.
    """

    before: float
    after: float

    @property
    def silent(self) -> bool:
        """Whether either loudness is not finite: then the at-mic file is digital silence."""
        return not (math.isfinite(self.before) and math.isfinite(self.after))

    @property
    def gain(self) -> float:
        """The linear factor; 0 for silence."""
        return 0.0 if self.silent else 10.0 ** ((self.before - self.after) / 20.0)


def levels(signal: Samples, samplerate: int, heads: Heads) -> list[Level]:
    """Measure a stem before and after each head's HRIRs.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    samplerate : int
        In hertz.
    heads : Heads
        The HRIRs.

    Raises
    ------
    ValueError
        If the signal is shorter than 400 ms.
    """
    before, after = loudness_before_and_after(signal, samplerate, heads)
    return [Level(before, float(loudness)) for loudness in after]


def at_mic(
    signal: Samples, samplerate: int, heads: Heads, pcm16: bool = True
) -> tuple[list[Level], Iterator[tuple[int, Samples, int]]]:
    """Render one stem for some heads, piece by piece.

    Parameters
    ----------
    signal : ndarray
        (frames, 2) int16, int32, float32 or float64.
    samplerate : int
        In hertz.
    heads : Heads
        The HRIRs.
    pcm16 : bool
        Whether pieces are int16 (clipped, truncated toward zero) or float64.

    Returns
    -------
    levels : list of Level
        Of each head; complete after the last piece.
    pieces : iterator
        Of (head, piece, clipped), as from :func:`cadrender.dsp.convolve.convolve`; a piece is valid until the next
        one.

    Raises
    ------
    ValueError
        If the signal is shorter than 400 ms; raised here, or with the first piece.
    """
    measured: list[Level]
    if whole.suits(signal, heads):
        measured = []
        return measured, _one_by_one(signal, samplerate, heads, pcm16, measured)
    measured = levels(signal, samplerate, heads)
    return measured, convolve(signal, heads, [level.gain for level in measured], pcm16)


def _one_by_one(
    signal: Samples, samplerate: int, heads: Heads, pcm16: bool, measured: list[Level]
) -> Iterator[tuple[int, Samples, int]]:
    for head in range(len(heads)):
        before, after, pieces = whole.convolve_whole(signal, samplerate, heads.alone(head))
        measured.append(Level(before, after))
        for piece, clipped in whole.scaled(pieces, measured[-1].gain, pcm16):
            yield head, piece, clipped


def at_mic_stem(
    signal: npt.ArrayLike,
    samplerate: int,
    left_hrir: npt.ArrayLike,
    right_hrir: npt.ArrayLike,
    dtype: str = "int16",
) -> Samples:
    """Render one stem for one head position.

    Parameters
    ----------
    signal : array_like
        (frames, 2): int16, int32 (fractions of their full scale), float32 or float64 (full scale 1).
    samplerate : int
        In hertz, of the signal and of the HRIRs.
    left_hrir, right_hrir : array_like
        (taps, 2): from the left and from the right loudspeaker to the left and to the right ear.
    dtype : {"int16", "float64"}
        int16 is clipped and truncated toward zero as the challenge does; float64 is neither.

    Returns
    -------
    ndarray
        (frames, 2), as loud as `signal` (LUFS); zeros if the signal or its rendering is silent.

    Raises
    ------
    TypeError
        If an array has another type; the byte order and memory layout do not matter.
    ValueError
        If the signal is shorter than 400 ms, a shape or `dtype` is invalid, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> song = np.random.default_rng(1).integers(-9000, 9000, (44100, 2), dtype=np.int16)
    >>> left, right = np.array([[1.0, 0.3]]), np.array([[0.3, 1.0]])
    >>> at_mic_stem(song, 44100, left, right).shape
    (44100, 2)
    """
    dtype = checked_dtype(dtype)
    stem = checked_signal("signal", signal)
    samplerate = checked_samplerate(samplerate)
    heads = Heads([(checked_hrir("left_hrir", left_hrir), checked_hrir("right_hrir", right_hrir))])
    _, pieces = at_mic(stem, samplerate, heads, pcm16=dtype == "int16")
    out = np.empty((len(stem), 2), dtype)
    at = 0
    for _, piece, _ in pieces:
        out[at : at + len(piece)] = piece
        at += len(piece)
    return out
