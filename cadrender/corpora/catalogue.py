"""The songs of a corpus in a root: their outputs, and the lists of complete songs."""

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import Batch, Output
from cadrender.config import Settings, ingested_lists, load_settings
from cadrender.corpora.decode import SAMPLERATE
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.corpora.song import SongStem
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.metadata.contract import check_name, read_json
from cadrender.metadata.music import Track, read_tracks, tracks_json
from cadrender.pipeline.plan import Check
from cadrender.stems import MIXTURE, STEMS
from cadrender.store import AudioFormat, is_complete, read_header
from cadrender.store.manifest import Contents, Manifest, Record, key_of
from cadrender.wording import plural

# A corpus of this name would write among the official songs.
RESERVED = ("train", "valid", "test")

# A file left in a song's folder by unreleased versions.
_FORMER_RECORD = ".ingest.json"

# Approximate bytes per frame of a file; all other formats: 16 bits in two channels.
_BYTES_PER_FRAME = {".flac": 2.5} | dict.fromkeys((".mp3", ".mp2", ".ogg", ".oga", ".opus"), 0.7)

# Beyond this, songs with the same reason are only counted.
_UNCOUNTED = 3


class SongCatalogue(Catalogue):
    """The songs of a corpus as songs of a root.

    Song `s` of corpus `c` goes to ``audio/music/c/s/``. ``metadata/c.json`` lists the complete songs of `c`, including
    those of earlier runs; ``metadata/c.ingest.json`` lists what was left out, and remarks on the others.

    Parameters
    ----------
    corpus : Corpus
        From the ``scan`` function of a corpus.
    root : pathlib.Path
        It need not exist.
    samplerate : int, optional
        Rate of the songs in the root, in hertz; default: `root_samplerate`.

    Attributes
    ----------
    corpus : Corpus
    samplerate : int
    report_file : pathlib.Path
        The list of what was left out, and remarks on the others.

    Raises
    ------
    UsageError
        If the corpus's name is not allowed, its files would be outside the root or among their own sources, or another
        list of the root has a song of the same name.
    """

    unit = "songs"
    made = "converted"

    def __init__(self, corpus: Corpus, root: Path, samplerate: int | None = None):
        self.corpus = corpus
        self.settings = load_settings(root=root)
        self.list_file, self.report_file = _lists(corpus.name, self.settings)
        self.samplerate = samplerate or root_samplerate(self.settings)
        self.manifest = Manifest.beside(self.list_file, corpus.folder.absolute())
        self.folders = (self.settings.music_dir / corpus.name,)
        _check_places(corpus, self.settings)
        _check_songs(corpus, self.settings)
        self.failures = {
            song.name: f"{folder}: is a symbolic link; expected a folder"
            for song in corpus.tracks
            if (folder := self.folders[0] / song.name).is_symlink()
        }

    def batches(self) -> list[Batch]:
        """One batch per song, as all its stems are scaled by the same factor."""
        songs = (song for song in self.corpus.tracks if song.name not in self.failures)
        return [self._batch(song) for song in songs]

    def _batch(self, song: SourceTrack) -> Batch:
        outputs = self._by_song[song.name]
        folder = outputs[0].file.parent
        stems = [f"{stem}.wav" for stem in STEMS if stem not in song.sources]
        obsolete = tuple((outputs[0].file, folder / name) for name in (*stems, _FORMER_RECORD))
        return Batch(song.name, outputs, self.manifest, obsolete=obsolete, together=True)

    @functools.cached_property
    def _by_song(self) -> dict[str, tuple[Output, ...]]:
        """The outputs of each song, the mixture first."""
        return {song.name: tuple(self._outputs(song)) for song in self.corpus.tracks}

    def _outputs(self, song: SourceTrack) -> Iterator[Output]:
        sources = tuple(
            (stem, tuple(path.absolute() for path in song.sources[stem]))
            for stem in STEMS
            if stem in song.sources
        )
        cost = max(map(_about_frames, song.sources[MIXTURE]), default=0)
        for stem, _ in sources:
            signal = SongStem(stem, sources, self.samplerate, self.corpus.minimum_seconds, cost)
            name = f"{self.corpus.name}/{song.name}/{stem}.wav"
            yield Output(signal, self.settings.music_dir, name, "wav", song.name)

    @property
    def lists(self) -> tuple[Path, ...]:
        """The music list, and the list of what was left out."""
        return self.list_file, self.report_file

    def text(self, place: Path) -> str:
        """The current contents of a list."""
        recorded = self.manifest.load()
        complete = self._complete(recorded)
        left_out = self._left_out(complete)
        others = _complete_songs(recorded, self.settings.music_dir)
        others -= self._by_song.keys() | {song.name for song in left_out}
        if place == self.list_file:
            return self._list_json(complete, others)
        return self._report_json(complete, others, left_out, recorded.records)

    def _complete(self, recorded: Contents) -> list[SourceTrack]:
        """The corpus's songs that are complete and current."""
        check = Check(self, recorded)
        return [
            song
            for song in self.corpus.tracks
            if song.name not in self.broken
            and song.name not in self.failures
            and all(check.reason(output) is None for output in self._by_song[song.name])
        ]

    def _left_out(self, complete: Iterable[SourceTrack]) -> list[LeftOut]:
        """:attr:`left_out`, and what other processes could not make, in the corpus's order."""
        earlier, _ = _read_report(self.report_file)
        gone = {song.name: song for song in earlier} | {song.name: song for song in self.left_out}
        for song in complete:
            gone.pop(song.name, None)
        return [*self.corpus.left_out, *(gone[song.name] for song in self.corpus.tracks if song.name in gone)]

    @property
    def left_out(self) -> list[LeftOut]:
        """The songs that this run did not convert: left out from the start, damaged, or too short."""
        gone = {name: LeftOut(name, line, expected=False) for name, line in self.failures.items()}
        gone |= {name: LeftOut(name, line, self.corpus.forgiving) for name, line in self.broken.items()}
        return [*self.corpus.left_out, *(gone[song.name] for song in self.corpus.tracks if song.name in gone)]

    @property
    def listed(self) -> list[str]:
        """The songs currently in the music list."""
        return [track.name for track in read_tracks(self.list_file)] if self.list_file.exists() else []

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Remarks on the complete songs: name and line."""
        recorded = self.manifest.load()
        songs = self._complete(recorded)
        return [(song.name, note) for song in songs for note in self._notes(song, recorded.records)]

    def _notes(self, song: SourceTrack, records: Mapping[tuple[str, str], Record]) -> tuple[str, ...]:
        return *song.notes, *records[self._by_song[song.name][0].key].notes

    def _list_json(self, complete: Sequence[SourceTrack], others: Set[str]) -> str:
        tracks: dict[str, Track] = {}
        if self.list_file.exists():
            tracks = {track.name: track for track in read_tracks(self.list_file) if track.name in others}
        name = self.corpus.name
        for song in complete:
            path = f"{name}/{song.name}"
            tracks[song.name] = Track(song.name, song.genre, song.source, song.license, name, path)
        return tracks_json(tracks[song] for song in sorted(tracks))

    def _report_json(
        self,
        complete: Sequence[SourceTrack],
        others: Set[str],
        left_out: Sequence[LeftOut],
        records: Mapping[tuple[str, str], Record],
    ) -> str:
        _, earlier = _read_report(self.report_file)
        notes = {name: lines for name, lines in earlier.items() if name in others}
        notes |= {song.name: list(lines) for song in complete if (lines := self._notes(song, records))}
        report = {
            "Corpus": self.corpus.name,
            "Notes": list(self.corpus.notes),
            "Left Out": [
                {"Track Name": song.name, "Reason": song.reason, "Expected": song.expected}
                for song in left_out
            ],
            "Songs With Notes": [{"Track Name": name, "Notes": notes[name]} for name in sorted(notes)],
        }
        return json.dumps(report, indent=4)

    def describe(self) -> list[str]:
        """The corpus's songs, remarks on it, and what is left out."""
        corpus = self.corpus
        lines = [f"{corpus.name}: {plural(len(corpus.tracks), 'song')} in {corpus.folder}", *corpus.notes]
        if self.samplerate != self.settings.sample_rate:
            rate = self.samplerate
            lines.append(f"songs are written at {rate} Hz: other commands need sample_rate={rate}")
        return lines + by_reason((song.name, f"left out: {song.reason}") for song in corpus.left_out)


def by_reason(songs: Iterable[tuple[str, str]]) -> list[str]:
    """Remarks on songs, grouped: one line per remark with all its songs.

    Parameters
    ----------
    songs : iterable of (str, str)
        Names and remarks.
    """
    names: dict[str, list[str]] = {}
    for name, reason in songs:
        names.setdefault(reason, []).append(name)
    return [
        f"{f'{len(alike)} songs: ' if len(alike) > _UNCOUNTED else ''}{', '.join(alike)}: {reason}"
        for reason, alike in names.items()
    ]


def root_samplerate(settings: Settings) -> int:
    """The rate of a root's HRIRs in hertz; 44 100 if there are none, or if they differ."""
    rates: set[int] = set()
    for file in sorted(settings.hrtf_dir.glob("[!.]*.wav")):
        with contextlib.suppress(AudioError):
            rates.add(read_header(file).samplerate)
    return rates.pop() if len(rates) == 1 else SAMPLERATE


def _lists(name: str, settings: Settings) -> tuple[Path, Path]:
    """A corpus's music list and report; raises UsageError if its name is not allowed."""
    check_name(name, settings.root, "the corpus's name")
    if name in RESERVED:
        raise UsageError(f"'{name}' is a split of the official songs; expected another name for the corpus")
    return settings.metadata_dir / f"{name}.json", settings.metadata_dir / f"{name}.ingest.json"


def check_inside(place: Path, root: Path) -> None:
    """Raise UsageError if a symbolic link leads from a place in a root out of it."""
    if place.is_relative_to(root) and not place.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{place}: is a link that leads out of {root}; expected a folder inside it")


def _check_places(corpus: Corpus, settings: Settings) -> None:
    """Check that all places are safe to write to."""
    music = settings.music_dir / corpus.name
    for place in (music, settings.metadata_dir):
        check_inside(place, settings.root)
    if corpus.folder.resolve().is_relative_to(music.resolve()):
        raise UsageError(
            f"{corpus.folder}: is where the songs of '{corpus.name}' go; expected another folder"
        )
    list_file, _ = _lists(corpus.name, settings)
    if list_file.exists() and not all(track.split == corpus.name for track in read_tracks(list_file)):
        raise UsageError(
            f"{list_file}: not the list of the corpus '{corpus.name}'; expected another name for the corpus"
        )


def _check_songs(corpus: Corpus, settings: Settings) -> None:
    """Reject songs that another list of the root has: a scene naming one would be ambiguous."""
    own = settings.metadata_dir / f"{corpus.name}.json"
    official = settings.metadata_dir / "musdb18.train.json"
    for file in (official, *ingested_lists(settings.metadata_dir)):
        if file == own or not file.exists():
            continue
        names = {track.name for track in read_tracks(file)}
        if twice := [song.name for song in corpus.tracks if song.name in names]:
            others = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
            remove = f", or `cadrender ingest --remove {file.stem} --root {settings.root}`"
            raise UsageError(
                f"{corpus.folder}: the song {twice[0]!r}{others} is already in {file}, and the names of a root's songs "
                f"must be unique: rename it here{'' if file == official else remove}"
            )


def _about_frames(file: Path) -> int:
    """Approximate number of frames in a file."""
    try:
        return int(file.stat().st_size / _BYTES_PER_FRAME.get(file.suffix.lower(), 4))
    except OSError:
        return 0


def _complete_songs(recorded: Contents, music: Path) -> set[str]:
    """The recorded songs whose files match their records."""
    songs: set[str] = set()
    for record in recorded.records.values():
        folder, _, file = record.path.rpartition("/")
        if file != f"{MIXTURE}.wav":
            continue
        stems = record.parameters.get("stems", ())
        parts = [recorded.records.get(key_of(record.product, f"{folder}/{stem}.wav")) for stem in stems]
        if parts and all(part and _is_as_recorded(part, recorded, music) for part in parts):
            songs.add(folder.rpartition("/")[2])
    return songs


def _is_as_recorded(record: Record, recorded: Contents, music: Path) -> bool:
    kind = AudioFormat(record.container, record.subtype)
    file = music / record.path
    return is_complete(file, record.frames, record.samplerate, kind) and recorded.proves(record, file)


def _read_report(report: Path) -> tuple[list[LeftOut], dict[str, list[str]]]:
    """What an earlier run left out, and its remarks on other songs; empty if unreadable."""
    try:
        content: Any = read_json(report)
        left_out = [
            LeftOut(entry["Track Name"], entry["Reason"], entry["Expected"]) for entry in content["Left Out"]
        ]
        return left_out, {entry["Track Name"]: entry["Notes"] for entry in content["Songs With Notes"]}
    except (MetadataError, KeyError, TypeError):
        return [], {}
