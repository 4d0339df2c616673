"""The demo's head-related impulse responses: a rigid sphere with a torso below it.

The sphere's response is exact: the series of Duda and Martens, "Range dependence of the response of a
spherical head model", J. Acoust. Soc. Am. 104 (1998), 3048-3058, equation 3 (going back to Rayleigh, 1904).
The torso is one weak echo from a second sphere, as in Algazi et al., "Approximating the
head-related transfer function using simple geometric models of the head and torso", J. Acoust. Soc. Am. 112
(2002), 2053-2064.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import eval_legendre

from cadrender.demo.seeds import generator

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex128]

# The 16 human subjects of OlHeaD-HRTF that the challenge uses, and its six loudspeaker angles.
SUBJECTS = (
    *(f"VP_E{number}" for number in (1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13)),
    *(f"VP_N{number}" for number in (1, 3, 4, 5, 6)),
)
ANGLES = (-37.5, -30.0, -22.5, 22.5, 30.0, 37.5)
MIC = "BTE_fr"

SAMPLERATE = 44100
SPEED_OF_SOUND = 343.0
TAPS = 384
LEAD = 44
"""Frames from the first tap to when the wave would pass the centre of the head."""

_TRANSFORM = 1024
_PASS_BAND = 15000.0
_LEVEL = 0.5


@dataclass(frozen=True)
class SphericalHead:
    """One subject's geometry. Lengths in metres, angles in degrees; the ears are symmetric.

    Attributes
    ----------
    radius : float
        Radius of the head's sphere.
    ear_azimuth, ear_elevation : float
        Direction of the microphone from the head's centre: 90 and 0 would be the ear canal entrance; behind the ear is
        further back and higher.
    torso_radius, neck, torso_gain : float
        The torso's sphere, its distance from the head's, and the fraction of a wave it reflects (0 to 1).
    """

    radius: float = 0.0875
    ear_azimuth: float = 100.0
    ear_elevation: float = 10.0
    torso_radius: float = 0.17
    neck: float = 0.05
    torso_gain: float = 0.25


def make_head(subject: str) -> SphericalHead:
    """The head of a subject: each name has its own.

    The radii are spread around 8.7 cm, the mean over 25 people in Algazi, Avendano and Duda, "Estimation of a
    spherical-head model from anthropometry", J. Audio Eng. Soc. 49 (2001), 472-479.
    """
    rng = generator("head", subject)
    spread = rng.standard_normal(6).clip(-2, 2).tolist()
    return SphericalHead(
        radius=0.087 + 0.003 * spread[0],
        ear_azimuth=100.0 + 2.0 * spread[1],
        ear_elevation=10.0 + 3.0 * spread[2],
        torso_radius=0.17 + 0.015 * spread[3],
        neck=0.05 + 0.01 * spread[4],
        torso_gain=0.22 + 0.04 * spread[5],
    )


def make_hrir(head: SphericalHead, azimuth: float, *, distance: float = 2.0, torso: bool = True) -> Floats:
    """The impulse responses from a loudspeaker in the horizontal plane to both ears.

    Parameters
    ----------
    head : SphericalHead
    azimuth : float
        Of the loudspeaker, in degrees; left is negative.
    distance : float
        From the head's centre to the loudspeaker, in metres.
    torso : bool
        Whether to add the torso's echo.

    Returns
    -------
    ndarray
        (TAPS, 2) float64: left ear, right ear, at 44 100 Hz. Without a head the response would be flat with half the
        amplitude; the delay is counted from ``LEAD`` frames before the wave reaches the head's centre.
    """
    frequencies = np.asarray(np.fft.rfftfreq(_TRANSFORM, 1 / SAMPLERATE), np.float64)
    coefficients = _sphere_series(head.radius, distance, frequencies)
    source = distance * _direction(azimuth, 0.0)
    ears = [head.radius * _direction(side * head.ear_azimuth, head.ear_elevation) for side in (-1, 1)]
    response: Complexes = np.empty((frequencies.size, 2), dtype=complex)
    for column, ear in enumerate(ears):
        response[:, column] = _at_angle(coefficients, ear, source)
        if torso:
            response[:, column] += _torso_echo(head, coefficients, ear, source, frequencies)
    response *= (_roll_off(frequencies) * np.exp(-2j * np.pi * frequencies * LEAD / SAMPLERATE))[:, None]
    taps: Floats = _LEVEL * np.fft.irfft(response, axis=0)[:TAPS]
    fade = 0.5 - 0.5 * np.cos(np.pi * (np.arange(16) + 0.5) / 16)
    taps[:16] *= fade[:, None]
    taps[-16:] *= fade[::-1, None]
    return taps


def _direction(azimuth: float, elevation: float) -> Floats:
    """Unit vector with x to the right, y ahead, z up; angles in degrees."""
    around, up = np.radians([azimuth, elevation])
    return np.array([np.sin(around) * np.cos(up), np.cos(around) * np.cos(up), np.sin(up)])


def _sphere_series(radius: float, distance: float, frequencies: Floats) -> Complexes:
    """Coefficients of the Legendre series of the pressure on a rigid sphere, (orders, frequencies).

    Relative to the pressure at the sphere's centre without the sphere. Terms beyond the largest ``ka`` decrease like
    ``(radius / distance) ** order``; thirty of them are more than enough.
    """
    k = 2 * np.pi * frequencies[1:] / SPEED_OF_SOUND
    count = int(k[-1] * radius) + 30
    order = np.arange(count)[:, None]
    # at low frequencies the high orders overflow; they are below 1e-100 there
    with np.errstate(over="ignore", invalid="ignore"):
        outgoing = _hankel(k * distance, count)
        at_head = _hankel(k * radius, count)
        slope = -(order + 1) / (k * radius) * at_head
        slope[0] = -at_head[1]
        slope[1:] += at_head[:-1]
        ratio = outgoing / slope
    ratio = np.where(np.isfinite(ratio), ratio, 0.0)
    coefficients = np.empty((count, frequencies.size), dtype=complex)
    coefficients[:, 1:] = -(distance / (k * radius**2)) * np.exp(1j * k * distance) * (2 * order + 1) * ratio
    coefficients[:, :1] = (2 * order + 1) / (order + 1) * (radius / distance) ** order
    return coefficients


def _hankel(x: Floats, count: int) -> Complexes:
    """Spherical Hankel functions of the second kind (outgoing for exp(+i omega t)), orders 0 to count - 1.

    The upward recurrence is stable, since they grow with order.
    """
    values = np.empty((count, x.size), dtype=complex)
    values[0] = 1j * np.exp(-1j * x) / x
    values[1] = values[0] / x - np.exp(-1j * x) / x
    for order in range(1, count - 1):
        values[order + 1] = (2 * order + 1) / x * values[order] - values[order - 1]
    return values


def _at_angle(coefficients: Complexes, ear: Floats, source: Floats) -> Complexes:
    cosine = np.dot(ear, source) / np.linalg.norm(ear) / np.linalg.norm(source)
    legendre = eval_legendre(np.arange(len(coefficients)), cosine)
    response: Complexes = np.einsum("mf,m->f", coefficients, legendre)
    return response


def _torso_echo(
    head: SphericalHead, coefficients: Complexes, ear: Floats, source: Floats, frequencies: Floats
) -> Complexes:
    """Response of the reflection from the torso to the ear, by Fermat's principle."""
    polar, around = np.meshgrid(np.linspace(0, np.pi / 2, 60), np.linspace(-np.pi, np.pi, 181), indexing="ij")
    normal = np.stack(
        [np.sin(polar) * np.sin(around), np.sin(polar) * np.cos(around), np.cos(polar)], axis=-1
    )
    centre = np.array([0.0, 0.0, -(head.radius + head.neck + head.torso_radius)])
    points = centre + head.torso_radius * normal
    lengths = np.linalg.norm(points - source, axis=-1) + np.linalg.norm(points - ear, axis=-1)
    bounce = points.reshape(-1, 3)[lengths.argmin()]
    delay = (lengths.min() - np.linalg.norm(source - ear)) / SPEED_OF_SOUND
    # waves longer than the torso are not reflected
    corner = SPEED_OF_SOUND / (2 * np.pi * head.torso_radius)
    reflected: Complexes = head.torso_gain * 1j * frequencies / (corner + 1j * frequencies)
    return reflected * np.exp(-2j * np.pi * frequencies * delay) * _at_angle(coefficients, ear, bounce)


def _roll_off(frequencies: Floats) -> Floats:
    """Half a cosine from 1 at the passband edge to 0 at half the sample rate, for short pulses."""
    position = (frequencies - _PASS_BAND) / (SAMPLERATE / 2 - _PASS_BAND)
    return 0.5 + 0.5 * np.cos(np.pi * position.clip(0, 1))
