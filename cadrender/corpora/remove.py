"""Removing a corpus from a root."""

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cadrender.config import ingested_lists, load_settings
from cadrender.corpora.catalogue import RESERVED, check_inside
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.contract import check_name
from cadrender.stems import STEMS
from cadrender.store import remove_leftovers
from cadrender.store.manifest import Manifest


@dataclass(frozen=True)
class Removed:
    """What was deleted.

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
    """Delete the songs recorded in a corpus's manifest, and its lists.

    Other files among them, and files rendered from the songs, stay.

    Parameters
    ----------
    name : str
        The corpus.
    root : pathlib.Path

    Raises
    ------
    UsageError
        If there is no such corpus in `root`, or it lies outside.
    CadrenderError
        If a file cannot be deleted.
    """
    settings = load_settings(root=root)
    check_name(name, settings.root, "the corpus's name")
    music, metadata = settings.music_dir / name, settings.metadata_dir
    report, list_file = metadata / f"{name}.ingest.json", metadata / f"{name}.json"
    manifest = Manifest.beside(list_file, settings.root)
    if name in RESERVED or not (report.exists() or manifest.file.exists()):
        there = ", ".join(file.stem for file in ingested_lists(metadata)) or "none"
        raise UsageError(f"{settings.root}: no ingested corpus {name!r}; there are: {there}")
    if not manifest.file.exists():
        raise UsageError(
            f"{manifest.file}: no such file: an unreleased version of cadrender made these songs; ingest them again "
            f"before you remove them, or delete {music}, {list_file} and {report} yourself"
        )
    files: dict[str, list[str]] = {}
    for record in manifest.read().values():
        corpus, song, file = (*PurePosixPath(record.path).parts, "", "", "")[:3]
        if corpus == name and file in {f"{stem}.wav" for stem in STEMS}:
            files.setdefault(check_name(song, manifest.file, "a song's name"), []).append(file)
    songs = sorted(files)
    for place in (metadata, music, *(music / song for song in songs)):
        check_inside(place, settings.root)
    try:
        for listed in (report, list_file):  # from here on no command looks for the songs
            listed.unlink(missing_ok=True)
        for song in songs:
            for stem in files[song]:
                (music / song / stem).unlink(missing_ok=True)
            remove_leftovers(music / song)
            with contextlib.suppress(OSError):  # not empty
                (music / song).rmdir()
        manifest.file.unlink()  # last: an interrupted removal can be repeated
        with contextlib.suppress(OSError):
            music.rmdir()
    except OSError as error:
        raise CadrenderError(f"{error.filename}: cannot be deleted: {error.strerror}") from error
    return Removed(tuple(songs), music)
