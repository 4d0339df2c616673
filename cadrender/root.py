"""A root as Python objects: scenes, samples, listeners, and stems rendered into arrays."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cadrender.config import Settings, load_settings
from cadrender.errors import UsageError
from cadrender.metadata import (
    Listener,
    Sample,
    Track,
    read_gains,
    read_listeners,
    read_samples,
    read_scene_listeners,
    read_scenes,
    read_track_lists,
)
from cadrender.stems import STEMS


@dataclass(frozen=True)
class Scene:
    """One scene, with everything that its metadata names.

    Attributes
    ----------
    id : str
        Such as ``scene_10001``.
    sample : Sample
        The song and the head position: what is rendered.
    gains : dict
        Gain of each stem of vocals, drums, bass and other, in dB.
    listeners : tuple of Listener
        Who listens to it; empty where the root has no scene-listeners file.
    """

    id: str
    sample: Sample
    gains: Mapping[str, float]
    listeners: tuple[Listener, ...]


class Root:
    """The songs, HRIRs and metadata of a root; made by :func:`open_root`.

    Everything is read when it is first asked for and checked as ``cadrender generate`` does.

    Attributes
    ----------
    settings : Settings
        Paths and numbers.
    tracks : list of Track
        The songs in file order.
    samples : list of Sample
        What the scenes name, each once, in order of first appearance.
    scenes : list of Scene
        The scenes in file order.
    """

    def __init__(self, settings: Settings):
        self.settings = settings

    @functools.cached_property
    def tracks(self) -> list[Track]:  # noqa: D102 - see the class
        return read_track_lists(self.settings.music_files)

    @functools.cached_property
    def _records(self):
        return read_scenes(self.settings.scene_file)

    @functools.cached_property
    def samples(self) -> list[Sample]:  # noqa: D102
        settings = self.settings
        return read_samples(
            settings.scene_file,
            settings.music_files,
            settings.head_loudspeaker_positions_file,
            settings.excerpts_file,
        )

    @functools.cached_property
    def scenes(self) -> list[Scene]:  # noqa: D102
        gains = read_gains(self.settings.gains_file)
        samples = {(sample.track.name, sample.position.id): sample for sample in self.samples}
        heard_by = self._scene_listeners()
        scenes = []
        for record in self._records:
            if record.gain not in gains:
                raise UsageError(
                    f"{self.settings.gains_file}: no gain {record.gain!r}, which {record.id} names"
                )
            scenes.append(
                Scene(
                    record.id,
                    samples[record.music, record.position],
                    gains[record.gain],
                    tuple(heard_by.get(record.id, ())),
                )
            )
        return scenes

    def _scene_listeners(self):
        if not self.settings.scene_listeners_file.exists():
            return {}
        listeners = read_listeners(self.settings.listeners_file)
        pairs = read_scene_listeners(self.settings.scene_listeners_file)
        try:
            return {scene: [listeners[name] for name in names] for scene, names in pairs.items()}
        except KeyError as error:
            raise UsageError(
                f"{self.settings.listeners_file}: no listener {error}, whom the scene-listeners name"
            ) from error

    def source(self, sample: Sample | str, stem: str) -> np.ndarray:
        """Read the stem that a sample is made from: a song's, or an excerpt's own.

        Returns
        -------
        ndarray
            (frames, 2) int16, or the type that holds another subtype exactly.

        Raises
        ------
        AudioError
            If the file cannot be used.
        """
        from cadrender.store import read_stem

        return read_stem(self._stem_file(self._sample(sample), stem), self.settings.sample_rate)

    def render(self, sample: Sample | str, stem: str, dtype: str = "int16") -> np.ndarray:
        """Render one at-mic stem into an array; nothing is written.

        Parameters
        ----------
        sample : Sample or str
            One of :attr:`samples`, or its name.
        stem : str
            ``mixture``, ``vocals``, ``drums``, ``bass`` or ``other``.
        dtype : {"int16", "float64"}
            int16: the very samples of the challenge. float64: before clipping and truncation, full scale 1.

        Returns
        -------
        ndarray
            (frames, 2)

        Raises
        ------
        AudioError
            If the song or an HRIR cannot be used.
        UsageError
            If there is no such sample or stem.
        """
        from cadrender.render import at_mic_stem
        from cadrender.store import read_hrir

        sample = self._sample(sample)
        rate = self.settings.sample_rate
        left, right = (read_hrir(file, rate) for file in self._hrirs(sample))
        return at_mic_stem(self.source(sample, stem), rate, left, right, dtype)

    def render_sample(
        self, sample: Sample | str, stems: Sequence[str] = STEMS, dtype: str = "int16"
    ) -> dict[str, np.ndarray]:
        """Render several stems of a sample: :meth:`render` for each, by name."""
        return {stem: self.render(sample, stem, dtype) for stem in stems}

    def blocks(self, sample: Sample | str, stem: str, dtype: str = "int16") -> Iterator[np.ndarray]:
        """Render one at-mic stem piece by piece, in little memory.

        Yields
        ------
        ndarray
            (n, 2), consecutive; valid until the next is asked for.
        """
        from cadrender.dsp.hrir import Heads
        from cadrender.render import at_mic
        from cadrender.store import read_hrir

        sample = self._sample(sample)
        rate = self.settings.sample_rate
        signal = self.source(sample, stem)
        heads = Heads([tuple(read_hrir(file, rate) for file in self._hrirs(sample))])
        for _, piece, _ in at_mic(signal, rate, heads, pcm16=dtype == "int16")[1]:
            yield piece

    def _sample(self, sample):
        if isinstance(sample, Sample):
            return sample
        for candidate in self.samples:
            if candidate.name == sample:
                return candidate
        raise UsageError(f"{self.settings.scene_file}: no scene names a sample {sample!r}")

    def _stem_file(self, sample, stem) -> Path:
        from cadrender.jobs.plan import source_folder

        if stem not in STEMS:
            raise UsageError(f"stem {stem!r} is none of {', '.join(STEMS)}")
        return source_folder(self.settings, sample) / f"{stem}.wav"

    def _hrirs(self, sample):
        return sample.position.hrir_files(self.settings.hrtf_dir)


def open_root(root: str | Path, *overrides: str, split: str = "train") -> Root:
    """Open a root: a folder with ``audio/`` and ``metadata/``.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder.
    *overrides : str
        ``key=value`` settings, as on the command line.
    split : str
        ``train``, ``valid`` or ``test``.

    Returns
    -------
    Root

    Raises
    ------
    UsageError
        If a setting is wrong.
    """
    return Root(load_settings(overrides, root=Path(root), split=split))
