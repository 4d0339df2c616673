"""A whole corpus into a root: the songs in parallel, then the music list of those that are complete."""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cadrender.config import ingested_lists
from cadrender.corpora.convert import Outcome, SongRecord, convert, read_song
from cadrender.corpora.decode import SAMPLERATE
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.errors import AudioError, CadrenderError, UsageError
from cadrender.metadata import Track, check_name, read_tracks, tracks_json, write_json
from cadrender.pipeline.pool import run_batches, usable_cpus
from cadrender.store import read_header

# A corpus of this name would write among the official songs.
RESERVED = ("train", "valid", "test")


@dataclass(frozen=True)
class Report:
    """What an ingest did.

    Attributes
    ----------
    outcomes : tuple of cadrender.corpora.Outcome
        What became of each song that was to be converted, in the corpus's order.
    left_out : tuple of LeftOut
        The songs that are not in the root: left out from the start, damaged, too short.
    listed : int
        The songs in the music list.
    seconds : float
        The time it took.
    list_file, report_file : pathlib.Path
        The music list, and the list of what was left out and of what the user should know.
    """

    outcomes: tuple[Outcome, ...]
    left_out: tuple[LeftOut, ...]
    listed: int
    seconds: float
    list_file: Path
    report_file: Path

    @property
    def failed(self) -> bool:
        """Whether a song that ought to be in the root is not."""
        return not all(song.expected for song in self.left_out)


def ingest(
    corpus: Corpus,
    root: Path,
    *,
    jobs: int = -1,
    samplerate: int | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Report:
    """Convert the songs of `corpus` into songs of `root`, and list them.

    Song `s` of corpus `c` becomes ``audio/music/c/s/``; ``metadata/c.json`` lists the songs of `c` that are
    complete on disk, those of earlier calls included, except what this call leaves out.
    ``metadata/c.ingest.json`` says what was left out, and what the user should know about the others. Songs
    that are there already are kept as they are, unless their source files have changed.

    Parameters
    ----------
    corpus : Corpus
        What one of the corpora's ``scan`` functions found.
    root : pathlib.Path
        The root; it need not exist.
    jobs : int
        Number of processes; -1 for as many as there are CPUs to use.
    samplerate : int, optional
        Of the songs in the root, in hertz; by default `root_samplerate`.
    on_outcome : callable, optional
        Called with each song's `Outcome` as soon as it is known, in any order.

    Returns
    -------
    Report

    Raises
    ------
    UsageError
        If the corpus's name cannot be used, or its files would land outside `root` or among their own
        sources, or another list of `root` has a song of the same name.
    CadrenderError
        If `root` cannot be written, or a worker process died.
    """
    started = time.perf_counter()
    music, metadata = _check_places(corpus, root)
    _check_songs(corpus, root, metadata)
    samplerate = samplerate or root_samplerate(root)
    outcomes = {}
    with contextlib.closing(_convert_all(corpus, music, root, jobs, samplerate)) as converted:
        for outcome in converted:
            if isinstance(outcome, CadrenderError):
                raise outcome
            outcomes[outcome.name] = outcome
            if on_outcome:
                on_outcome(outcome)
    ordered = tuple(outcomes[song.name] for song in corpus.tracks)
    failed = [
        LeftOut(outcome.name, outcome.problem, corpus.forgiving) for outcome in ordered if outcome.problem
    ]
    left_out = (*corpus.left_out, *failed)
    songs = _songs_on_disk(music, without={song.name for song in left_out})
    list_file, report_file = metadata / f"{corpus.name}.json", metadata / f"{corpus.name}.ingest.json"
    write_json(list_file, tracks_json(song.track for song in songs))
    write_json(report_file, _report_json(corpus, left_out, songs))
    return Report(ordered, left_out, len(songs), time.perf_counter() - started, list_file, report_file)


@dataclass(frozen=True)
class _Conversion:
    """One song to convert; it can travel to another process."""

    source: SourceTrack
    corpus: str
    corpus_folder: Path
    music: Path
    root: Path
    minimum_seconds: float
    samplerate: int

    @property
    def song(self) -> str:
        return self.source.name

    @property
    def frame_scenes(self) -> int:
        """Its bytes, which say as well what is worth a trip to a worker."""
        return _size(self.source)

    def shape(self):
        """Nothing is compiled for it."""
        return None


def _convert_all(corpus: Corpus, music: Path, root: Path, jobs: int, samplerate: int) -> Iterator[Outcome]:
    # The largest come first, so that none is left for the end when all other workers are done.
    conversions = [
        _Conversion(song, corpus.name, corpus.folder, music, root, corpus.minimum_seconds, samplerate)
        for song in sorted(corpus.tracks, key=_size, reverse=True)
    ]
    return run_batches(conversions, usable_cpus() if jobs < 0 else jobs, _convert_one, _killed)


def _killed(conversion, error):
    return Outcome(conversion.song, problem=error)


def _convert_one(conversion: _Conversion) -> Outcome | CadrenderError:
    """Convert a song; an error that ends the whole work is returned."""
    song, corpus, root = conversion.source, conversion.corpus, conversion.root
    folder = conversion.music / song.name
    if not _is_inside(folder, root):
        return Outcome(song.name, problem=f"{folder}: is a link that leads out of {root}; expected a folder")
    track = Track(song.name, song.genre, song.source, song.license, corpus, f"{corpus}/{song.name}")
    try:
        return convert(
            song,
            track,
            folder,
            conversion.corpus_folder,
            conversion.minimum_seconds,
            conversion.samplerate,
        )
    except CadrenderError as error:
        return error


def _size(song: SourceTrack) -> int:
    size = 0
    for paths in song.sources.values():
        for path in paths:
            with contextlib.suppress(OSError):
                size += path.stat().st_size
    return size


def _check_places(corpus: Corpus, root: Path) -> tuple[Path, Path]:
    """Return the folders for the songs and the lists, once they are known to be safe to write to."""
    music, metadata = root / "audio" / "music" / corpus.name, root / "metadata"
    check_name(corpus.name, root, "the corpus's name")
    if corpus.name in RESERVED:
        raise UsageError(
            f"'{corpus.name}' is a split of the official songs; expected another name for the corpus"
        )
    for place in (music, metadata):
        if not _is_inside(place, root):
            raise UsageError(f"{place}: is a link that leads out of {root}; expected a folder inside it")
    if _is_inside(corpus.folder, music):
        raise UsageError(
            f"{corpus.folder}: is where the songs of '{corpus.name}' go; expected another folder"
        )
    list_file = metadata / f"{corpus.name}.json"
    if list_file.exists() and not all(track.split == corpus.name for track in read_tracks(list_file)):
        raise UsageError(
            f"{list_file}: is no list of the corpus '{corpus.name}'; expected another name for the corpus"
        )
    return music, metadata


def _check_songs(corpus: Corpus, root: Path, metadata: Path) -> None:
    """Refuse songs that another list of the root has: no command could tell which of them a scene means."""
    own = metadata / f"{corpus.name}.json"
    official = metadata / "musdb18.train.json"
    for file in (official, *ingested_lists(metadata)):
        if file == own or not file.exists():
            continue
        names = {track.name for track in read_tracks(file)}
        if twice := [song.name for song in corpus.tracks if song.name in names]:
            others = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
            remove = "" if file == official else f", or `cadrender ingest --remove {file.stem} --root {root}`"
            raise UsageError(
                f"{corpus.folder}: the song {twice[0]!r}{others} is already in {file}, and a root takes one song of "
                f"a name: rename it here{remove}"
            )


def root_samplerate(root: Path) -> int:
    """Return the rate of the root's HRIRs in hertz; 44 100 if there are none, or of several rates."""
    rates = set()
    for file in sorted((root / "audio" / "hrtf").glob("[!.]*.wav")):
        with contextlib.suppress(AudioError):
            rates.add(read_header(file).samplerate)
    return rates.pop() if len(rates) == 1 else SAMPLERATE


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _songs_on_disk(music: Path, without: set[str]) -> list[SongRecord]:
    folders = sorted(music.iterdir()) if music.is_dir() else []
    songs = [read_song(folder) for folder in folders if folder.name not in without]
    return [song for song in songs if song]


def _report_json(corpus: Corpus, left_out: Iterable[LeftOut], songs: Iterable[SongRecord]) -> str:
    report = {
        "Corpus": corpus.name,
        "Notes": list(corpus.notes),
        "Left Out": [
            {"Track Name": song.name, "Reason": song.reason, "Expected": song.expected} for song in left_out
        ],
        "Songs With Notes": [
            {"Track Name": song.track.name, "Notes": [*song.notes, *song.remarks]}
            for song in songs
            if song.notes or song.remarks
        ],
    }
    return json.dumps(report, indent=4)
