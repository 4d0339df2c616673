"""Scenes to look at and listen to: a few seconds of the song, and of what the microphones pick up."""

import base64
import fnmatch
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.dsp.arrays import Samples
from cadrender.dsp.loudness import full_scale
from cadrender.errors import AudioError, UsageError
from cadrender.metadata.samples import Sample, sample_name
from cadrender.metadata.scenes import SceneRecord
from cadrender.report.levels import FileLevel
from cadrender.report.survey import Survey, render
from cadrender.stems import MIXTURE

ENVELOPE = 150
"""Parts of a clip's envelope."""

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
        (2, ENVELOPE): the peaks of the left and of the right channel.
    """

    uri: str
    envelope: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A scene, to be seen and heard.

    Attributes
    ----------
    scene : SceneRecord
    sample : Sample
    start, seconds : float
        Start of the clips within the sample, and their length.
    original, at_mic : Clip or None
        The mixture, None if the song is not in the root; and its at-mic signal, None if there is none.
    levels : tuple of FileLevel
        Of the stems that were measured for this page.
    rendered : bool
        Whether `at_mic` was rendered for this page because there is no file.
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
    """Choose scenes to show: as many songs as possible, with different heads if possible.

    Parameters
    ----------
    survey : Survey
    patterns : sequence of str
        Shell patterns of scene ids, songs or samples; all scenes by default.
    count : int
        The most to choose.

    Raises
    ------
    UsageError
        If a pattern matches no scene.
    """
    samples = {scene.id: sample for scene in survey.scenes if (sample := survey.sample_of(scene))}
    scenes = [scene for scene in survey.scenes if scene.id in samples]
    names = {scene.id: (scene.id, scene.music, samples[scene.id].name) for scene in scenes}
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {key for key, texts in names.items() if pattern in texts or fnmatch.filter(texts, pattern)}
        if not matching:
            file = survey.settings.scene_file
            raise UsageError(f"--scenes {pattern!r}: no scene of {file} has such an id, song or sample")
        chosen |= matching
    if patterns:
        scenes = [scene for scene in scenes if scene.id in chosen]
    turns: dict[str, int] = {}
    rank: dict[str, int] = {}
    mute: dict[str, bool] = {}
    for scene in scenes:
        rank[scene.id] = turns[scene.music] = turns.get(scene.music, -1) + 1
        sample = samples[scene.id]
        mute[scene.id] = sample.source not in survey.sources and not survey.file_of(sample, MIXTURE)
    # Scenes with sound first; then the first scene of each song before any second one.
    scenes.sort(key=lambda scene: (mute[scene.id], rank[scene.id]))
    first = [scene for scene in scenes if rank[scene.id] == 0 and not mute[scene.id]]
    if len(first) > count:
        return [first[k * len(first) // count] for k in range(count)]
    return scenes[:count]


def make_example(survey: Survey, scene: SceneRecord, seconds: float) -> Example:
    """Cut the loudest seconds of a scene's mixture, before and after; render what is not on disk.

    Stems that are not in the manifest are measured. No file is written.
    """
    sample = survey.samples[sample_name(scene.music, scene.position)]
    rate = survey.settings.sample_rate
    source: Samples | None = None
    pcm: Samples | None = None
    levels: tuple[FileLevel, ...] = ()
    try:
        at_mic = survey.read_at_mic(sample, MIXTURE)
        if sample.source in survey.sources:
            source = survey.read_source(sample, MIXTURE)
            if not survey.entry_of(sample, MIXTURE):
                pcm, levels = _render(survey, sample)
        elif at_mic is None:
            raise AudioError(survey.source_problems[sample.source])
        rendered = at_mic is None
        if at_mic is None:
            at_mic = pcm
        if at_mic is None:
            raise AudioError(f"{sample.position.id}: its HRIRs cannot be used, so nothing can be rendered")
    except AudioError as error:
        return Example(scene, sample, problem=str(error))
    start, frames = _loudest(at_mic if source is None else source, round(seconds * rate), rate)
    part = slice(start, start + frames)
    original = None if source is None else _clip(source[part], rate)
    return Example(
        scene, sample, start / rate, frames / rate, original, _clip(at_mic[part], rate), levels, rendered
    )


def _render(survey: Survey, sample: Sample) -> tuple[Samples | None, tuple[FileLevel, ...]]:
    """The at-mic mixture and the levels of all stems; None and nothing if an HRIR is missing."""
    left, right = (
        survey.hrirs.get(file.name) for file in sample.position.hrir_files(survey.settings.hrtf_dir)
    )
    mixture: Samples | None = None
    levels: list[FileLevel] = []
    if left is None or right is None:
        return mixture, ()
    for stem in survey.sources[sample.source].files:
        pcm, measured = render(survey.read_source(sample, stem), survey.settings.sample_rate, left, right)
        levels.append(FileLevel(sample.name, stem, len(pcm), *measured))
        if stem == MIXTURE:
            mixture = pcm
    return mixture, tuple(levels)


def _loudest(signal: Samples, frames: int, samplerate: int) -> tuple[int, int]:
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


def _clip(samples: Samples, samplerate: int) -> Clip:
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
