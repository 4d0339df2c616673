"""Taking a corpus out of a root."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from cadrender.config import ingested_lists
from cadrender.corpora.convert import RECORD
from cadrender.corpora.ingest import RESERVED
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata import check_name
from cadrender.stems import STEMS


@dataclass(frozen=True)
class Removed:
    """What was taken out.

    Attributes
    ----------
    songs : tuple of str
        The songs whose files were deleted.
    folder : pathlib.Path
        Where they were.
    """

    songs: tuple[str, ...]
    folder: Path


def remove(name: str, root: Path) -> Removed:
    """Delete the songs and the lists that `ingest` wrote for a corpus.

    Only files that `ingest` wrote are deleted. What was rendered from the songs stays.

    Parameters
    ----------
    name : str
        The corpus.
    root : pathlib.Path

    Returns
    -------
    Removed

    Raises
    ------
    UsageError
        If there is no such corpus in `root`, or it lies outside.
    CadrenderError
        If a file cannot be deleted.
    """
    music, metadata = (
        root / "audio" / "music" / check_name(name, root, "the corpus's name"),
        root / "metadata",
    )
    lists = [metadata / f"{name}.json", metadata / f"{name}.ingest.json"]
    songs = sorted(record.parent for record in music.glob(f"*/{RECORD}"))
    if name in RESERVED or not (lists[1].exists() or songs):
        there = ", ".join(file.stem for file in ingested_lists(metadata)) or "none"
        raise UsageError(f"{root}: no ingested corpus {name!r}; there are: {there}")
    for place in (metadata, *songs):
        if not place.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{place}: is a link that leads out of {root}; expected a folder inside it")
    try:
        if lists[1].exists():  # first: from here on no command looks for the songs
            for file in lists:
                file.unlink(missing_ok=True)
        for song in songs:
            for stem in STEMS:
                (song / f"{stem}.wav").unlink(missing_ok=True)
            (song / RECORD).unlink()  # last: an interrupted removal can be repeated
            with contextlib.suppress(OSError):  # something else is in it
                song.rmdir()
        with contextlib.suppress(OSError):
            music.rmdir()
    except OSError as error:
        raise CadrenderError(f"{error.filename}: cannot be deleted: {error.strerror}") from error
    return Removed(tuple(song.name for song in songs), music)
