"""Roots to measure on, and the engine's plans for them.

The songs are the demo's, at any length; HRIRs have any length, songs any number of scenes. Two things are
deliberately harder than in real data: every stem carries noise of one LSB, so no digital silence can be skipped, and
every HRIR sounds from its first tap to its last, so nothing can be trimmed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.output import Batch
from cadrender.config import load_settings
from cadrender.demo.arrange import play
from cadrender.demo.head import ANGLES, MIC, SUBJECTS
from cadrender.demo.songs import SONGS
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.music import Track, tracks_json
from cadrender.metadata.positions import build_positions, positions_json
from cadrender.metadata.scenes import generate_scenes, scenes_json
from cadrender.metadata.writing import write_json
from cadrender.pipeline.plan import Plan, make_plan

SAMPLERATE = 44100

# Per at-mic frame: two channels of 16 bits.
AT_MIC_BYTES = 4

# The official training set: 100 songs, five stems, four scenes per song.
OFFICIAL_SONGS, OFFICIAL_SCENES = 100, 4
READ_GB, WRITTEN_GB = 22.0, 88.0
# Frames of all stems, times the scenes of each: the multiplier for nanoseconds.
OFFICIAL_FRAME_SCENES = WRITTEN_GB * 1e9 / AT_MIC_BYTES


def hrir(taps: int, seed: int) -> np.ndarray:
    """One loudspeaker's HRIR, (taps, 2) float32: decaying noise without a silent tap."""
    draw = np.random.default_rng(seed)
    decay = 10.0 ** (-3.0 * np.arange(taps) / max(taps, 384))[:, None]
    noise = draw.standard_normal((taps, 2))
    return (0.1 * (noise + np.sign(noise) * 0.01) * decay).astype(np.float32)


def stretch(stem: np.ndarray, frames: int, seed: int) -> np.ndarray:
    """A stem repeated or cut to ``frames``, with noise of one LSB."""
    noise = np.random.default_rng(seed).integers(-1, 2, (frames, 2))
    return np.clip(np.resize(stem, (frames, 2)) + noise, -32768, 32767).astype(np.int16)


def make_root(
    root: Path, *, songs: int = 1, seconds: float = 30.0, scenes: int = 4, taps: int = 384, copies: int = 1
) -> Path:
    """Make a root.

    Parameters
    ----------
    root : pathlib.Path
        A new or empty folder.
    songs : int
        Number of demo songs, 1 to 4.
    seconds : float
        Length of each.
    scenes : int
        Scenes per song, at most 144.
    taps : int
        Of every HRIR.
    copies : int
        How many times each song is included.

    Returns
    -------
    pathlib.Path
        The same folder.
    """
    hrtf = root / "audio" / "hrtf"
    hrtf.mkdir(parents=True)
    names: list[str] = []
    for subject in SUBJECTS:
        for angle in ANGLES:
            name = f"{MIC}-{subject}-{'n' if angle < 0 else 'p'}{abs(angle)}.wav"
            soundfile.write(hrtf / name, hrir(taps, len(names)), SAMPLERATE, subtype="FLOAT")
            names.append(name)
    frames = round(seconds * SAMPLERATE)
    tracks = []
    for song in SONGS[:songs]:
        stems = play(song)
        for copy in range(copies):
            name = song.name if copy == 0 else f"{song.name} {copy + 1}"
            tracks.append(Track(name, song.genre, "", "", "train", f"train/{name}"))
            folder = root / "audio" / "music" / "train" / name
            folder.mkdir(parents=True)
            for seed, (stem, samples) in enumerate(stems.items()):
                longer = stretch(samples, frames, 100 * copy + seed)
                soundfile.write(folder / f"{stem}.wav", longer, SAMPLERATE, subtype="PCM_16")
    gains = build_gains()
    positions = build_positions(names)
    metadata = root / "metadata"
    texts = {
        "musdb18.train": tracks_json(tracks),
        "head_loudspeaker_positions": positions_json(positions),
        "gains": gains_json(gains),
        "scenes.train": scenes_json(generate_scenes(tracks, list(gains), list(positions), scenes)),
    }
    for name, text in texts.items():
        write_json(metadata / f"{name}.json", text)
    return root


def plan_of(root: Path, output: Path, **options: Any) -> Plan:
    """The engine's plan for a root, writing to its own folder, which is removed first.

    Parameters
    ----------
    root : pathlib.Path
    output : pathlib.Path
        For the at-mic music and its list.
    **options
        For :class:`cadrender.catalogue.at_mic.AtMicCatalogue`.
    """
    shutil.rmtree(output, ignore_errors=True)
    settings = load_settings(
        root=root,
        output_music_dir=output / "at_mic_music",
        output_music_file=output / "at_mic_music.train.json",
    )
    return make_plan(AtMicCatalogue(settings, **options))


def make_places(batches: Sequence[Batch]) -> None:
    """Create the folders that batches write to."""
    for batch in batches:
        for output in batch.outputs:
            output.file.parent.mkdir(parents=True, exist_ok=True)
