"""Plausible listeners: standard audiograms with individual variation."""

import numpy as np
import numpy.typing as npt

from cadrender.demo.seeds import generator
from cadrender.metadata.listeners import Listener

FREQUENCIES = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)

# Hearing levels in dB HL at the FREQUENCIES up to 6 kHz: tables 2 and 4 of Bisgaard, Vlaming and Dahlquist,
# "Standard audiograms for the IEC 60118-15 measurement procedure", Trends in Amplification 14 (2010),
# 113-120.
# The tables end at 6 kHz; 8 kHz is assumed to be 5 dB worse.
STANDARD_AUDIOGRAMS = {
    "N1": (10, 10, 10, 15, 20, 30, 40),
    "N2": (20, 20, 25, 35, 40, 45, 50),
    "N3": (35, 35, 40, 50, 55, 60, 65),
    "N4": (55, 55, 55, 65, 70, 75, 80),
    "N5": (65, 70, 75, 80, 80, 80, 80),
    "N6": (75, 80, 85, 90, 95, 100, 100),
    "N7": (90, 95, 105, 105, 105, 105, 105),
    "S1": (10, 10, 10, 15, 30, 55, 70),
    "S2": (20, 20, 25, 55, 75, 95, 95),
    "S3": (30, 35, 60, 75, 80, 80, 85),
}

# Relative frequency of each: most hearing-aid users have mild to moderate losses.
_SHARES = {"N1": 8, "N2": 20, "N3": 22, "N4": 12, "N5": 4, "N6": 2, "N7": 1, "S1": 12, "S2": 12, "S3": 7}


def make_listeners(count: int = 83) -> list[Listener]:
    """Listeners ``L0001`` and so on, always the same ones, with thresholds in 5 dB steps.

    Both ears of a person follow the same standard audiogram, differing slightly from each other and from it.
    """
    rng = generator("listeners")
    weights = np.array([_SHARES[kind] for kind in STANDARD_AUDIOGRAMS]) / sum(_SHARES.values())
    listeners = []
    for number in range(1, count + 1):
        levels = list(STANDARD_AUDIOGRAMS.values())[rng.choice(len(weights), p=weights)]
        standard = np.array([*levels, levels[-1] + 5])
        person = rng.normal(0, 3)
        left, right = (
            standard + person + rng.normal(0, 2.5) + rng.normal(0, 2.5, len(FREQUENCIES)) for _ in range(2)
        )
        listeners.append(Listener(f"L{number:04d}", FREQUENCIES, _thresholds(left), _thresholds(right)))
    return listeners


def _thresholds(levels: npt.NDArray[np.float64]) -> tuple[int, ...]:
    """Round to the 5 dB steps of clinical practice, within an audiometer's range."""
    return tuple(int(level) for level in (5 * np.rint(levels / 5)).clip(-10, 110))
