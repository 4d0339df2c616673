"""MedleyDB 1 and 2: multitrack songs whose stems are named by instrument.

Bittner, R. et al. (2014), "MedleyDB: A Multitrack Dataset for Annotation-Intensive MIR Research", ISMIR;
Bittner, R. et al. (2016), "MedleyDB 2.0: New Data and a System for Sustainable Data Collection", ISMIR
late-breaking session. The songs are licensed under CC BY-NC-SA 4.0.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cadrender.corpora.layout import (
    Corpus,
    InstrumentTable,
    LeftOut,
    SourceTrack,
    distinct,
    name_key,
    read_instruments,
    read_mapping,
    read_names,
    require_folder,
    safe_name,
    shipped,
    walk,
)
from cadrender.errors import MetadataError, UsageError
from cadrender.stems import MIXTURE, VDBO

NAME = "medleydb"
LICENSE = "CC BY-NC-SA 4.0"
TABLE = "medleydb_instruments.yaml"
MUSDB = "medleydb_in_musdb18.yaml"
IN_MUSDB = "is in MUSDB18-HQ's training split already"
BLEED = "has bleed between its stems"
NO_STEMS = "has no stems: only its mixture is taken"

_MIX, _STEMS, _METADATA = "_MIX.wav", "_STEMS", "_METADATA.yaml"
# The metadata first came with the audio; later the corpus's own package kept it for all versions.
_METADATA_FOLDERS = ("Metadata", "data/Metadata", "medleydb/data/Metadata", "medleydb/medleydb/data/Metadata")


def scan(
    folder: Path,
    *,
    instruments: Path | None = None,
    metadata: Path | None = None,
    keep_musdb: bool = False,
    skip_bleed: bool = False,
) -> Corpus:
    """Find MedleyDB's songs in `folder`.

    A song is a folder with ``<Artist_Title>_MIX.wav``, ``<Artist_Title>_STEMS/`` and
    ``<Artist_Title>_METADATA.yaml``, which may also be in ``Metadata``, in ``medleydb/data/Metadata``, or anywhere
    else in `folder`. Its stems are grouped by the instrument table and summed; a class without stems is digital
    silence. The mixture is the corpus's own; a song without stems has only that.

    Parameters
    ----------
    folder : pathlib.Path
        The corpus: version 1, version 2 or a folder with both.
    instruments : pathlib.Path, optional
        The instrument table; default: the shipped ``medleydb_instruments.yaml``.
    metadata : pathlib.Path, optional
        Folder of the metadata, if not in the corpus.
    keep_musdb : bool
        Whether to take songs that are already in MUSDB18-HQ's training split.
    skip_bleed : bool
        Whether to leave out songs with bleed between the stems; otherwise they get a note.

    Raises
    ------
    UsageError
        If there is no song or no metadata, or the table is invalid.
    """
    table = read_instruments(instruments or shipped(TABLE))
    folders = list(_song_folders(require_folder(folder)))
    if not folders:
        raise UsageError(
            f"{folder}: no song found; expected <Artist_Title>_MIX.wav and <Artist_Title>_STEMS/"
        )
    cards = _metadata_files(folder, metadata)
    if not cards:
        wanted = ", ".join(f"{folder / place}" for place in _METADATA_FOLDERS)
        raise UsageError(f"{folder}: no <Artist_Title>_METADATA.yaml beside the audio or in {wanted}")
    taken = frozenset() if keep_musdb else read_names(shipped(MUSDB))
    found = [_song(title, here, cards, table, taken, skip_bleed) for title, here in folders]
    return Corpus(NAME, folder, *distinct(found))


def _song_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    for here, files in walk(folder, depth=4):
        stems = sorted(path.name for path in here.glob(f"[!.]*{_STEMS}") if path.is_dir())
        titles = [path.name.removesuffix(_MIX) for path in files if path.name.endswith(_MIX)]
        for title in dict.fromkeys([*titles, *(name.removesuffix(_STEMS) for name in stems)]):
            yield title, here


def _metadata_files(folder: Path, metadata: Path | None) -> dict[str, Path]:
    """Every metadata file: title -> path. Files next to the audio take precedence."""
    places = [require_folder(metadata)] if metadata else [folder]
    if not metadata:
        places += [folder.resolve().parent / place for place in _METADATA_FOLDERS]
    cards: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            found = [path for _, files in walk(place, depth=4) for path in files]
            found = [path for path in found if path.name.endswith(_METADATA)]
            for path in sorted(found, key=lambda path: path.parent.name == "Metadata"):
                cards.setdefault(name_key(path.name.removesuffix(_METADATA)), path)
    return cards


def _song(
    title: str,
    folder: Path,
    cards: Mapping[str, Path],
    table: InstrumentTable,
    taken: frozenset[str],
    skip_bleed: bool,
) -> SourceTrack | LeftOut:
    name = safe_name(title)
    if name_key(title) in taken:
        return LeftOut(name, IN_MUSDB)
    card = cards.get(name_key(title))
    if card is None:
        return LeftOut(name, f"has no metadata; expected {folder / title}{_METADATA}", expected=False)
    try:
        metadata = read_mapping(card)
        if name_key(f"{metadata.get('artist')}{metadata.get('title')}") in taken:
            return LeftOut(name, IN_MUSDB)
        bleed = _is_yes(metadata.get("has_bleed"))
        if bleed and skip_bleed:
            return LeftOut(name, BLEED)
        stems, notes = _stems(title, folder, metadata, card, table)
    except MetadataError as error:
        return LeftOut(name, str(error), expected=False)
    mix = folder / f"{title}{_MIX}"
    if not mix.exists():
        return LeftOut(name, f"has no mixture; expected {mix}", expected=False)
    if bleed:
        notes = (BLEED, *notes)
    genre = str(metadata.get("genre") or "unknown")
    return SourceTrack(name, {MIXTURE: (mix,)} | stems, genre, "MedleyDB", LICENSE, notes)


def _stems(
    title: str, folder: Path, metadata: Mapping[Any, Any], card: Path, table: InstrumentTable
) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    """Group a song's stem files by the table, with notes; a song may have no stems."""
    listed = metadata.get("stems") or {}
    place = folder / f"{title}{_STEMS}"
    if not listed or not place.is_dir():
        return {}, (NO_STEMS,)
    if not isinstance(listed, dict) or not all(isinstance(stem, dict) for stem in listed.values()):
        raise MetadataError(f"{card}: 'stems' is not a mapping of S01, S02, ... to filename and instrument")
    groups: dict[str, tuple[Path, ...]] = {stem: () for stem in VDBO}
    notes: list[str] = []
    for key, stem in sorted(listed.items(), key=lambda item: str(item[0])):
        filename = stem.get("filename")
        if not isinstance(filename, str) or Path(filename).name != filename:
            raise MetadataError(f"{card}: {key} has the filename {filename!r}; expected a file in {place}")
        if not (place / filename).exists():
            raise MetadataError(f"{card}: {key} names {filename}, which {place} does not hold")
        group, note = _group(stem.get("instrument"), table)
        groups[group] += (place / filename,)
        notes += note
    return groups, tuple(dict.fromkeys(notes))


def _group(value: object, table: InstrumentTable) -> tuple[str, tuple[str, ...]]:
    """The stem of an instrument or of a list of them; ``other`` with notes if unknown or ambiguous."""
    names = [str(name or "") for name in (value if isinstance(value, list) and value else [value])]
    known = {name: stem for name in names if (stem := table.stem(name))}
    unknown = dict.fromkeys(name for name in names if name not in known)
    if unknown:
        return "other", tuple(
            f"instrument '{name}' is not in the table of instruments: goes to other" for name in unknown
        )
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name} ({stem})" for name, stem in known.items())
        return "other", (f"instruments of one stem belong to different ones: {listed}: goes to other",)
    return known[names[0]], ()


def _is_yes(value: object) -> bool:
    """Read yes and no, which YAML turns into booleans when unquoted."""
    return value is True or str(value).strip().casefold() == "yes"
