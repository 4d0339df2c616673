"""Names that a disk takes for one: upper and lower case, composed and decomposed letters."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cadrender.errors import MetadataError


def check_distinct(folders: Iterable[Path]) -> None:
    """See that folders with similar names are not one and the same on this disk.

    Only folders that exist already can be told apart, or not.

    Raises
    ------
    MetadataError
        If two of them are one.
    """
    similar = {}
    for folder in folders:
        folded = unicodedata.normalize("NFC", str(folder)).casefold()
        similar.setdefault(folded, {})[folder] = None
    for group in similar.values():
        if len(group) > 1:
            _check_group(group)


def _check_group(folders) -> None:
    seen = {}
    for folder in folders:
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
