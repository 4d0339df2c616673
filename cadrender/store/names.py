"""Names that some file systems do not distinguish: upper and lower case, composed and decomposed characters."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cadrender.errors import MetadataError


def check_distinct(folders: Iterable[Path]) -> None:
    """Check that folders with similar names, if they exist, are different folders on this disk.

    Raises
    ------
    MetadataError
        If two of them are the same.
    """
    similar: dict[str, dict[Path, None]] = {}
    for folder in folders:
        folded = unicodedata.normalize("NFC", str(folder)).casefold()
        similar.setdefault(folded, {})[folder] = None
    for group in similar.values():
        seen: dict[tuple[int, int], Path] = {}
        for folder in group if len(group) > 1 else ():
            try:
                status = folder.stat()
            except OSError:
                continue
            other = seen.setdefault((status.st_dev, status.st_ino), folder)
            if other != folder:
                raise MetadataError(
                    f"{folder}: the same folder as {other.name!r} on this disk, which does not tell such names "
                    "apart; use another disk for the output"
                )
