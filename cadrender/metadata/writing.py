"""Writing metadata files: completely or not at all, and without losing the old ones."""

import contextlib
import errno
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cadrender.errors import CadrenderError, MetadataError, UsageError
from cadrender.metadata.contract import read_json


def write_json(file: Path, text: str) -> None:
    """Write `text` to `file`, which is always either the old one or the complete new one."""
    write_all({file: text})


def write_all(contents: Mapping[Path, str | bytes], *, keep: bool = False) -> dict[Path, Path]:
    """Write files that belong together: all of them or, unless the machine fails midway, none.

    Each content goes to a temporary file in its file's folder and is flushed to the disk; only then are they renamed,
    one after the other. A missing folder is made. A symbolic link is replaced, not followed.

    Parameters
    ----------
    contents : mapping of pathlib.Path to str or bytes
        Moved into place in this order. Text is written as UTF-8.
    keep : bool
        Whether the old files are kept (see `back_up`).

    Returns
    -------
    dict of pathlib.Path to pathlib.Path
        The backup of each file that has one.

    Raises
    ------
    CadrenderError
        Naming the file and the system's reason. No temporary file is left.
    """
    temporaries = {}
    try:
        for file, content in contents.items():
            with _named(file, "cannot write the file"):
                temporaries[file] = file.with_name(_temporary_name())
                _remove_leftovers(file.parent)
                _write_flushed(temporaries[file], content)
        for file in contents:
            if file.is_dir():
                raise CadrenderError(f"{file}: cannot write the file: there is a folder in its place")
        backups = {file: backup for file in contents if keep and (backup := back_up(file))}
        for file, temporary in temporaries.items():
            with _named(file, "cannot write the file"):
                temporary.replace(file)
        for folder in {file.parent for file in contents}:
            with _named(folder, "cannot be made durable"):
                _flush_folder(folder)
        return backups
    finally:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Put the names in a folder on the disk, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _temporary_name() -> str:
    """A name that tells which process of which machine uses it."""
    return f".cadrender-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _machine() -> str:
    return re.sub(r"\W", "", platform.node())


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of this machine's processes that are no more: they were killed."""
    for file in folder.glob(f".cadrender-{_machine()}-*-*.tmp"):
        with contextlib.suppress(OSError, ValueError):
            try:
                os.kill(int(file.name.split("-")[2]), 0)
            except ProcessLookupError:
                file.unlink()


def _write_flushed(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def _named(file: Path, failure: str) -> Iterator[None]:
    """Turn the system's errors into one that names `file`."""
    try:
        yield
    except OSError as error:
        raise CadrenderError(f"{file}: {failure}: {error.strerror or error}") from error


def holds(file: Path, text: str) -> bool:
    """Whether `file` exists and holds `text`, byte for byte."""
    try:
        return file.read_bytes() == text.encode()
    except OSError:
        return False


def write_unless_different(file: Path, text: str, *, force: bool = False) -> bool:
    """Write JSON `text` to `file`, unless it has the same content already, in whatever layout.

    Returns
    -------
    bool
        Whether the file was written.

    Raises
    ------
    UsageError
        If the file has different content, and not `force`.
    """
    if needed := needs_writing(file, text, force=force):
        write_json(file, text)
    return needed


def needs_writing(file: Path, text: str, *, force: bool = False) -> bool:
    """Whether `write_unless_different` would write; the same errors."""
    if os.path.lexists(file):
        # Compared as text: the order of entries matters for draws, and 30 is not 30.0 in an HRIR's name.
        try:
            present = json.dumps(read_json(file))
        except (MetadataError, RecursionError):
            present = None
        if present == json.dumps(json.loads(text)):
            return False
        if not force:
            raise UsageError(f"{file}: already exists with different content (use --force to replace it)")
    return True


def back_up(file: Path) -> Path | None:
    """Keep the present `file` also as ``<file>.1``, or the next free number; returns that path, None without a file.

    Raises
    ------
    CadrenderError
        If no copy can be made.
    """
    if not os.path.lexists(file):
        return None
    with _named(file, "cannot keep a backup"):
        number = 1
        while os.path.lexists(backup := file.with_name(f"{file.name}.{number}")):
            number += 1
        try:  # a second name for the same file costs nothing
            backup.hardlink_to(file)
        except FileExistsError:  # made meanwhile by another process
            return back_up(file)
        except OSError:  # a file system without hard links
            shutil.copy2(file, backup, follow_symlinks=False)
        return backup
