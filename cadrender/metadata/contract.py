"""What all metadata files have in common: JSON that is read strictly, and names that are safe on a disk."""

import contextlib
import difflib
import functools
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path

from cadrender.errors import MetadataError

_LONGEST_NAME = 255  # bytes; NAME_MAX of the file systems in use
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _RefusedError(ValueError):
    """JSON that Python would read, and the contract does not allow."""


@contextlib.contextmanager
def collecting(problems: list[str] | None):
    """Check one item of a file: put what is wrong with it on a list and go on, or, without one, raise it."""
    try:
        yield
    except MetadataError as error:
        if problems is None:
            raise
        problems.append(str(error))


def read_json(file: Path, problems: list[str] | None = None) -> object:
    """Read a UTF-8 JSON file, without what JSON itself forbids or leaves open.

    NaN, infinities and an object that holds a key twice are refused. Numbers stay as they are written: ``30``
    is an int, ``30.0`` a float.

    Parameters
    ----------
    file : pathlib.Path
    problems : list of str, optional
        Where given, a key that stands twice is told here, and its last value taken.

    Raises
    ------
    MetadataError
        For a file that is missing, unreadable or not such JSON; it names the file and the place.
    """
    try:
        text = Path(file).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise MetadataError(f"{file}: cannot read the file: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MetadataError(f"{file}: not UTF-8 text: bad byte at offset {error.start}") from error
    except ValueError as error:
        raise MetadataError(f"{shown(str(file))}: not a file name: {error}") from error
    try:
        return json.loads(
            text,
            object_pairs_hook=functools.partial(_unique, file, problems),
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise MetadataError(f"{file}: not valid JSON at {place}: {error.msg}") from error
    except _RefusedError as error:
        raise MetadataError(f"{file}: {error}") from error
    except ValueError as error:  # an integer with more digits than Python converts
        raise MetadataError(f"{file}: a number with too many digits") from error
    except RecursionError as error:
        raise MetadataError(f"{file}: nested too deeply") from error


def _unique(file: Path, problems: list[str] | None, pairs: list[tuple[str, object]]) -> dict:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        seen = set()
        for twice in [key for key, _ in pairs if key in seen or seen.add(key)]:
            if problems is None:
                raise _RefusedError(f"{shown(twice)} stands twice in one object")
            problems.append(f"{file}: {shown(twice)} stands twice in one object")
    return entries


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {text[:40]} is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise _RefusedError(f"{text} is not a number that JSON knows")


def read_entries(file: Path, what: str, problems: list[str] | None = None) -> dict[str, object]:
    """Read a JSON file that is one object, its keys being safe names of a `what` each.

    With a list of `problems`, entries of other names are told there and left out.
    """
    entries = read_json(file, problems)
    if not isinstance(entries, dict):
        raise MetadataError(f"{file}: holds {kind_of(entries)}, not an object with one entry per {what}")
    safe = {}
    for name, entry in entries.items():
        with collecting(problems):
            safe[check_name(name, file, f"{what} id")] = entry
    return safe


def check_object(value: object, file: Path, what: str) -> dict:
    """Return `value` if it is a JSON object, or say that the item `what` of `file` is none."""
    if not isinstance(value, dict):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not an object")
    return value


def check_list(value: object, file: Path, what: str) -> list:
    """Return `value` if it is a JSON array, or say that the item `what` of `file` is none."""
    if not isinstance(value, list):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a list")
    return value


def check_text(value: object, file: Path, what: str) -> str:
    """Return `value` if it is Unicode text, or say that the item `what` of `file` is none."""
    if not isinstance(value, str):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a text")
    if not _is_unicode(value):
        raise MetadataError(f"{file}: {what} {shown(value)} is not valid Unicode")
    return value


def check_number(value: object, file: Path, what: str) -> int | float:
    """Return `value` if it is a finite number, or say that the item `what` of `file` is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise MetadataError(f"{file}: {what} is not a finite number")
    return value


def field(entry: dict, key: str, file: Path, what: str) -> object:
    """Return ``entry[key]``, or say that the item `what` of `file` lacks it."""
    if key not in entry:
        raise MetadataError(f"{file}: {what} has no {shown(key)}{near(key, entry)}")
    return entry[key]


def check_name(value: object, file: Path, what: str) -> str:
    """Return `value` if it is safe as the name of one file or folder.

    Such a name never leads out of the folder it is used in, whatever the system: no separator, not ``.`` or
    ``..``, no control character, at most 255 bytes of UTF-8. Spaces, dots, quotes and letters of any script
    are fine.

    Raises
    ------
    MetadataError
        Naming `file`, the item (`what`) and the value.
    """
    name = check_text(value, file, what)
    if not name:
        problem = "is empty"
    elif "/" in name or "\\" in name:
        problem = "holds a path separator"
    elif name in (".", ".."):
        problem = "is no name of its own"
    elif _CONTROL.search(name):
        problem = "holds a control character"
    elif len(name.encode()) > _LONGEST_NAME:
        problem = f"is longer than a file name may be ({_LONGEST_NAME} bytes)"
    else:
        return name
    raise MetadataError(f"{file}: {what} {shown(name)} {problem}")


def is_safe_name(name: str) -> bool:
    """Tell whether `check_name` would accept `name`."""
    try:
        check_name(name, Path(), "name")
    except MetadataError:
        return False
    return True


def check_path(value: object, file: Path, what: str) -> str:
    """Return `value` if it is a relative path of safe names (see `check_name`) joined by ``/``."""
    path = check_text(value, file, what)
    if path.startswith("/"):
        raise MetadataError(
            f"{file}: {what} {shown(path)} is absolute; it must be relative, such as train/Song"
        )
    try:
        for part in path.split("/"):
            check_name(part, file, what)
    except MetadataError as error:
        raise MetadataError(f"{file}: {what} {shown(path)} is not made of plain names joined by /") from error
    return path


def near(name: str, known: Iterable[str]) -> str:
    """Say which of the `known` names are near `name`, as an addition to a message; nothing when none is."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f"; near ones: {', '.join(shown(match) for match in matches)}" if matches else ""


def shown(value: object) -> str:
    """Show a value in a message: on one line, printable, and not more of it than one wants to read."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def kind_of(value: object) -> str:
    """Name what a JSON value is, in JSON's words; short texts and numbers as they stand."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, int) and value.bit_length() > 300:
        return "a huge number"
    return f"the number {value}"


def _is_unicode(text: str) -> bool:
    """Tell whether `text` can be encoded: JSON's escapes can name half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
