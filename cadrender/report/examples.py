"""Scenes to look at and listen to: a few seconds of the song, and of what the microphones pick up."""

import base64
import fnmatch
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from cadrender.dsp.loudness import full_scale
from cadrender.errors import AudioError, UsageError
from cadrender.metadata.samples import Sample
from cadrender.metadata.scenes import SceneRecord
from cadrender.report.levels import FileLevel
from cadrender.report.survey import Survey, render
from cadrender.stems import MIXTURE

ENVELOPE = 150
_FADE_SECONDS = 0.01
_HOPS_PER_SECOND = 10


@dataclass(frozen=True)
class Clip:
    """A few seconds of sound.

    Attributes
    ----------
    uri : str
        FLAC, as a data URI.
    envelope : ndarray
        (2, ENVELOPE): the largest absolute sample of the left and of the right channel in each part.
    """

    uri: str
    envelope: np.ndarray


@dataclass(frozen=True)
class Example:
    """A scene, to be seen and heard.

    Attributes
    ----------
    scene : SceneRecord
    sample : Sample
    start, seconds : float
        Where in the sample the clips begin, and their length.
    original, at_mic : Clip or None
        The mixture, None where the song is not in the root; and what the microphones pick up of it, None where
        there is nothing to be heard.
    levels : tuple of FileLevel
        Of the stems that were measured for this page.
    rendered : bool
        Whether `at_mic` was rendered for this page, for want of a file.
    problem : str
        Why there is no sound; empty if there is.
    """

    scene: SceneRecord
    sample: Sample
    start: float = 0.0
    seconds: float = 0.0
    original: Clip | None = None
    at_mic: Clip | None = None
    levels: tuple[FileLevel, ...] = ()
    rendered: bool = False
    problem: str = ""


def choose_scenes(survey: Survey, patterns: Sequence[str], count: int) -> list[SceneRecord]:
    """Choose scenes to show: as many songs as possible, each with a different head where it can be.

    Parameters
    ----------
    survey : Survey
    patterns : sequence of str
        Shell patterns of scene ids, songs or samples; all scenes by default.
    count : int
        How many at most.

    Raises
    ------
    UsageError
        If a pattern matches no scene.
    """
    scenes = [scene for scene in survey.scenes if survey.sample_of(scene)]
    names = {scene.id: (scene.id, scene.music, survey.sample_of(scene).name) for scene in scenes}
    chosen = set()
    for pattern in patterns:
        matching = {key for key, texts in names.items() if pattern in texts or fnmatch.filter(texts, pattern)}
        if not matching:
            file = survey.settings.scene_file
            raise UsageError(f"--scenes {pattern!r}: no scene of {file} has such an id, song or sample")
        chosen |= matching
    if patterns:
        scenes = [scene for scene in scenes if scene.id in chosen]
    turns, rank, mute = {}, {}, {}
    for scene in scenes:
        rank[scene.id] = turns[scene.music] = turns.get(scene.music, -1) + 1
        sample = survey.sample_of(scene)
        mute[scene.id] = sample.source not in survey.sources and not survey.file_of(sample, MIXTURE)
    # The first scene of each song before the second of any; what can be heard before all else.
    scenes.sort(key=lambda scene: (mute[scene.id], rank[scene.id]))
    first = [scene for scene in scenes if rank[scene.id] == 0 and not mute[scene.id]]
    if len(first) > count:
        return [first[k * len(first) // count] for k in range(count)]
    return scenes[:count]


def make_example(survey: Survey, scene: SceneRecord, seconds: float) -> Example:
    """Cut the loudest seconds of a scene's mixture, before and after; render what is not on disk.

    Stems that are not in the manifest are measured. No file is written.
    """
    sample = survey.sample_of(scene)
    rate = survey.settings.sample_rate
    source, pcm, levels = None, None, ()
    try:
        at_mic = survey.read_at_mic(sample, MIXTURE)
        if sample.source in survey.sources:
            source = survey.read_source(sample, MIXTURE)
            if not survey.entry_of(sample, MIXTURE):
                pcm, levels = _render(survey, sample)
        elif at_mic is None:
            raise AudioError(survey.source_problems[sample.source])
        rendered = at_mic is None
        if rendered and pcm is None:
            raise AudioError(f"{sample.position.id}: its HRIRs cannot be used, so nothing can be rendered")
    except AudioError as error:
        return Example(scene, sample, problem=str(error))
    at_mic = pcm if rendered else at_mic
    start, frames = _loudest(at_mic if source is None else source, round(seconds * rate), rate)
    part = slice(start, start + frames)
    original = None if source is None else _clip(source[part], rate)
    return Example(
        scene, sample, start / rate, frames / rate, original, _clip(at_mic[part], rate), levels, rendered
    )


def _render(survey, sample):
    """The at-mic mixture and the levels of all stems; None and nothing where an HRIR is missing."""
    hrirs = [survey.hrirs.get(file.name) for file in sample.position.hrir_files(survey.settings.hrtf_dir)]
    mixture, levels = None, []
    if any(hrir is None for hrir in hrirs):
        return mixture, ()
    for stem in survey.sources[sample.source].files:
        pcm, measured = render(survey.read_source(sample, stem), survey.settings.sample_rate, hrirs)
        levels.append(FileLevel(sample.name, stem, len(pcm), *measured))
        if stem == MIXTURE:
            mixture = pcm
    return mixture, tuple(levels)


def _loudest(signal, frames, samplerate):
    """First frame and length of the part with the most energy."""
    frames = min(max(frames, 1), len(signal))
    hop = max(1, samplerate // _HOPS_PER_SECOND)
    mono = signal[: len(signal) // hop * hop].astype(np.float32).reshape(-1, hop * 2)
    energy = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->i", mono, mono, dtype=np.float64))])
    hops = max(1, frames // hop)
    if len(energy) <= hops:
        return 0, frames
    start = int(np.argmax(energy[hops:] - energy[:-hops])) * hop
    return min(start, len(signal) - frames), frames


def _clip(samples: np.ndarray, samplerate: int) -> Clip:
    signal = samples.astype(np.float64) / full_scale(samples.dtype)
    parts = np.array_split(np.abs(signal), min(ENVELOPE, len(signal)))
    envelope = np.array([part.max(axis=0) for part in parts]).T
    fade = min(int(_FADE_SECONDS * samplerate), len(signal) // 2)
    if fade:
        ramp = np.linspace(0.0, 1.0, fade)[:, None]
        signal[:fade] *= ramp
        signal[-fade:] *= ramp[::-1]
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(signal, -1, 1), samplerate, format="FLAC", subtype="PCM_16")
    return Clip(f"data:audio/flac;base64,{base64.b64encode(stream.getvalue()).decode()}", envelope)
