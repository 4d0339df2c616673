"""The rebalanced targets of a root: one per scene, one per listener of a scene, and submissions."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import CONTAINERS, Batch, Output
from cadrender.catalogue.remix_list import remix_json
from cadrender.catalogue.songs import check_hrirs, matches
from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.contract import check_name
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import Listener, read_listeners
from cadrender.metadata.samples import Sample, read_at_mic, sample_name
from cadrender.metadata.scenes import SceneRecord, read_scene_listeners, read_scenes
from cadrender.signals.at_mic import AtMic
from cadrender.signals.stored import Stored
from cadrender.signals.target import QUALITIES, Amplified, Submission, Target, target_frames
from cadrender.stems import MIXTURE, VDBO
from cadrender.store import AudioFormat, read_header
from cadrender.store.audio import check_stem_header
from cadrender.store.manifest import Contents, Manifest, key_of
from cadrender.wording import plural

# Most files a batch writes at the same time.
_MOST_FILES = 64

LISTENER_FORMAT = AudioFormat("wav", "FLOAT")
"""Default for amplified targets, which exceed full scale."""

SUBMISSION_RATE, SUBMISSION_FORMAT = 32_000, AudioFormat("flac", "PCM_16")
"""The format read by the challenge's evaluator."""


@dataclass(frozen=True)
class _Heard:
    """A sample that targets are mixed from.

    Attributes
    ----------
    song, path : str
        Name and folder of its track.
    sample : Sample, optional
        None without a music list, when only the at-mic music exists.
    """

    song: str
    path: str
    sample: Sample | None


class TargetCatalogue(Catalogue):
    """The rebalanced targets of a root's scenes.

    Parameters
    ----------
    settings : Settings
        Of the root.
    audio_format : AudioFormat, optional
        Of the targets; default: as recorded, else WAV, PCM_16.
    listener_format : AudioFormat, optional
        Of the targets amplified for listeners; default: as recorded, else WAV, FLOAT, since they exceed full scale.
    output_rate : int, optional
        Rate of both, in hertz; default: that of the at-mic files.
    listeners : bool
        Whether to amplify each scene's target for each of its listeners.
    resampler : str
        Soxr quality if the rate differs: ``HQ``, the challenge's, or ``VHQ``.
    scenes, songs : sequence of str
        Shell patterns of scene ids and of track names; default: all.
    after : AtMicCatalogue, optional
        At-mic files rendered by the same run.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract.
    UsageError
        If a pattern matches nothing, or a rate is not supported.
    """

    unit = "targets"
    made = "made"
    place = "output_remix_dir"
    follows = True

    def __init__(
        self,
        settings: Settings,
        *,
        audio_format: AudioFormat | None = None,
        listener_format: AudioFormat | None = None,
        output_rate: int | None = None,
        listeners: bool = False,
        resampler: str = QUALITIES[0],
        scenes: Sequence[str] = (),
        songs: Sequence[str] = (),
        after: AtMicCatalogue | None = None,
    ) -> None:
        self.settings = settings
        self.manifest = Manifest.beside(settings.output_remix_file, settings.root)
        self.list_file = settings.output_remix_file
        self.folders = (settings.output_remix_dir, settings.output_remix_listeners_dir)
        self.failures = {}
        self.scenes = read_scenes(settings.scene_file)
        self.output_rate = settings.sample_rate if output_rate is None else output_rate
        if not 4000 <= self.output_rate <= 384_000:
            raise UsageError(f"a sample rate of {self.output_rate} Hz: it must be from 4000 to 384000")
        if resampler not in QUALITIES:
            raise UsageError(f"unknown resampler quality {resampler!r}; known ones: {', '.join(QUALITIES)}")
        if listeners and settings.sample_rate < 12_000:
            raise UsageError(
                f"sample_rate={settings.sample_rate}: a prescription reaches to 6000 Hz and needs 12000"
            )
        self.selected = _select(self.scenes, scenes, songs)
        self.stemless: list[str] = []
        self.resampler = resampler
        self._given_format, self._listener_format = audio_format, listener_format
        self._after = after
        self._gains = _gains(settings, self.scenes)
        self._listeners = _hearing(settings, self.scenes) if listeners else {}

    @property
    def format(self) -> AudioFormat:
        """The format of unrecorded targets."""
        existing = self._existing_format
        return self._given_format.over(existing) if self._given_format else existing

    @functools.cached_property
    def _existing_format(self) -> AudioFormat:
        return self.usual_format(Target.product, AudioFormat())

    @functools.cached_property
    def _amplified_format(self) -> AudioFormat:
        return self._listener_format or self.usual_format(Amplified.product, LISTENER_FORMAT)

    @property
    def without_stems(self) -> int:
        """Number of songs with nothing to rebalance."""
        return len(self.stemless)

    @functools.cached_property
    def by_id(self) -> dict[str, SceneRecord]:
        """The scenes by id."""
        return {scene.id: scene for scene in self.scenes}

    @functools.cached_property
    def _at_mic(self) -> AtMicCatalogue | None:
        """The at-mic music of the same scenes; None without a music list."""
        settings = self.settings
        files = (*(settings.music_files or (settings.music_file,)), settings.excerpts_file)
        if not any(file.exists() for file in files) and settings.output_music_file.exists():
            return None  # only at-mic music, like the distributed validation set
        return self._after or AtMicCatalogue(settings)

    @functools.cached_property
    def _heard(self) -> dict[str, _Heard]:
        """All samples of the scenes by name."""
        settings = self.settings
        if self._at_mic:
            return {
                sample.name: _Heard(sample.track.name, sample.path, sample) for sample in self._at_mic.samples
            }
        listed = read_at_mic(settings.output_music_file)
        out = {}
        for scene in self.scenes:
            name = sample_name(scene.music, scene.position)
            if name not in listed:
                raise MetadataError(
                    f"{settings.scene_file}: scene {scene.id!r}: {name!r} is not in {settings.output_music_file}"
                )
            out[name] = _Heard(scene.music, listed[name].path, None)
        return out

    @functools.cached_property
    def _parts(self) -> dict[str, tuple[Stored, ...] | AudioError]:
        return {}

    def parts(self, name: str) -> tuple[Stored, ...]:
        """A sample's at-mic stems: vocals, drums, bass, other and the mixture; none if the song has no stems.

        Raises
        ------
        AudioError
            If they are missing and cannot be rendered.
        """
        if name not in self._parts:
            try:
                self._parts[name] = self._look_at(self._heard[name])
            except AudioError as error:
                self._parts[name] = error
        parts = self._parts[name]
        if isinstance(parts, AudioError):
            raise parts
        return parts

    def _look_at(self, heard: _Heard) -> tuple[Stored, ...]:
        if heard.sample is None or self._at_mic is None:
            return self._stored_parts(heard, "there is no music list")
        try:
            song = self._at_mic.song(heard.sample)
        except AudioError as error:
            if self._after:
                raise
            return self._stored_parts(heard, str(error))
        if len(song.files) == 1:
            return ()
        if lacking := [stem for stem in VDBO if stem not in song.files]:
            raise AudioError(f"{heard.song}: has no {', '.join(lacking)}: a target needs {', '.join(VDBO)}")
        return tuple(self._part(self._at_mic, heard.sample, stem) for stem in (*VDBO, MIXTURE))

    def _part(self, catalogue: AtMicCatalogue, sample: Sample, stem: str) -> Stored:
        output = catalogue.output(sample, stem)
        signal = output.signal
        at_mic = replace(signal, subtype="PCM_16")
        record = catalogue.records.get(output.key)
        # Beside a recorded file, one in another container is a leftover.
        files = (output.file,) if record or self._after else self._files(sample.path, stem)
        subtype = signal.subtype if self._after else ""
        doubtful = not (self._after or catalogue.knows(output))
        return Stored(stem, files, signal.frames, signal.samplerate, subtype, at_mic, doubtful, record)

    def _files(self, path: str, stem: str) -> tuple[Path, ...]:
        folder = self.settings.output_music_dir / path
        return tuple(folder / f"{stem}.{container}" for container in CONTAINERS)

    def _stored_parts(self, heard: _Heard, cause: str) -> tuple[Stored, ...]:
        """The stems of a sample of which only the at-mic files exist."""
        rate = self.settings.sample_rate
        frames = _stored_frames(self._files(heard.path, MIXTURE), rate, cause)
        parts = tuple(Stored(stem, self._files(heard.path, stem), frames, rate) for stem in (*VDBO, MIXTURE))
        for part in parts:
            found = part.find()
            if found is None:
                raise AudioError(
                    f"{part.files[0]}: not a stereo file of {frames} frames at {rate} Hz, "
                    f"and it cannot be rendered: {cause}"
                )
            record = self._recorded_at_mic.records.get(key_of(AtMic.product, f"{heard.path}/{found[0].name}"))
            if record and not self._recorded_at_mic.proves(record, found[0]):
                raise AudioError(
                    f"{found[0]}: not what was rendered, and it cannot be rendered again: {cause}"
                )
        return parts

    @functools.cached_property
    def _recorded_at_mic(self) -> Contents:
        return Manifest.beside(self.settings.output_music_file, self.settings.root).load()

    def output(self, scene: SceneRecord, listener: Listener | None = None) -> Output[Target]:
        """The target of a scene, plain or amplified for a listener.

        Raises
        ------
        AudioError
            If its at-mic stems are missing and cannot be rendered, or its song has no stems.
        MetadataError
            If its file name would not be safe.
        """
        settings = self.settings
        if listener is None:
            place, usual = f"{settings.split}/{scene.id}", self._existing_format
            audio_format = self.format_of(Target.product, place, self._given_format, usual)
            return self._output(Target, settings.output_remix_dir, place, audio_format, scene)
        place, usual = f"{settings.split}/{scene.id}_{listener.id}", self._amplified_format
        audio_format = self.format_of(Amplified.product, place, self._listener_format, usual)
        folder = settings.output_remix_listeners_dir
        return self._output(Amplified, folder, place, audio_format, scene, heard_by=listener)

    def _output(
        self,
        product: type[Target],
        folder: Path,
        place: str,
        audio_format: AudioFormat,
        scene: SceneRecord,
        **extra: Any,
    ) -> Output[Target]:
        name = sample_name(scene.music, scene.position)
        parts = self.parts(name)
        if not parts:
            raise AudioError(f"{scene.music}: has no stems: there is nothing to rebalance")
        settings = self.settings
        path = f"{place}.{audio_format.container}"
        check_name(PurePosixPath(path).name, settings.scene_file, "target file")
        frames = target_frames(parts[0].frames, settings.sample_rate, self.output_rate, "heard_by" in extra)
        signal = product(
            scene.id,
            name,
            scene.gain,
            self._gains[scene.id],
            parts,
            frames,
            self.output_rate,
            audio_format.subtype,
            self._after is not None,
            self.resampler,
            **extra,
        )
        return Output(signal, folder, path, audio_format.container, path)

    def find(self, path: str) -> Output[Target]:
        """The output at a path of the targets' tree, such as ``train/scene_10001.wav``.

        Raises
        ------
        UsageError
            If no scene has such a file.
        AudioError
            If its song cannot be used.
        """
        place = PurePosixPath(path)
        scene = self.by_id.get(place.stem)
        if scene is None or place.parent.name != self.settings.split:
            raise UsageError(f"{path}: no scene of {self.settings.scene_file} asks for such a file")
        output = self.output(scene)
        if output.name != path:
            raise UsageError(f"{path}: its name would be {output.name}")
        return output

    def names(self, folder: str = "") -> list[str]:
        """The contents of a folder of the targets' tree, in order; amplified targets are not in it.

        The target of a scene whose song is unusable is listed; a song without stems has none.

        Raises
        ------
        UsageError
            If there is no such folder.
        """
        if not folder:
            return [f"{self.settings.split}/"]
        if folder != self.settings.split:
            raise UsageError(f"{folder}: no such folder")
        return [
            f"{scene.id}.{each.container}"
            for scene in self.scenes
            if self._has_stems(scene)
            for each in (
                self.format_of(
                    Target.product, f"{folder}/{scene.id}", self._given_format, self._existing_format
                ),
            )
        ]

    def _has_stems(self, scene: SceneRecord) -> bool:
        try:
            return bool(self.parts(sample_name(scene.music, scene.position)))
        except AudioError:
            return True

    def look_again(self, changed: bool = False) -> None:
        """Forget unusable at-mic stems; all of them if files have `changed`."""
        if self._at_mic:
            self._at_mic.look_again(changed)
        if changed:
            self._parts.clear()
        for name in [name for name, parts in self._parts.items() if isinstance(parts, AudioError)]:
            self._parts.pop(name, None)

    def batches(self) -> list[Batch]:
        """The selected targets, grouped by sample."""
        by_sample: dict[str, list[Output[Target]]] = {}
        places = set()
        unstored: list[Sample] = []
        for scene in self.selected:
            name = sample_name(scene.music, scene.position)
            try:
                parts = self.parts(name)
            except AudioError as error:
                # The at-mic catalogue reports its own failures; a damaged song is reported only once.
                told = {*self._after.failures.values()} if self._after else set()
                if str(error) not in (*told, *self.failures.values()):
                    self.failures[name] = str(error)
                continue
            if not parts:
                if scene.music not in self.stemless:
                    self.stemless.append(scene.music)
                continue
            sample = self._heard[name].sample
            if sample and not self._after and any(part.at_mic and part.find() is None for part in parts):
                unstored.append(sample)
            for output in self._wanted(scene):
                if output.file in places:
                    raise MetadataError(
                        f"{self.settings.scene_file}: two targets would be called {output.file.name!r}"
                    )
                places.add(output.file)
                by_sample.setdefault(name, []).append(output)
        check_hrirs(self.settings, unstored)
        wanted = {sample_name(scene.music, scene.position) for scene in self.selected}
        if wanted and not self._after and not by_sample and not self.failures:
            raise CadrenderError(
                f"{self.settings.scene_file}: none of the songs has stems: there is nothing to rebalance"
            )
        return [
            Batch(self._heard[name].song, tuple(outputs[first : first + _MOST_FILES]), self.manifest)
            for name, outputs in by_sample.items()
            for first in range(0, len(outputs), _MOST_FILES)
        ]

    def _wanted(self, scene: SceneRecord) -> list[Output[Target]]:
        """The outputs for a scene."""
        return [self.output(scene, listener) for listener in (None, *self._listeners.get(scene.id, ()))]

    def as_recorded(self) -> "TargetCatalogue":
        """The same targets at the recorded rate, with listeners if amplified targets are recorded."""
        records = self.records.values()
        rate = next((record.samplerate for record in records), None)
        settings = self.settings
        amplified = self._audio(settings.output_remix_listeners_dir / settings.split)
        listeners = any(record.product == Amplified.product for record in records) or (
            settings.scene_listeners_file.exists() and any(amplified)
        )
        return TargetCatalogue(
            settings, listeners=listeners, output_rate=rate, resampler=self._recorded_resampler()
        )

    def present(self) -> Iterator[Path]:
        """All audio files in the folders of the split."""
        for folder in self.folders:
            yield from self._audio(folder / self.settings.split)

    @staticmethod
    def _audio(folder: Path) -> Iterator[Path]:
        return (file for file in folder.rglob("*") if file.suffix[1:] in CONTAINERS)

    def _recorded_resampler(self) -> str:
        recorded = {record.parameters.get("resampler") for record in self.records.values()}
        return next((quality for quality in QUALITIES if quality in recorded), QUALITIES[0])

    def text(self, place: Path) -> str:
        """The list of existing targets."""
        return remix_json(self.settings, self.scenes, self.manifest.load(), self.format, self.settled)

    def describe(self) -> list[str]:
        """The number of scenes."""
        lines = [f"{plural(len(self.scenes), 'scene')} in {self.settings.scene_file}"]
        if len(self.selected) < len(self.scenes):
            lines.append(f"{plural(len(self.selected), 'scene')} selected")
        if self.stemless:
            shown = ", ".join(self.stemless[:3]) + (", ..." if len(self.stemless) > 3 else "")
            songs = plural(len(self.stemless), "song")
            lines.append(f"no stems, so there is nothing to rebalance: {songs} ({shown})")
        return lines


class SubmissionCatalogue(TargetCatalogue):
    """What the challenge's evaluator reads: a FLAC file per scene and listener, and a text file with its factor.

    They are in ``<output_submission_dir>/<split>/enhanced_signals``; the evaluator's ``path.exp_folder`` is the parent
    folder, and their manifest is next to that.

    Parameters
    ----------
    settings : Settings
        Of the root.
    resampler : str
        Soxr quality: ``HQ``, the challenge's, or ``VHQ``.
    scenes, songs : sequence of str
        Shell patterns of scene ids and of track names; default: all.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract.
    UsageError
        If a pattern matches nothing.
    """

    unit = "submissions"
    place = "output_submission_dir"

    @property
    def lists(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def __init__(
        self,
        settings: Settings,
        *,
        resampler: str = QUALITIES[0],
        scenes: Sequence[str] = (),
        songs: Sequence[str] = (),
    ) -> None:
        super().__init__(
            settings,
            output_rate=SUBMISSION_RATE,
            listeners=True,
            resampler=resampler,
            scenes=scenes,
            songs=songs,
        )
        self.folders = (settings.output_submission_dir,)
        self.manifest = submission_manifest(settings)

    def output(self, scene: SceneRecord, listener: Listener | None = None) -> Output[Target]:
        """The submission for a scene and a listener.

        Raises
        ------
        AudioError
            If its at-mic stems are missing and cannot be rendered, or its song has no stems.
        MetadataError
            If its file name would not be safe.
        UsageError
            If no listener is given.
        """
        if listener is None:
            raise UsageError(f"{scene.id}: a submission is for a listener")
        settings = self.settings
        place = f"{settings.split}/enhanced_signals/{scene.id}_{listener.id}_remix"
        folder = settings.output_submission_dir
        return self._output(Submission, folder, place, SUBMISSION_FORMAT, scene, heard_by=listener)

    def _wanted(self, scene: SceneRecord) -> list[Output[Target]]:
        return [self.output(scene, listener) for listener in self._listeners[scene.id]]

    def as_recorded(self) -> "SubmissionCatalogue":
        """The same, resampled as recorded."""
        return SubmissionCatalogue(self.settings, resampler=self._recorded_resampler())


def submission_manifest(settings: Settings) -> Manifest:
    """The manifest of a split's submission."""
    return Manifest.beside(settings.output_submission_dir / f"{settings.split}.json", settings.root)


def _select(records: Sequence[SceneRecord], scenes: Sequence[str], songs: Sequence[str]) -> list[SceneRecord]:
    """The scenes that match the patterns."""
    for option, patterns, names in (
        ("--scenes", scenes, [record.id for record in records]),
        ("--songs", songs, [record.music for record in records]),
    ):
        for pattern in patterns:
            if not any(matches(name, [pattern]) for name in names):
                what = "scene" if option == "--scenes" else "song of the scenes"
                raise UsageError(f"{option} {pattern!r}: no {what} has such a name")
    return [r for r in records if matches(r.id, scenes) and matches(r.music, songs)]


def _gains(settings: Settings, records: Iterable[SceneRecord]) -> dict[str, tuple[float, ...]]:
    """Gains in dB of vocals, drums, bass and other, by scene."""
    known = read_gains(settings.gains_file)
    out = {}
    for record in records:
        if record.gain not in known:
            raise MetadataError(
                f"{settings.scene_file}: scene {record.id!r}: the gain {record.gain!r} is not in "
                f"{settings.gains_file}"
            )
        gain = known[record.gain]
        if set(gain) != set(VDBO):
            raise MetadataError(
                f"{settings.gains_file}: gain {record.gain!r} is of {', '.join(gain) or 'nothing'}; "
                f"needed are {', '.join(VDBO)}"
            )
        out[record.id] = tuple(gain[stem] for stem in VDBO)
    return out


def _hearing(settings: Settings, records: Iterable[SceneRecord]) -> dict[str, list[Listener]]:
    """The listeners of each scene."""
    known = read_listeners(settings.listeners_file)
    draws = f"cadrender scenes --listeners-only --root {settings.root} --split {settings.split}"
    if not settings.scene_listeners_file.exists():
        raise MetadataError(f"{settings.scene_listeners_file}: no such file ({draws} draws it)")
    pairs = read_scene_listeners(settings.scene_listeners_file)
    for record in records:
        if record.id not in pairs:
            raise MetadataError(
                f"{settings.scene_listeners_file}: no listeners for scene {record.id!r} ({draws} draws them anew)"
            )
        for listener in pairs[record.id]:
            if listener not in known:
                raise MetadataError(
                    f"{settings.scene_listeners_file}: scene {record.id!r}: the listener {listener!r} is not "
                    f"in {settings.listeners_file}"
                )
    return {record.id: [known[listener] for listener in pairs[record.id]] for record in records}


def _stored_frames(files: Sequence[Path], samplerate: int, cause: str) -> int:
    """Length of an at-mic mixture."""
    for file in files:
        try:
            header = read_header(file)
        except AudioError:
            if file.exists():
                raise
        else:
            check_stem_header(file, header, samplerate)
            return header.frames
    raise AudioError(f"{files[0]}: no such file, and it cannot be rendered: {cause}")
