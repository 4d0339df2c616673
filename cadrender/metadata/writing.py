"""Writing metadata files: whole or not at all, and without losing what was there."""

import contextlib
import itertools
import os
import secrets
import shutil
from pathlib import Path

from cadrender.errors import CadrenderError


def write_json(file: Path, text: str) -> None:
    """Write `text` to `file` so that the file is either the old one or the whole new one.

    The text goes to a temporary file in the same folder, is flushed to the disk and moved into place. The
    folder is made if it is missing. A symbolic link is replaced, not followed.

    Raises
    ------
    CadrenderError
        Naming the file and the system's reason; the old file is untouched and no temporary file is left.
    """
    file = Path(file)
    temporary = file.with_name(f".cadrender-{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError as error:
        raise CadrenderError(f"{file}: cannot write the file: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def back_up(file: Path) -> Path | None:
    """Keep the present `file` as ``<file>.1``, or the next free number, and return that path.

    The file itself stays in its place. ``None`` when there is no file to keep.

    Raises
    ------
    CadrenderError
        If no copy can be made.
    """
    file = Path(file)
    if not os.path.lexists(file):
        return None
    try:
        for number in itertools.count(1):
            backup = file.with_name(f"{file.name}.{number}")
            if os.path.lexists(backup):
                continue
            # A second name for the same file costs nothing and cannot hit a file made meanwhile.
            try:
                backup.hardlink_to(file)
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                shutil.copy2(file, backup, follow_symlinks=False)
            return backup
    except OSError as error:
        raise CadrenderError(f"{file}: cannot keep a backup: {error.strerror or error}") from error
