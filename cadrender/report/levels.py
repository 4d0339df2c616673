"""Loudness before and after the HRIRs, and clipping."""

import math
from dataclasses import dataclass

import numpy as np

from cadrender.report.survey import Survey
from cadrender.store.manifest import Record

_LOUDEST = 1000.0  # dB


@dataclass(frozen=True)
class FileLevel:
    """An at-mic file's levels.

    Attributes
    ----------
    sample, stem : str
    frames : int
    before, after : float
        LUFS of the stem and of its convolution with the HRIRs; minus infinity for silence.
    gain : float
        The linear factor; 0 for digital silence.
    clipped : int
        Clipped PCM values.
    """

    sample: str
    stem: str
    frames: int
    before: float
    after: float
    gain: float
    clipped: int

    @property
    def silent(self) -> bool:
        """Whether the file is digital silence."""
        return self.gain == 0.0

    @property
    def gain_db(self) -> float:
        """The gain in dB; minus infinity for silence."""
        with np.errstate(divide="ignore"):
            return float(20 * np.log10(max(self.gain, 0.0)))


def known_levels(survey: Survey) -> list[FileLevel]:
    """The levels of all complete at-mic files according to the manifest, in order of samples and stems."""
    entries = [
        (sample.name, stem, survey.entry_of(sample, stem))
        for sample in survey.samples.values()
        for stem in survey.at_mic.get(sample.name, ())
    ]
    return [
        FileLevel(name, stem, entry.frames, before, after, gain, int(clipped))
        for name, stem, entry in entries
        if entry and _plausible(entry)
        for before, after, gain, clipped in [[entry.levels[level] for level in _LEVELS]]
    ]


_LEVELS = ("loudness_before", "loudness_after", "gain", "clipped")


def _plausible(entry: Record) -> bool:
    """Whether a line of the manifest, which may have been edited, holds levels."""
    if not set(_LEVELS) <= entry.levels.keys():
        return False
    before, after, gain, clipped = (entry.levels[level] for level in _LEVELS)
    loudness = all(-_LOUDEST < level < _LOUDEST or level == -math.inf for level in (before, after))
    return loudness and 0.0 <= gain < 1e10 and 0 <= clipped <= 2 * entry.frames
