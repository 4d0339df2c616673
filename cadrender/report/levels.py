"""Loudness before and after the HRIRs, and clipping: read from the manifest, or measured."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cadrender.report.survey import Survey

_LOUDEST = 1000.0  # dB


class Measured(NamedTuple):
    """What rendering a stem showed: see `FileLevel`."""

    before: float
    after: float
    gain: float
    clipped: int


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
        The factor applied; 0 where the file is digital silence.
    clipped : int
        Samples that were clipped.
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
    """The levels of all complete at-mic files that the manifest has, in order of samples and stems."""
    found = []
    for sample in survey.samples.values():
        for stem in survey.at_mic.get(sample.name, ()):
            entry = survey.entry_of(sample, stem)
            if entry and _plausible(entry):
                found.append(
                    FileLevel(
                        sample.name,
                        stem,
                        entry.frames,
                        entry.levels["loudness_before"],
                        entry.levels["loudness_after"],
                        entry.levels["gain"],
                        entry.levels["clipped"],
                    )
                )
    return found


def _plausible(entry):
    """Whether a line of the manifest holds levels; anybody may have written it."""
    levels = entry.levels
    if not {"loudness_before", "loudness_after", "gain", "clipped"} <= levels.keys():
        return False
    both = (levels["loudness_before"], levels["loudness_after"])
    loudness = all(-_LOUDEST < level < _LOUDEST or level == -math.inf for level in both)
    return loudness and 0.0 <= levels["gain"] < 1e10 and 0 <= levels["clipped"] <= 2 * entry.frames


def render(signal: np.ndarray, samplerate: int, hrirs) -> tuple[np.ndarray, Measured]:
    """Render a stem as ``cadrender generate`` does.

    Parameters
    ----------
    signal : ndarray
        (frames, 2), as `cadrender.store.read_stem` returns it.
    samplerate : int
        In hertz.
    hrirs : pair of ndarray
        (taps, 2) each: the left and the right loudspeaker's.

    Returns
    -------
    pcm : ndarray
        (frames, 2) int16.
    measured : Measured
    """
    from cadrender.dsp.hrir import Heads
    from cadrender.dsp.render import at_mic

    heads = Heads([tuple(hrirs)])
    levels, pieces = at_mic(signal, samplerate, heads)
    pcm = np.empty((len(signal), 2), np.int16)
    at = clipped = 0
    for _, piece, clips in pieces:
        pcm[at : at + len(piece)] = piece
        at += len(piece)
        clipped += int(clips)
    (level,) = levels
    return pcm, Measured(level.before, level.after, level.gain, clipped)
