"""HRIRs as numbers to draw: magnitude by frequency, delay and level between the ears."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cadrender.dsp.arrays import Floats
from cadrender.metadata.positions import parse_hrir_name

LOWEST, HIGHEST = 100.0, 20_000.0
_PER_OCTAVE = 12
_TRANSFORM = 32768

# Low-passed at 3 kHz it is the delay that listeners perceive: Andreopoulou & Katz, "Identification of
# perceptually relevant methods of inter-aural time difference estimation", JASA 142 (2017).
_DELAY_BAND = 3000.0
_OVERSAMPLING = 16


@dataclass(frozen=True)
class Response:
    """One HRIR file.

    Attributes
    ----------
    head : str
        Its name, such as ``VP_E1``; with the microphone if a root has several.
    azimuth : float
        Of the loudspeaker, in degrees from -180 (excluded) to 180; left negative.
    near, far : ndarray
        (bands,): magnitude in dB, over `frequencies`, at the ear on the loudspeaker's side and at the other one;
        at the right and at the left ear for a loudspeaker straight ahead or behind.
    delay : float
        Delay of the sound at the far ear, in microseconds.
    level : float
        Level of the near ear above that of the far ear, in dB, over all frequencies.
    """

    head: str
    azimuth: float
    near: Floats
    far: Floats
    delay: float
    level: float


def wrapped(angle: float) -> float:
    """An azimuth in degrees, from -180 (excluded) to 180."""
    return 180.0 - (180.0 - angle) % 360.0


def frequencies(samplerate: int) -> Floats:
    """Centres of the bands, twelve per octave from 100 Hz to 20 kHz or what the rate allows, in Hz."""
    highest = min(HIGHEST, 0.47 * samplerate)
    count = max(int(np.log2(highest / LOWEST) * _PER_OCTAVE) + 1, 1)
    centres: Floats = LOWEST * 2.0 ** (np.arange(count) / _PER_OCTAVE)
    return centres


def responses(hrirs: Mapping[str, Floats], samplerate: int) -> list[Response]:
    """Analyse HRIRs, in order of head and azimuth.

    Parameters
    ----------
    hrirs : mapping
        File name to (taps, 2) float64: left ear, right ear. Names that no position can have are left out; of two
        files for one loudspeaker, such as ``n0`` and ``p0``, the first is used.
    samplerate : int
        In hertz.
    """
    parsed = {name: parts for name in hrirs if (parts := parse_hrir_name(name))}
    several = len({mic for mic, *_ in parsed.values()}) > 1
    found: dict[tuple[str, float], Response] = {}
    for name, (mic, subject, side, angle) in sorted(parsed.items()):
        head = f"{subject} {mic}" if several else subject
        azimuth = wrapped(-angle if side == "n" else angle)
        if (head, azimuth) in found:
            continue
        hrir = hrirs[name] if azimuth < 0 else hrirs[name][:, ::-1]  # near ear, far ear
        spectra = np.fft.rfft(hrir, max(_TRANSFORM, 2 * len(hrir)), axis=0)
        energy = np.maximum((hrir**2).sum(axis=0), 1e-30)
        level = float(10 * np.log10(energy[0] / energy[1]))
        delay = _delay(hrir[:, 0], hrir[:, 1], samplerate)
        near, far = _decibels(spectra, samplerate).T
        found[head, azimuth] = Response(head, azimuth, near, far, delay, level)
    return sorted(found.values(), key=lambda response: (_natural(response.head), response.azimuth))


def _decibels(spectra: npt.NDArray[np.complex128], samplerate: int) -> Floats:
    """Power in bands of a twelfth of an octave."""
    bins = frequencies(samplerate) * 2 * (len(spectra) - 1) / samplerate
    half = 2.0 ** (0.5 / _PER_OCTAVE)
    total = np.concatenate([np.zeros((1, 2)), np.cumsum(np.abs(spectra) ** 2, axis=0)])
    first = np.minimum(np.floor(bins / half).astype(int), len(spectra) - 1)
    last = np.clip(np.ceil(bins * half).astype(int) + 1, first + 1, len(spectra))
    power = (total[last] - total[first]) / (last - first)[:, None]
    decibels: Floats = 10 * np.log10(np.maximum(power, 1e-12))
    return decibels


def _delay(near: Floats, far: Floats, samplerate: int) -> float:
    """The lag of the largest correlation between the ears, within a millisecond."""
    length = 1 << (2 * len(near) - 1).bit_length()
    cross = np.conj(np.fft.rfft(near, length)) * np.fft.rfft(far, length)
    cross[int(_DELAY_BAND / samplerate * length) :] = 0
    correlation = np.fft.irfft(cross, length * _OVERSAMPLING)
    reach = min(int(1e-3 * samplerate), length // 2 - 1) * _OVERSAMPLING
    lags = np.arange(-reach, reach + 1)
    return float(1e6 * lags[np.argmax(correlation[lags])] / (samplerate * _OVERSAMPLING))


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort key: ``VP_E2`` before ``VP_E11``."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split("([0-9]+)", text)]
