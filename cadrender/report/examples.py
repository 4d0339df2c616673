"""Scenes to look at and listen to: a few seconds of the song, and of what the microphones pick up."""

import base64
import fnmatch
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from cadrender.dsp.loudness import full_scale
from cadrender.errors import AudioError, UsageError
from cadrender.metadata import Sample, SceneRecord
from cadrender.report.levels import FileLevel, render
from cadrender.report.survey import Survey
from cadrender.stems import MIXTURE
from cadrender.store import read_stem

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
        The mixture, and what the microphones pick up of it; None where there is no sound to be had.
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
    """Choose scenes to show: as many songs as possible, and for each another head if that can be.

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
    if patterns:
        chosen = set()
        for pattern in patterns:
            matching = {scene.id for scene in scenes if _matches(survey, scene, pattern)}
            if not matching:
                raise UsageError(
                    f"--scenes {pattern!r}: no scene of {survey.settings.scene_file} has such an id, song or sample"
                )
            chosen |= matching
        scenes = [scene for scene in scenes if scene.id in chosen]
    turns = {}
    rank = {}
    for scene in scenes:
        rank[scene.id] = turns[scene.music] = turns.get(scene.music, -1) + 1
    # The first scene of each song before the second of any; what can be heard before all else.
    mute = {scene.id: survey.sample_of(scene).source not in survey.sources for scene in scenes}
    scenes.sort(key=lambda scene: (mute[scene.id], rank[scene.id]))
    first = [scene for scene in scenes if rank[scene.id] == 0 and not mute[scene.id]]
    if len(first) > count:
        return [first[k * len(first) // count] for k in range(count)]
    return scenes[:count]


def _matches(survey, scene, pattern):
    names = (scene.id, scene.music, survey.sample_of(scene).name)
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)


def make_example(survey: Survey, scene: SceneRecord, seconds: float) -> Example:
    """Cut the loudest seconds of a scene's mixture, before and after; render what is not on disk.

    Stems that the manifest knows nothing of are measured. No file is written.
    """
    sample = survey.sample_of(scene)
    if sample.source in survey.source_problems:
        return Example(scene, sample, problem=survey.source_problems[sample.source])
    hrirs = [survey.hrirs.get(file.name) for file in sample.position.hrir_files(survey.settings.hrtf_dir)]
    try:
        source = _read_source(survey, sample, MIXTURE)
        start, frames = _loudest(source, round(seconds * survey.settings.sample_rate), survey)
        at_mic, rendered, levels = _at_mic(survey, sample, source, hrirs, start, frames)
    except AudioError as error:
        return Example(scene, sample, problem=str(error))
    rate = survey.settings.sample_rate
    return Example(
        scene,
        sample,
        start / rate,
        frames / rate,
        _clip(source[start : start + frames], rate),
        _clip(at_mic, rate),
        levels,
        rendered,
    )


def _read_source(survey, sample, stem):
    return read_stem(survey.sources[sample.source].files[stem], survey.settings.sample_rate)


def _at_mic(survey, sample, source, hrirs, start, frames):
    """The at-mic mixture's frames, from its file if there is one; and the levels that nobody wrote down."""
    rate = survey.settings.sample_rate
    file = survey.file_of(sample, MIXTURE)
    at_mic = read_stem(file, rate, start, frames) if file else None
    if at_mic is None or not survey.entry_of(sample, MIXTURE):
        if any(hrir is None for hrir in hrirs):
            if at_mic is None:
                raise AudioError(
                    f"{sample.position.id}: its HRIRs cannot be used, so nothing can be rendered"
                )
            return at_mic, False, ()
        levels = []
        for stem in survey.sources[sample.source].files:
            signal = source if stem == MIXTURE else _read_source(survey, sample, stem)
            pcm, level = render(signal, rate, hrirs)
            levels.append(FileLevel(sample.name, stem, len(signal), *level))
            if stem == MIXTURE and at_mic is None:
                at_mic = pcm[start : start + frames]
        return at_mic, not file, tuple(levels)
    return at_mic, False, ()


def _loudest(signal, frames, survey):
    """First frame and length of the part with the most energy."""
    frames = min(max(frames, 1), len(signal))
    hop = max(1, survey.settings.sample_rate // _HOPS_PER_SECOND)
    mono = signal[: len(signal) // hop * hop].astype(np.float32).reshape(-1, hop * 2)
    energy = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->i", mono, mono, dtype=np.float64))])
    hops = max(1, frames // hop)
    if len(energy) <= hops:
        return 0, frames
    start = int(np.argmax(energy[hops:] - energy[:-hops])) * hop
    return min(start, len(signal) - frames), frames


def _clip(samples: np.ndarray, samplerate: int) -> Clip:
    scale = 1.0 / full_scale(samples.dtype)
    signal = samples.astype(np.float64) * scale
    parts = np.array_split(np.abs(signal), min(ENVELOPE, len(signal)))
    envelope = np.array([part.max(axis=0) for part in parts]).T
    fade = min(int(_FADE_SECONDS * samplerate), len(signal) // 2)
    if fade:
        ramp = np.linspace(0.0, 1.0, fade)[:, None]
        signal[:fade] *= ramp
        signal[-fade:] *= ramp[::-1]
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(signal, -1, 1), samplerate, format="FLAC", subtype="PCM_16")
    return Clip(data_uri("audio/flac", stream.getvalue()), envelope)


def data_uri(kind: str, content: bytes) -> str:
    """Bytes as a ``data:`` URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def shorten(path: Path, root: Path) -> str:
    """A path as a reader of the page wants it: relative to the root where it lies in it."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
