"""Impulse responses delayed and resampled, and as bytes of a WAV file."""

import io

import numpy as np
import numpy.typing as npt

# Zeros around a response that is delayed by a fraction of a sample, so that its ringing does not wrap around.
_ROOM = 512


def delayed(response: npt.NDArray[np.float64], delay: float) -> npt.NDArray[np.float64]:
    """Delay an impulse response by whole and fractional samples.

    Parameters
    ----------
    response : ndarray
        (taps,) float64.
    delay : float
        In samples, not negative.

    Returns
    -------
    ndarray
        (taps + ceil(delay),) float64. Whole samples only add zeros; a fraction is a linear phase in the frequency
        domain, and ringing past either end is cut off.
    """
    whole = int(delay)
    fraction = delay - whole
    if fraction:
        taps = len(response)
        padded = np.pad(response, _ROOM)
        length = len(padded)
        phase = np.exp(-2j * np.pi * fraction * np.arange(length // 2 + 1) / length)
        lead = min(whole, _ROOM)
        shifted = np.fft.irfft(np.fft.rfft(padded, length) * phase, length)
        response, whole = shifted[_ROOM - lead : _ROOM + taps + 1], whole - lead
    return np.concatenate([np.zeros(whole), response])


def resampled(
    response: npt.NDArray[np.float64], samplerate: float, new_samplerate: float
) -> npt.NDArray[np.float64]:
    """Resample an impulse response (soxr VHQ), keeping its frequency response.

    Parameters
    ----------
    response : ndarray
        (taps,) or (taps, channels) float64.
    samplerate, new_samplerate : float
        In hertz.

    Returns
    -------
    ndarray
        (about taps * new_samplerate / samplerate, ...) float64, scaled by ``samplerate / new_samplerate``: the same
        gain needs smaller taps if there are more of them per second.
    """
    if samplerate == new_samplerate:
        return response
    import soxr

    signal: npt.NDArray[np.float64] = soxr.resample(response, samplerate, new_samplerate, quality="VHQ")
    return signal * (samplerate / new_samplerate)


def wav_bytes(hrir: npt.NDArray[np.floating], samplerate: int) -> bytes:
    """Make a 32-bit float WAV file of an HRIR, (taps, 2)."""
    # libsndfile would write the time into a PEAK chunk, and equal HRIRs should be equal files.
    from scipy.io import wavfile

    stream = io.BytesIO()
    wavfile.write(stream, samplerate, np.ascontiguousarray(hrir, dtype=np.float32))
    return stream.getvalue()
