"""A root as Python objects: scenes, samples, listeners, and stems rendered into arrays."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.excerpts import ExcerptCatalogue
from cadrender.catalogue.output import Output
from cadrender.catalogue.targets import SubmissionCatalogue, TargetCatalogue, submission_manifest
from cadrender.config import Settings, load_settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import Listener, read_listeners
from cadrender.metadata.music import Track, read_track_lists
from cadrender.metadata.positions import HeadPosition, read_positions
from cadrender.metadata.samples import Sample
from cadrender.metadata.scenes import read_scene_listeners, read_scenes
from cadrender.pipeline.plan import Check, Plan, make_plan
from cadrender.pipeline.shards import Shard
from cadrender.pipeline.verify import Verdict, verify
from cadrender.signals.at_mic import AtMic, size_and_time
from cadrender.signals.base import Copy, Signal
from cadrender.signals.target import Target
from cadrender.stems import STEMS
from cadrender.store import AudioFormat, read_stem
from cadrender.store.manifest import Manifest


@dataclass(frozen=True)
class Scene:
    """A scene with its sample, gains and listeners.

    Attributes
    ----------
    id : str
        Such as ``scene_10001``.
    sample : Sample
        The song and the head position.
    gains : dict
        Gains of vocals, drums, bass and other, in dB.
    listeners : tuple of Listener
        Empty if the root has no scene-listeners file.
    """

    id: str
    sample: Sample
    gains: Mapping[str, float]
    listeners: tuple[Listener, ...]


class Root:
    """The songs, HRIRs and metadata of a root, and everything made from them; returned by :func:`open_root`.

    Everything is read on first use and checked as ``cadrender generate`` does.

    Attributes
    ----------
    settings : Settings
        Paths and numbers.
    tracks : list of Track
        The songs in file order.
    positions : dict
        Head positions by id, in file order.
    samples : list of Sample
        The samples of the scenes, each once, in order of first appearance.
    scenes : list of Scene
        The scenes in file order.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __repr__(self) -> str:
        return f"<Root {str(self.settings.root)!r}, {self.settings.split}>"

    @functools.cached_property
    def tracks(self) -> list[Track]:  # noqa: D102 - see the class
        return read_track_lists(self.settings.music_files)

    @functools.cached_property
    def positions(self) -> dict[str, HeadPosition]:  # noqa: D102
        return read_positions(self.settings.head_loudspeaker_positions_file)

    @property
    def samples(self) -> list[Sample]:  # noqa: D102
        return self._at_mic.samples

    @functools.cached_property
    def scenes(self) -> list[Scene]:  # noqa: D102
        gains = read_gains(self.settings.gains_file)
        samples = {(sample.track.name, sample.position.id): sample for sample in self.samples}
        heard_by = self._scene_listeners()
        scenes = []
        for record in read_scenes(self.settings.scene_file):
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

    def _scene_listeners(self) -> dict[str, list[Listener]]:
        if not self.settings.scene_listeners_file.exists():
            return {}
        listeners = read_listeners(self.settings.listeners_file)
        pairs = read_scene_listeners(self.settings.scene_listeners_file)
        try:
            return {scene: [listeners[name] for name in names] for scene, names in pairs.items()}
        except KeyError as error:
            raise UsageError(
                f"{self.settings.listeners_file}: no listener {error}, listed in "
                f"{self.settings.scene_listeners_file}"
            ) from error

    # Catalogues

    @functools.cached_property
    def _at_mic(self) -> AtMicCatalogue:
        return AtMicCatalogue(self.settings)

    @functools.cached_property
    def _targets(self) -> TargetCatalogue:
        return TargetCatalogue(self.settings)

    @overload
    def catalogue(self, product: Literal["at-mic"] = "at-mic", **options: Any) -> AtMicCatalogue: ...
    @overload
    def catalogue(self, product: Literal["targets", "submission"], **options: Any) -> TargetCatalogue: ...
    @overload
    def catalogue(self, product: str, **options: Any) -> Catalogue: ...

    def catalogue(self, product: str = "at-mic", **options: Any) -> Catalogue:
        """All outputs of a product that the root can give.

        Parameters
        ----------
        product : {"at-mic", "targets", "submission"}
        **options
            Of :class:`cadrender.catalogue.at_mic.AtMicCatalogue`,
            :class:`cadrender.catalogue.targets.TargetCatalogue` or
            :class:`cadrender.catalogue.targets.SubmissionCatalogue`.

        Raises
        ------
        UsageError
            If there is no such product, or metadata cannot be used.
        """
        if product == "at-mic":
            return AtMicCatalogue(self.settings, **options)
        if product == "targets":
            return TargetCatalogue(self.settings, **options)
        if product == "submission":
            return SubmissionCatalogue(self.settings, **options)
        raise UsageError(f"unknown product {product!r}; known ones: at-mic, targets, submission")

    def made(self, audio_format: AudioFormat | None = None) -> list[Catalogue]:
        """Catalogues of everything that has been made of the split, according to manifests and files.

        Parameters
        ----------
        audio_format : AudioFormat, optional
            Of at-mic files and targets; default: as recorded.

        Raises
        ------
        CadrenderError
            If nothing has been made in the root's places, or the list of songs of at-mic music is missing.
        """
        settings = self.settings
        found: list[Catalogue] = []
        songs = any(file.exists() for file in (*settings.music_files, settings.excerpts_file))
        recorded = Manifest.beside(settings.output_music_file, settings.root).file
        if not songs and recorded.exists():
            raise CadrenderError(
                f"{settings.music_file}: no such file, and {recorded} tells of files made of its songs"
            )
        at_mic = AtMicCatalogue(settings, audio_format=audio_format) if songs else None
        if at_mic and _was_made(at_mic, {at_mic.folder(sample) for sample in at_mic.samples}):
            if settings.excerpts_file.exists():
                found.append(ExcerptCatalogue.of_list(settings, at_mic.samples))
            found.append(at_mic)
        recorded = Manifest.beside(settings.output_remix_file, settings.root).file
        if settings.output_remix_file.exists() or recorded.exists() or _holds_targets(settings):
            found.append(TargetCatalogue(settings, audio_format=audio_format).as_recorded())
        if submission_manifest(settings).file.exists():
            found.append(SubmissionCatalogue(settings).as_recorded())
        if not found:
            raise CadrenderError(
                f"{settings.output_music_dir}: nothing of the {settings.split} split has been made here "
                f"(if it is elsewhere: {settings.how_to_say('output_music_dir')})"
            )
        return found

    def plan(self, *products: str, shard: str | None = None, **options: Any) -> Plan:
        """Find what is missing or out of date of some products; the result's ``run()`` makes it.

        Parameters
        ----------
        *products : str
            ``at-mic`` (the default), ``targets`` or ``submission``; with the first two, each sample's targets are
            made when it is complete.
        shard : str, optional
            Only a part of the work: ``I/N``.
        **options
            As for :meth:`catalogue`; with several products, those that all have.

        Raises
        ------
        UsageError
            If an option, metadata or an HRIR cannot be used.
        """
        catalogues: list[Catalogue] = []
        for product in products or ("at-mic",):
            after = {"after": catalogues[-1]} if product == "targets" and catalogues else {}
            catalogues.append(self.catalogue(product, **options, **after))
        return make_plan(*catalogues, shard=Shard.parse(shard) if shard else None)

    def verify(self, jobs: int = 1, **options: Any) -> Verdict:
        """Verify everything that was made: see :func:`cadrender.pipeline.verify.verify`."""
        return verify(self.made(), jobs, **options)

    # Signals

    def at_mic(self, sample: Sample | str, stem: str, subtype: str = "PCM_16") -> AtMic:
        """One stem of a sample as the microphones pick it up; nothing is written.

        Parameters
        ----------
        sample : Sample or str
            One of the root's ``samples``, or its name.
        stem : str
            ``mixture``, ``vocals``, ``drums``, ``bass`` or ``other``.
        subtype : {"PCM_16", "PCM_24", "FLOAT"}
            PCM_16 gives the challenge's samples; FLOAT is neither clipped nor truncated.

        Returns
        -------
        AtMic
            Its ``read(start, frames, dtype)`` gives any part.

        Raises
        ------
        AudioError
            If the song cannot be used.
        UsageError
            If there is no such sample, stem or subtype.
        """
        return _readable(self._at_mic, self._at_mic.output(self._sample(sample), stem), subtype)

    def target(
        self, scene: Scene | str, listener: Listener | str | None = None, subtype: str = "PCM_16"
    ) -> Target:
        """The rebalanced target of a scene, amplified if a listener is given; nothing is written.

        Parameters
        ----------
        scene : Scene or str
            One of the root's ``scenes``, or its id.
        listener : Listener or str, optional
            Any listener of the listeners file, or an id.
        subtype : {"PCM_16", "PCM_24", "FLOAT"}

        Raises
        ------
        AudioError
            If the song cannot be used, or has no stems.
        UsageError
            If there is no such scene, listener or subtype.
        """
        scene_id = scene.id if isinstance(scene, Scene) else scene
        record = self._targets.by_id.get(scene_id)
        if record is None:
            raise UsageError(f"{self.settings.scene_file}: no scene {scene_id!r}")
        if isinstance(listener, str):
            known = read_listeners(self.settings.listeners_file)
            if listener not in known:
                raise UsageError(f"{self.settings.listeners_file}: no listener {listener!r}")
            listener = known[listener]
        return _readable(self._targets, self._targets.output(record, listener), subtype)

    def signal(self, path: str) -> Signal:
        """The signal at a path of the at-mic music's or the targets' tree.

        Parameters
        ----------
        path : str
            Such as ``train/<sample>/vocals.wav`` or ``train/scene_10001.wav``.

        Raises
        ------
        UsageError
            If there is no such file.
        AudioError
            If its song cannot be used.
        """
        place = PurePosixPath(path)
        path = place.as_posix()
        catalogue = self._targets if place.stem in self._targets.by_id else self._at_mic
        return _readable(catalogue, catalogue.find(path))

    # Arrays

    def source(self, sample: Sample | str, stem: str) -> npt.NDArray[Any]:
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
        return read_stem(self.at_mic(sample, stem).source, self.settings.sample_rate)

    def render(self, sample: Sample | str, stem: str, dtype: str = "int16") -> npt.NDArray[Any]:
        """Render one at-mic stem into an array; nothing is written.

        Parameters
        ----------
        sample, stem
            As in :meth:`at_mic`.
        dtype : {"int16", "float64"}
            int16: the challenge's samples. float64: before clipping and truncation, full scale 1.

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
        pieces = list(self.blocks(sample, stem, dtype, keep=True))
        return np.concatenate(pieces)

    def render_sample(
        self, sample: Sample | str, stems: Sequence[str] = STEMS, dtype: str = "int16"
    ) -> dict[str, npt.NDArray[Any]]:
        """Render several stems of a sample with :meth:`render`, by name."""
        return {stem: self.render(sample, stem, dtype) for stem in stems}

    def blocks(
        self, sample: Sample | str, stem: str, dtype: str = "int16", *, keep: bool = False
    ) -> Iterator[npt.NDArray[Any]]:
        """Render one at-mic stem piece by piece, in little memory.

        Parameters
        ----------
        sample, stem, dtype
            As in :meth:`render`.
        keep : bool
            Whether pieces stay valid; default: each is valid until the next one is requested.

        Yields
        ------
        ndarray
            (n, 2), consecutive.
        """
        from cadrender.dsp.render import at_mic
        from cadrender.signals.at_mic import heads_of

        if dtype not in ("int16", "float64"):
            raise ValueError(f"dtype {dtype!r} is neither 'int16' nor 'float64'")
        signal = self.at_mic(sample, stem)
        pieces = at_mic(
            self.source(sample, stem), signal.samplerate, heads_of([signal]), pcm16=dtype == "int16"
        )[1]
        return (piece.copy() if keep else piece for _, piece, _ in pieces)

    def _sample(self, sample: Sample | str) -> Sample:
        name = sample.name if isinstance(sample, Sample) else sample
        if name not in self._at_mic.by_name:
            raise UsageError(f"{self.settings.scene_file}: no scene names a sample {name!r}")
        return self._at_mic.by_name[name]


S = TypeVar("S", bound=Signal)


def _readable(catalogue: Catalogue, output: Output[S], subtype: str | None = None) -> S:
    """An output's signal with the requested subtype, read from its file where that is current and quicker."""
    signal = output.signal
    if subtype not in (None, "PCM_16", "PCM_24", "FLOAT"):
        raise UsageError(f"unknown subtype {subtype!r}; known ones: PCM_16, PCM_24, FLOAT")
    if subtype not in (None, signal.subtype):
        return replace(signal, subtype=subtype)
    # Decoding FLAC takes longer than rendering, but not longer than mixing a whole target.
    quicker = output.container == "wav" or not isinstance(signal, AtMic)
    file = size_and_time(output.file)
    if not (quicker and file):
        return signal
    copy, check = Copy(output.file, file, signal.state()), Check(catalogue)
    current = check.record(output) and not check.reason(output)
    return replace(signal, copy=copy) if current else signal


def _was_made(catalogue: Catalogue, folders: Iterable[Path]) -> bool:
    """Whether a catalogue has a manifest, or files in its folders."""
    return catalogue.manifest.file.exists() or any(
        not file.name.startswith(".") for folder in folders if folder.is_dir() for file in folder.iterdir()
    )


def _holds_targets(settings: Settings) -> bool:
    """Whether a file has the name of a scene's target; it may be one whose manifest is lost."""
    if not (settings.gains_file.exists() and settings.scene_file.exists()):
        return False
    there = {file.stem for file in (settings.output_remix_dir / settings.split).glob("*.*")}
    return any(scene.id in there for scene in read_scenes(settings.scene_file))


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
        If a setting is wrong, or there is no such folder.
    """
    settings = load_settings(overrides, root=Path(root), split=split)
    if not settings.root.is_dir():
        raise UsageError(f"{settings.root}: no such folder: a root has audio/ and metadata/")
    return Root(settings)
