"""MedleyDB 1 and 2: multitrack songs whose stems are named by their instruments.

Bittner, R. et al. (2014), "MedleyDB: A Multitrack Dataset for Annotation-Intensive MIR Research", ISMIR;
Bittner, R. et al. (2016), "MedleyDB 2.0: New Data and a System for Sustainable Data Collection", ISMIR
late-breaking session. The songs are licensed under CC BY-NC-SA 4.0.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from cadrender.corpora.layout import (
    Corpus,
    InstrumentTable,
    LeftOut,
    SourceTrack,
    distinct,
    name_key,
    one_line,
    read_instruments,
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
# The metadata came with the audio at first; later the corpus's own package kept it for all versions.
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

    A song is a folder with ``<Artist_Title>_MIX.wav``, ``<Artist_Title>_STEMS/`` and somewhere
    ``<Artist_Title>_METADATA.yaml``: beside the audio, or with all others in ``Metadata``, in
    ``medleydb/data/Metadata``, or anywhere else in `folder`. Its stems are summed by the table of
    instruments; a class without a stem is digital silence. The mixture is the delivered one. A song without
    stems has only that.

    Parameters
    ----------
    folder : pathlib.Path
        The corpus: version 1, version 2 or a folder with both.
    instruments : pathlib.Path, optional
        The table of instruments; the shipped ``medleydb_instruments.yaml`` unless given.
    metadata : pathlib.Path, optional
        Where the metadata is, if it is not with the corpus.
    keep_musdb : bool
        Whether the songs that are in MUSDB18-HQ's training split already are taken too.
    skip_bleed : bool
        Whether songs with bleed between the stems are left out instead of flagged.

    Returns
    -------
    Corpus

    Raises
    ------
    UsageError
        If there is no song or no metadata, or the table is wrong.
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
    tracks, twins = distinct(item for item in found if isinstance(item, SourceTrack))
    left_out = [item for item in found if isinstance(item, LeftOut)]
    return Corpus(NAME, folder, tracks, (*left_out, *twins))


def _song_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    for here, files in walk(folder, depth=4):
        stems = sorted(path.name for path in here.glob(f"[!.]*{_STEMS}") if path.is_dir())
        titles = [path.name.removesuffix(_MIX) for path in files if path.name.endswith(_MIX)]
        for title in dict.fromkeys([*titles, *(name.removesuffix(_STEMS) for name in stems)]):
            yield title, here


def _metadata_files(folder: Path, metadata: Path | None) -> dict[str, Path]:
    """Find every metadata file: title -> path. The one beside the audio wins over one in a folder of them."""
    places = [require_folder(metadata)] if metadata else [folder]
    if not metadata:
        places += [folder.resolve().parent / place for place in _METADATA_FOLDERS]
    cards = {}
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
        metadata = _read_card(card)
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


def _read_card(path: Path) -> dict:
    try:
        # The loader in C would be faster, but deep nesting makes it crash.
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise MetadataError(f"{path}: cannot be read: {one_line(error)}") from error
    if not isinstance(metadata, dict):
        raise MetadataError(f"{path}: expected a YAML mapping with 'stems'")
    return metadata


def _stems(
    title: str, folder: Path, metadata: dict, card: Path, table: InstrumentTable
) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    """Group a song's stem files by the table; no stems at all is no error."""
    listed = metadata.get("stems") or {}
    place = folder / f"{title}{_STEMS}"
    if not listed or not place.is_dir():
        return {}, (NO_STEMS,)
    if not isinstance(listed, dict) or not all(isinstance(stem, dict) for stem in listed.values()):
        raise MetadataError(f"{card}: 'stems' is no mapping of S01, S02, ... to filename and instrument")
    groups = {stem: () for stem in VDBO}
    notes = []
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
    """Return the stem that an instrument, or all of a list of them, belongs to, and a note if there is none."""
    names = [str(name or "") for name in (value if isinstance(value, list) and value else [value])]
    stems = {name: table.stem(name) for name in names}
    unknown = [name for name, stem in stems.items() if stem is None]
    if unknown:
        return "other", tuple(
            f"instrument '{name}' is not in the table of instruments: goes to other" for name in unknown
        )
    if len(set(stems.values())) > 1:
        listed = ", ".join(f"{name} ({stem})" for name, stem in stems.items())
        return "other", (f"instruments of one stem belong to different ones: {listed}: goes to other",)
    return stems[names[0]], ()


def _is_yes(value: object) -> bool:
    """Read the metadata's yes and no, which YAML turns into a boolean where they are not quoted."""
    return value is True or str(value).strip().casefold() == "yes"
