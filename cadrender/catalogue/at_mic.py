"""The at-mic music of a root: five stems of every sample in its scenes."""

import contextlib
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import Batch, Output
from cadrender.catalogue.songs import Song, check_hrirs, select_songs, song_of
from cadrender.config import Settings
from cadrender.errors import AudioError, UsageError
from cadrender.metadata.excerpts import read_samples
from cadrender.metadata.music import read_track_lists
from cadrender.metadata.positions import read_positions
from cadrender.metadata.samples import Sample, at_mic_json, sample_name
from cadrender.signals.at_mic import AtMic
from cadrender.signals.excerpt import ExcerptStem
from cadrender.stems import MIXTURE, STEMS
from cadrender.store import AudioFormat
from cadrender.store.digest import digest_of
from cadrender.store.levels import LevelFiles
from cadrender.store.manifest import Contents, Manifest, Record, key_of
from cadrender.store.names import check_distinct
from cadrender.wording import plural

# Head positions at which a stem is measured when one is requested: eight take twice as long as one.
_TOGETHER = 8


class AtMicCatalogue(Catalogue):
    """The at-mic music of a root's scenes.

    Parameters
    ----------
    settings : Settings
        Of the root.
    audio_format : AudioFormat, optional
        Format of the files; default: as recorded, else WAV, PCM_16.
    songs : sequence of str
        Shell patterns of track names; default: all.
    stems : sequence of str
        Which of the five stems; default: all.
    heads : {"scenes", "all"}
        Whether the samples are those of the scenes, or every song at every head position of the root.
    only : collection of str, optional
        Track names whose files and failures are considered; default: all.

    Attributes
    ----------
    samples : list of Sample
        In order of first appearance in the scenes.
    selected : set of str
        Track names that match the patterns.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract.
    UsageError
        If a pattern matches no song.
    """

    unit = "samples"
    made = "rendered"
    place = "output_music_dir"

    def __init__(
        self,
        settings: Settings,
        *,
        audio_format: AudioFormat | None = None,
        songs: Sequence[str] = (),
        stems: Sequence[str] = STEMS,
        heads: str = "scenes",
        only: Collection[str] | None = None,
    ) -> None:
        self.settings = settings
        self.manifest = Manifest.beside(settings.output_music_file, settings.root)
        self.list_file = settings.output_music_file
        self.folders = (settings.output_music_dir,)
        self.failures = {}
        self.samples = every_sample(settings) if heads == "all" else read_samples_of(settings)
        self.selected = select_songs({sample.track.name for sample in self.samples}, songs)
        if only is not None:
            self.selected &= set(only)
        self._given_format = audio_format
        self._stems = tuple(stems)
        self._songs: dict[str, Song | AudioError] = {}
        self._corpora: dict[str, Contents] = {}
        self._hrirs: dict[str, tuple[Path, Path]] = {}

    @functools.cached_property
    def by_name(self) -> dict[str, Sample]:
        """The samples by name."""
        return {sample.name: sample for sample in self.samples}

    @property
    def format(self) -> AudioFormat:
        """The format of unrecorded files."""
        existing = self._existing_format
        return self._given_format.over(existing) if self._given_format else existing

    @functools.cached_property
    def _existing_format(self) -> AudioFormat:
        places = ((self.folder(sample), stem) for sample in self.samples for stem in (MIXTURE, "other"))
        return self.usual_format(AtMic.product, AudioFormat(), places)

    @functools.cached_property
    def level_files(self) -> LevelFiles:
        """Where the levels of the stems are kept."""
        settings = self.settings
        return LevelFiles(settings.metadata_dir, settings.root, (self.manifest.file,))

    def folder(self, sample: Sample) -> Path:
        """The folder of a sample's files."""
        return self.settings.output_music_dir / sample.path

    def song(self, sample: Sample) -> Song:
        """The files that a sample is rendered from; each song is checked once.

        Raises
        ------
        AudioError
            If they cannot be used.
        """
        if sample.source not in self._songs:
            try:
                self._songs[sample.source] = self._look_at(sample)
            except AudioError as error:
                self._songs[sample.source] = error
        song = self._songs[sample.source]
        if isinstance(song, AudioError):
            raise song
        return song

    def look_again(self, changed: bool = False) -> None:
        """Forget unusable songs, since another process may have made them; all songs if `changed`."""
        kept = {} if changed else self._songs
        self._corpora = {}
        self._songs = {name: song for name, song in kept.items() if isinstance(song, Song)}
        self._hrirs = {}

    def _look_at(self, sample: Sample) -> Song:
        song = song_of(self.settings, sample)
        if sample.frames:
            recut = "cadrender excerpts cuts it anew"
            if sample.frames != song.frames:
                raise AudioError(
                    f"{song.files[MIXTURE]}: {song.frames} frames; the excerpt has {sample.frames}: {recut}"
                )
            for stem, file in song.files.items():
                record = self._cuts.records.get(key_of(ExcerptStem.product, f"{sample.path}/{stem}.wav"))
                doubtful = self._cuts.doubts_unrecorded(file.parent) if record is None else False
                if doubtful or (record and not self._cuts.proves(record, file)):
                    raise AudioError(f"{file}: not known to be what was cut from the song: {recut}")
                start = record.parameters.get("start") if record else None
                if start not in (None, sample.start):
                    raise AudioError(
                        f"{file}: cut from frame {start}; the excerpt begins at {sample.start}: {recut}"
                    )
        else:
            for file, made in self._made_files(sample, song):
                if not _is_as_made(file, made, self._ingested(sample.track.split)):
                    raise AudioError(
                        f"{file}: not what was written when the song was ingested: run cadrender ingest again"
                    )
        return song

    @functools.cached_property
    def _cuts(self) -> Contents:
        """The manifest of the excerpts' stems."""
        return Manifest.beside(self.settings.excerpts_file, self.settings.root).load()

    def _ingested(self, corpus: str) -> Contents:
        """The manifest of a corpus's songs; of the official ones there is none."""
        known = self._corpora.get(corpus)
        if known is None:
            list_file = self.settings.metadata_dir / f"{corpus}.json"
            known = self._corpora[corpus] = Manifest.beside(list_file, self.settings.root).load()
        return known

    def _made_files(self, sample: Sample, song: Song) -> Iterator[tuple[Path, Record]]:
        """The files of a song that were recorded when it was ingested."""
        records = self._ingested(sample.track.split).records
        for stem, file in song.files.items():
            if record := records.get(key_of("song", f"{sample.track.path}/{stem}.wav")):
                yield file, record

    def made_sources(self) -> dict[Path, Record]:
        """The ingested songs' files."""
        return {
            file: record
            for sample in {sample.source: sample for sample in self.samples if not sample.frames}.values()
            if sample.source in self.songs
            for file, record in self._made_files(sample, self.songs[sample.source])
        }

    @functools.cached_property
    def songs(self) -> dict[str, Song]:
        """All usable songs and excerpts by name; the others go to :attr:`failures` if they are selected."""
        found = {}
        for sample in {sample.source: sample for sample in self.samples}.values():
            try:
                found[sample.source] = self.song(sample)
            except AudioError as error:
                if sample.track.name in self.selected:
                    self.failures[sample.source] = str(error)
        return found

    def output(self, sample: Sample, stem: str) -> Output[AtMic]:
        """One stem of a sample.

        Raises
        ------
        AudioError
            If the song cannot be used, or has no such stem.
        UsageError
            If `stem` is not one of the five.
        """
        if stem not in STEMS:
            raise UsageError(f"unknown stem {stem!r}; known ones: {', '.join(STEMS)}")
        song = self.song(sample)
        if stem not in song.files:
            raise AudioError(f"{song.name}: has no {stem}, only {', '.join(song.files)}")
        return self._output(sample, stem, song)

    def _output(self, sample: Sample, stem: str, song: Song) -> Output[AtMic]:
        settings = self.settings
        name = f"{sample.path}/{stem}"
        made = stem in self._stems and sample.track.name in self.selected  # others count as they are
        asked = self._given_format if made else None
        audio_format = self.format_of(AtMic.product, name, asked, self._existing_format)
        left, right = self._hrir_files(sample)
        signal = AtMic(
            stem,
            song.files[stem],
            left,
            right,
            song.frames,
            settings.sample_rate,
            audio_format.subtype,
            self.level_files,
            self._measured_together.get(sample.name, ()),  # of others than the samples too: see Dataset
        )
        name = f"{name}.{audio_format.container}"
        return Output(signal, settings.output_music_dir, name, audio_format.container, sample.name)

    def _hrir_files(self, sample: Sample) -> tuple[Path, Path]:
        found = self._hrirs.get(sample.position.id)
        if found is None:
            found = self._hrirs[sample.position.id] = sample.position.hrir_files(self.settings.hrtf_dir)
        return found

    @functools.cached_property
    def _measured_together(self) -> dict[str, tuple[tuple[Path, Path], ...]]:
        """The HRIRs a song is measured with at once, by sample name."""
        by_song: dict[str, list[Sample]] = {}
        for sample in self.samples:
            by_song.setdefault(sample.source, []).append(sample)
        together: dict[str, tuple[tuple[Path, Path], ...]] = {}
        for samples in by_song.values():
            for first in range(0, len(samples), _TOGETHER):
                some = samples[first : first + _TOGETHER]
                hrirs = tuple(map(self._hrir_files, some))
                together.update((sample.name, hrirs) for sample in some)
        return together

    def find(self, path: str) -> Output[AtMic]:
        """The output at a path of the tree, such as ``train/<sample>/vocals.wav``.

        Raises
        ------
        UsageError
            If no sample has such a file.
        AudioError
            If the song cannot be used.
        """
        folder, _, file = path.rpartition("/")
        stem, _, container = file.rpartition(".")
        sample = self.by_name.get(folder.rpartition("/")[2])
        if sample is None or folder != sample.path or stem not in STEMS:
            raise UsageError(f"{path}: no scene of {self.settings.scene_file} asks for such a file")
        output = self.output(sample, stem)
        if container != output.container:
            raise UsageError(f"{path}: its name would be {output.name}")
        return output

    def names(self, folder: str = "") -> list[str]:
        """The contents of a folder of the tree, in order; names of folders end with ``/``.

        A sample whose song cannot be used is listed with all five stems.

        Raises
        ------
        UsageError
            If there is no such folder.
        """
        if not folder:
            return [f"{split}/" for split in self._by_split]
        if folder in self._by_split:
            return self._by_split[folder]
        sample = self.by_name.get(folder.rpartition("/")[2])
        if sample is None or folder != sample.path:
            raise UsageError(f"{folder}: no such folder")
        stems: tuple[str, ...] = STEMS
        with contextlib.suppress(AudioError):
            stems = tuple(self.song(sample).files)
        formats = {
            stem: self.format_of(
                AtMic.product, f"{sample.path}/{stem}", self._given_format, self._existing_format
            )
            for stem in stems
        }
        return [f"{stem}.{each.container}" for stem, each in formats.items()]

    @functools.cached_property
    def _by_split(self) -> dict[str, list[str]]:
        splits: dict[str, list[str]] = {}
        for sample in self.samples:
            splits.setdefault(sample.split, []).append(f"{sample.name}/")
        return splits

    def batches(self) -> list[Batch]:
        """One batch per stem and selected song, for all its heads."""
        check_hrirs(self.settings, self.samples)
        check_distinct(map(self.folder, self.samples))
        by_song: dict[str, list[Sample]] = {}
        for sample in self.samples:
            if sample.track.name in self.selected and sample.source in self.songs:
                by_song.setdefault(sample.source, []).append(sample)
        batches = []
        for name, samples in by_song.items():
            song = self.songs[name]
            for stem in (stem for stem in song.files if stem in self._stems):
                outputs = [self._output(sample, stem, song) for sample in samples]
                # A root may hold several subtypes, a batch only one.
                for subtype in dict.fromkeys(output.signal.subtype for output in outputs):
                    alike = tuple(output for output in outputs if output.signal.subtype == subtype)
                    batches.append(Batch(samples[0].track.name, alike, self.manifest))
        return batches

    def complete_samples(self) -> list[Sample]:
        """The samples that are complete on disk, in order, selected or not."""
        return [sample for sample in self.samples if not self.missing(sample)]

    def missing(self, sample: Sample) -> list[str]:
        """The stems of a sample that are not complete on disk."""
        try:
            song = self.song(sample)
        except AudioError:
            return list(STEMS)
        return [stem for stem in song.files if not self.is_whole(self._output(sample, stem, song))]

    def orphans(self) -> list[tuple[Path, tuple[str, str]]]:
        """The recorded at-mic files of songs that are no longer usable."""
        found = []
        for sample in self.samples:
            if sample.source not in self.failures:
                continue
            for stem in STEMS:
                key = key_of(AtMic.product, f"{sample.path}/{stem}.wav")
                if record := self.records.get(key):
                    found.append((self.settings.output_music_dir / record.path, key))
        return found

    def present(self) -> Iterator[Path]:
        """All files in the folders of the scenes' splits."""
        for split in {self.settings.output_music_dir / sample.split for sample in self.samples}:
            yield from (file for file in split.rglob("*") if file.is_file())

    def text(self, place: Path) -> str:
        """The list of complete samples."""
        return at_mic_json(self.complete_samples())

    def incomplete(self, lacking: Mapping[str, int]) -> int:
        """Count the selected samples that are not whole, even if only an unrequested stem is missing."""
        some = len(self._stems) < len(STEMS)
        return sum(
            sample.source in self.failures
            or lacking.get(sample.name, 0) > 0
            or (some and bool(self.missing(sample)))
            for sample in self.samples
            if sample.track.name in self.selected
        )

    @property
    def all_complete(self) -> bool:
        """Whether every sample of the scenes is complete."""
        self.look_again()
        return len(self.complete_samples()) == len(self.samples)

    def describe(self) -> list[str]:
        """The numbers of samples and songs."""
        songs = len({sample.track.name for sample in self.samples})
        samples = plural(len(self.samples), "sample")
        lines = [f"{samples} of {plural(songs, 'song')} in {self.settings.scene_file}"]
        if len(self.selected) < songs:
            lines.append(f"{plural(len(self.selected), 'song')} selected")
        sources = {sample.source for sample in self.samples if sample.track.name in self.selected}
        mixtures = sum(len(self.songs[name].files) == 1 for name in sources if name in self.songs)
        if mixtures:
            have, its = ("has", "its") if mixtures == 1 else ("have", "their")
            lines.append(f"{plural(mixtures, 'song')} {have} no stems: {its} mixture alone is rendered")
        return lines


def _is_as_made(file: Path, made: Record, recorded: Contents) -> bool:
    """Whether an ingested song's file is the recorded one, or was edited since."""
    with contextlib.suppress(OSError):  # reported when it is read
        age = made.mtime_ns - file.stat().st_mtime_ns
        if age > 0:  # the recorded one was perhaps to replace it
            return digest_of(file) == made.digest
        return age < 0 or recorded.proves(made, file)
    return True


def every_sample(settings: Settings) -> list[Sample]:
    """Every song of a root at every head position, song by song.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract.
    """
    positions = read_positions(settings.head_loudspeaker_positions_file).values()
    return [
        Sample(name, track.split, f"{track.split}/{name}", track, position)
        for track in read_track_lists(settings.music_files or (settings.music_file,))
        for position in positions
        for name in (sample_name(track.name, position.id),)
    ]


def read_samples_of(settings: Settings) -> list[Sample]:
    """The samples of a root's scenes, each once.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract.
    """
    return read_samples(
        settings.scene_file,
        settings.music_files or (settings.music_file,),
        settings.head_loudspeaker_positions_file,
        settings.excerpts_file,
    )
