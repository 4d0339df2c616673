"""What the corpora share: the songs found in a folder, their names, and the instrument tables."""

import hashlib
import importlib.resources
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cadrender.errors import MetadataError, UsageError
from cadrender.stems import VDBO

# A sample is named after its song, `<song>-hlp_0056`, and file names are limited to 255 bytes.
LONGEST_NAME = 200

READABLE = (
    ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".mp2", ".rf64", ".w64"
)  # fmt: skip
"""File name suffixes of audio that can be decoded."""
UNREADABLE = (
    ".3gp", ".aac", ".ac3", ".alac", ".amr", ".ape", ".avi", ".dff", ".dsf", ".dts", ".m4a", ".m4b", ".m4v", ".mka",
    ".mkv", ".mov", ".mp4", ".mpc", ".ra", ".rm", ".shn", ".tak", ".tta", ".webm", ".wma", ".wv"
)  # fmt: skip
"""File name suffixes of audio and video that cannot be decoded: such files are reported, not ignored."""

# Folders that are not part of any corpus.
_FOREIGN = ("__MACOSX", "lost+found")


@dataclass(frozen=True)
class SourceTrack:
    """One song of a corpus, as found on disk.

    Attributes
    ----------
    name : str
        The song's name and folder: one safe path component.
    sources : mapping of str to tuple of pathlib.Path
        Stem -> the audio files that are summed. An empty tuple is digital silence; a missing stem is not written.
    genre, source, license : str
        For the music list.
    notes : tuple of str
        Remarks for the user, such as bleed between the stems.
    """

    name: str
    sources: Mapping[str, tuple[Path, ...]]
    genre: str
    source: str
    license: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A song of the corpus that is not converted.

    Attributes
    ----------
    name : str
        The song.
    reason : str
        The reason, in one line.
    expected : bool
        Whether this is intended; otherwise the command's exit status is 1.
    """

    name: str
    reason: str
    expected: bool = True


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk, ready to be converted.

    Attributes
    ----------
    name : str
        The folder under ``audio/music``, the music list's name and the songs' split.
    folder : pathlib.Path
        Where it was found.
    tracks : tuple of SourceTrack
        The songs to convert, in order.
    left_out : tuple of LeftOut
        The songs that are not converted.
    notes : tuple of str
        Remarks about the corpus as a whole.
    minimum_seconds : float
        Shorter songs are left out. 0.4 s is the shortest signal whose loudness can be measured.
    forgiving : bool
        Whether damaged and short files are a known fault of the corpus rather than a failure.
    """

    name: str
    folder: Path
    tracks: tuple[SourceTrack, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    minimum_seconds: float = 0.4
    forgiving: bool = False


@dataclass(frozen=True)
class InstrumentTable:
    """Which stem each instrument belongs to.

    Attributes
    ----------
    stems : mapping of str to str
        Instrument (lower case, single spaces) -> stem.
    """

    stems: Mapping[str, str] = field(default_factory=dict)

    def stem(self, instrument: str) -> str | None:
        """The stem of `instrument`; None if it is not in the table."""
        return self.stems.get(_plain(instrument))


def read_instruments(path: Path) -> InstrumentTable:
    """Read an instrument table: a YAML file with a list of names for each of the four stems.

    Raises
    ------
    UsageError
        If the file is invalid, or an instrument belongs to two stems.
    """
    table = read_mapping(path)
    wrong = [key for key in table if key not in VDBO]
    if wrong:
        raise UsageError(f"{path}: unknown stem '{wrong[0]}'; expected {', '.join(VDBO)}")
    stems: dict[str, str] = {}
    for stem, instruments in table.items():
        if not isinstance(instruments, list | None):
            raise UsageError(f"{path}: '{stem}' holds {instruments!r}; expected a list of instruments")
        for instrument in map(_plain, instruments or ()):
            if stems.setdefault(instrument, stem) != stem:
                raise UsageError(
                    f"{path}: '{instrument}' is both {stems[instrument]} and {stem}; expected one"
                )
    return InstrumentTable(stems)


def shipped(name: str) -> Path:
    """The path of a file in the package's ``conf`` folder."""
    return Path(str(importlib.resources.files("cadrender") / "conf" / name))


def read_names(path: Path) -> frozenset[str]:
    """Read the list ``tracks`` of a YAML file, normalised by `name_key`."""
    names = read_mapping(path).get("tracks")
    if not isinstance(names, list):
        raise UsageError(f"{path}: no list named 'tracks'")
    return frozenset(map(name_key, names))


def name_key(name: str) -> str:
    """Reduce a song's name to what its spellings share: letters without accents, and digits.

    Examples
    --------
    >>> name_key("A Classic Education - NightOwl") == name_key("AClassicEducation_NightOwl")
    True
    """
    letters = unicodedata.normalize("NFKD", str(name)).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


def safe_name(name: str) -> str:
    """Turn `name` into a path component that is valid, and the same, on every system.

    Letters are composed (NFC); invalid Unicode, separators and control characters are replaced; a name longer than
    `LONGEST_NAME` bytes is truncated and ends in a digest of the whole.
    """
    name = unicodedata.normalize("NFC", re.sub("[\ud800-\udfff]", "\ufffd", name))
    name = re.sub(r"[/\\:\x00-\x1f\x7f]", "_", name).strip()
    if not name or name.startswith("."):
        name = f"_{name}"
    encoded = name.encode()
    if len(encoded) > LONGEST_NAME:
        digest = hashlib.sha256(encoded).hexdigest()[:12]
        name = encoded[: LONGEST_NAME - 13].decode("utf-8", "ignore") + f"-{digest}"
    return name


def distinct(
    found: Iterable[SourceTrack | LeftOut],
) -> tuple[tuple[SourceTrack, ...], tuple[LeftOut, ...]]:
    """Split what was found into songs to convert and songs to leave out.

    Of songs whose names differ at most in case, which some file systems do not distinguish, only the first is kept.
    """
    kept: dict[str, SourceTrack] = {}
    left_out: list[LeftOut] = []
    twins: list[LeftOut] = []
    for song in found:
        if isinstance(song, LeftOut):
            left_out.append(song)
        elif first := kept.get(song.name.casefold()):
            reason = f"is the second song of that name: {_first_file(song)} after {_first_file(first)}; expected one"
            twins.append(LeftOut(song.name, reason, expected=False))
        else:
            kept[song.name.casefold()] = song
    return tuple(kept.values()), (*left_out, *twins)


def walk(
    folder: Path, *, depth: int | None = None, skip: Iterable[Path] = ()
) -> Iterator[tuple[Path, list[Path]]]:
    """Walk through `folder` and the folders below it in name order; links are followed, but never in a circle.

    Hidden files, ``__MACOSX`` and ``lost+found`` are ignored.

    Parameters
    ----------
    folder : pathlib.Path
        Where to start.
    depth : int, optional
        Levels below `folder`; default: all.
    skip : iterable of pathlib.Path
        Folders not to enter.

    Yields
    ------
    folder : pathlib.Path
    files : list of pathlib.Path
        Its files, by name.

    Raises
    ------
    UsageError
        If `folder` cannot be listed.
    """
    seen = {_real(path) for path in skip}
    waiting = [(folder, 0)]
    while waiting:
        here, level = waiting.pop()
        if _real(here) in seen:
            continue
        seen.add(_real(here))
        try:
            entries = sorted(here.iterdir())
        except OSError as error:
            raise UsageError(f"{here}: {one_line(error)}; expected a folder that can be read") from error
        entries = [path for path in entries if not path.name.startswith(".") and path.name not in _FOREIGN]
        folders = [entry for entry in entries if entry.is_dir()]
        yield here, [entry for entry in entries if not entry.is_dir()]
        if depth is None or level < depth:
            waiting += [(entry, level + 1) for entry in reversed(folders)]


def require_folder(path: Path) -> Path:
    """Return `path` if it is a folder; raise UsageError otherwise."""
    if not path.is_dir():
        problem = "is not a folder" if path.exists() else "does not exist"
        raise UsageError(f"{path}: {problem}; expected the corpus's folder")
    return path


def _plain(instrument: str) -> str:
    return " ".join(str(instrument).casefold().split())


def _first_file(track: SourceTrack) -> Path | str:
    return next((path for paths in track.sources.values() for path in paths), track.name)


def _real(path: Path) -> str:
    return os.path.realpath(path)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file that holds a mapping; raise MetadataError if it does not."""
    try:
        # The C loader would be faster, but crashes on deep nesting.
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise MetadataError(f"{path}: cannot be read: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise MetadataError(f"{path}: expected a YAML mapping")
    return content


def one_line(error: Exception) -> str:
    """An error's message, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())
