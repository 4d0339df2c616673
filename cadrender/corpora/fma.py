"""FMA-small: 8000 thirty-second clips from the Free Music Archive, as MP3 files.

Defferrard, M. et al. (2017), "FMA: A Dataset for Music Analysis", ISMIR. Each artist chose a licence,
listed in ``fma_metadata/tracks.csv``, which is a separate archive.
"""

import csv
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from cadrender.corpora.layout import (
    READABLE,
    UNREADABLE,
    Corpus,
    SourceTrack,
    distinct,
    one_line,
    require_folder,
    safe_name,
    walk,
)
from cadrender.errors import MetadataError, UsageError
from cadrender.stems import MIXTURE

NAME = "fma-small"
UNKNOWN_LICENSE = "unknown (see FMA metadata)"
# Six of the 8000 clips were cut past the end of their songs: three are empty, three last 0.5 to 1.6 s.
MINIMUM_SECONDS = 2.0

_LICENSE, _GENRE = ("track", "license"), ("track", "genre_top")
_LONGEST_FIELD = 2**24


def scan(folder: Path, *, metadata: Path | None = None, minimum_seconds: float = MINIMUM_SECONDS) -> Corpus:
    """Find the clips ``000/000002.mp3`` in `folder`; each is a mixture without stems.

    Parameters
    ----------
    folder : pathlib.Path
        The corpus's folder, or the parent of its ``fma_small``.
    metadata : pathlib.Path, optional
        The file ``tracks.csv``; default: searched for in `folder` and in ``fma_metadata`` in and next to it.
    minimum_seconds : float
        Shorter clips are left out.

    Raises
    ------
    UsageError
        If there is no clip in `folder`.
    MetadataError
        If ``tracks.csv`` cannot be read, or lacks required columns.
    """
    audio = [
        path
        for here, files in walk(_clips_folder(require_folder(folder)), depth=1)
        for path in files
        if re.fullmatch(r"\d{3}", here.name) and path.suffix.lower() in (*READABLE, *UNREADABLE)
    ]
    clips = {safe_name(path.stem): path for path in audio if path.suffix.lower() == ".mp3"}
    if not clips:
        raise UsageError(f"{folder}: no clip found; expected files such as 000/000002.mp3")
    table = metadata or _find_table(folder)
    fields = dict(_read_table(table, clips)) if table else {}
    notes = [f"{path}: not an MP3 file: left out" for path in audio if path.suffix.lower() != ".mp3"]
    if not table:
        notes.append(f"no fma_metadata/tracks.csv in or beside {folder}: licences and genres are unknown")
    tracks, twins = distinct(
        SourceTrack(name, {MIXTURE: (path,)}, genre or "unknown", "FMA", license or UNKNOWN_LICENSE)
        for name, path in clips.items()
        for genre, license in [fields.get(name, ("", ""))]
    )
    return Corpus(NAME, folder, tracks, twins, tuple(notes), minimum_seconds, forgiving=True)


def _clips_folder(folder: Path) -> Path:
    inner = folder / "fma_small"
    return inner if inner.is_dir() else folder


def _find_table(folder: Path) -> Path | None:
    places = (folder, folder / "fma_metadata", folder.resolve().parent / "fma_metadata")
    return next((path for place in places if (path := place / "tracks.csv").is_file()), None)


def _read_table(path: Path, names: Collection[str]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield name -> (genre, licence) of the clips `names` from ``tracks.csv``.

    The table has three header rows: the first two together name a column, the third names the index.
    """
    csv.field_size_limit(_LONGEST_FIELD)  # artists' biographies exceed the module's default limit
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            columns = list(zip(next(rows), next(rows), strict=False))
            genre, license = columns.index(_GENRE), columns.index(_LICENSE)
            for row in rows:
                name = row[0].zfill(6) if row else ""
                if name in names:
                    yield name, (row[genre].strip(), row[license].strip())
    except (OSError, UnicodeDecodeError, csv.Error, StopIteration, ValueError, IndexError) as error:
        raise MetadataError(
            f"{path}: {one_line(error) or 'is too short'}; expected FMA's tracks.csv with track/license"
        ) from error
