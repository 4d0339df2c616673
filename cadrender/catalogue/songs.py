"""Songs and excerpts as sources: their files, whether they are usable, and selection by pattern."""

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.metadata.music import Track
from cadrender.metadata.samples import Sample
from cadrender.stems import MIXTURE, STEMS
from cadrender.store import read_header, read_hrir
from cadrender.store.audio import check_stem_header


@dataclass(frozen=True)
class Song:
    """The source files of a track or excerpt, all of the same length.

    Attributes
    ----------
    name : str
        The track's or the excerpt's name.
    files : mapping of str to pathlib.Path
        By stem; all five, or those that the corpus has.
    frames : int
        Their length.
    """

    name: str
    files: Mapping[str, Path]
    frames: int


def song_of(settings: Settings, of: Track | Sample) -> Song:
    """Check the files of a track, or those that a sample is rendered from: its song's, or an excerpt's own.

    A song made by ``cadrender ingest`` may lack stems.

    Raises
    ------
    AudioError
        As :func:`look_at_song`.
    """
    if isinstance(of, Sample) and of.frames:
        track, name, folder = of.track, of.source, settings.excerpts_dir / of.path
    else:
        track = of if isinstance(of, Track) else of.track
        name, folder = track.name, settings.music_dir / track.path
    ingested = (settings.metadata_dir / f"{track.split}.ingest.json").exists()
    return look_at_song(name, folder, settings.sample_rate, partial=ingested)


def look_at_song(name: str, folder: Path, samplerate: int, *, partial: bool = False) -> Song:
    """Check the headers of a song's files.

    All five must exist. A folder with only the mixture is a song without stems, as in FMA.

    Parameters
    ----------
    name : str
    folder : pathlib.Path
    samplerate : int
        In hertz.
    partial : bool
        Whether any stems may be missing.

    Raises
    ------
    AudioError
        If a file is missing, unreadable, not stereo, too short, or differs in rate, or in length from the mixture.
    """
    files = {stem: folder / f"{stem}.wav" for stem in STEMS}
    present = {stem: file for stem, file in files.items() if file.exists()}
    if MIXTURE in present and (partial or len(present) == 1):
        files = present
    frames = 0
    for file in files.values():  # the mixture comes first
        header = read_header(file)
        check_stem_header(file, header, samplerate)
        frames = frames or header.frames
        if header.frames != frames:
            raise AudioError(f"{file}: {header.frames} frames, but the mixture has {frames}")
    return Song(name, files, frames)


def select_songs(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    """Names that equal or match one of the shell patterns, case-sensitively; all without a pattern.

    Raises
    ------
    UsageError
        If a pattern matches no name.
    """
    if not patterns:
        return set(names)
    selected = set()
    for pattern in patterns:
        matching = {name for name in names if matches(name, [pattern])}
        if not matching:
            raise UsageError(f"--songs {pattern!r}: no song of the scenes has such a name")
        selected |= matching
    return selected


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name equals or matches one of the shell patterns; True without a pattern."""
    return not patterns or any(name == each or fnmatch.fnmatchcase(name, each) for each in patterns)


def check_hrirs(settings: Settings, samples: Iterable[Sample]) -> None:
    """Read every HRIR that samples need.

    Raises
    ------
    MetadataError
        If one cannot be used.
    """
    files: dict[Path, str] = {}
    for position in {sample.position.id: sample.position for sample in samples}.values():
        for file in position.hrir_files(settings.hrtf_dir):
            files.setdefault(file, position.id)
    for file, name in files.items():
        try:
            read_hrir(file, settings.sample_rate)
        except AudioError as error:
            raise MetadataError(f"{error} (needed by head position {name})") from error
