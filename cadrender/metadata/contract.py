"""What all metadata files share: JSON that is read strictly, and names that are safe on a disk."""

import contextlib
import difflib
import functools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cadrender.errors import MetadataError

_LONGEST_NAME = 255  # bytes; NAME_MAX of the file systems in use
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class _RefusedError(ValueError):
    """JSON that Python would read but the contract does not allow."""


@contextlib.contextmanager
def collecting(problems: list[str] | None) -> Iterator[None]:
    """Append a MetadataError about one item to a list of problems; without a list, raise it."""
    try:
        yield
    except MetadataError as error:
        if problems is None:
            raise
        problems.append(str(error))


def read_json(file: Path, problems: list[str] | None = None) -> object:
    """Read a UTF-8 JSON file strictly: NaN, infinities and duplicate keys are refused.

    Numbers stay as they are written: ``30`` is an int, ``30.0`` a float.

    Parameters
    ----------
    file : pathlib.Path
    problems : list of str, optional
        If given, duplicate keys are reported here and their last value is used.

    Raises
    ------
    MetadataError
        If the file is missing, unreadable or not such JSON; it names the file and the place.
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


def _unique(file: Path, problems: list[str] | None, pairs: list[tuple[str, object]]) -> dict[str, object]:
    entries: dict[str, object] = {}
    for key, value in pairs:
        if key in entries:
            problem = f"duplicate key {shown(key)}"
            if problems is None:
                raise _RefusedError(problem)
            problems.append(f"{file}: {problem}")
        entries[key] = value
    return entries


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {text[:40]} is too large")
    return value


def _refuse_constant(text: str) -> float:
    raise _RefusedError(f"{text} is not a JSON number")


def read_entries(file: Path, what: str, problems: list[str] | None = None) -> dict[str, object]:
    """Read a JSON file that is one object whose keys are safe names, each of a `what`.

    With a list of `problems`, entries with other names are reported there and left out.
    """
    entries = read_json(file, problems)
    if not isinstance(entries, dict):
        raise MetadataError(f"{file}: holds {kind_of(entries)}, not an object with one entry per {what}")
    safe = {}
    for name, entry in entries.items():
        with collecting(problems):
            safe[check_name(name, file, f"{what} id")] = entry
    return safe


def check_object(value: object, file: Path, what: str) -> dict[str, object]:
    """Return `value` if it is a JSON object; else a MetadataError names `file` and the item `what`."""
    if not isinstance(value, dict):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not an object")
    return value


def check_list(value: object, file: Path, what: str) -> list[object]:
    """Return `value` if it is a JSON array; else a MetadataError names `file` and the item `what`."""
    if not isinstance(value, list):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a list")
    return value


def check_text(value: object, file: Path | str, what: str) -> str:
    """Return `value` if it is Unicode text; else a MetadataError names `file` and the item `what`."""
    if not isinstance(value, str):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a text")
    if not _is_unicode(value):
        raise MetadataError(f"{file}: {what} {shown(value)} is not valid Unicode")
    return value


def check_number(value: object, file: Path, what: str) -> int | float:
    """Return `value` if it is a finite number; else a MetadataError names `file` and the item `what`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MetadataError(f"{file}: {what} is {kind_of(value)}, not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise MetadataError(f"{file}: {what} is not a finite number")
    return value


def field(entry: Mapping[str, object], key: str, file: Path, what: str) -> object:
    """Return ``entry[key]``; else a MetadataError says that the item `what` of `file` lacks it."""
    if key not in entry:
        raise MetadataError(f"{file}: {what} has no {shown(key)}{near(key, entry)}")
    return entry[key]


def check_name(value: object, file: Path | str, what: str) -> str:
    """Return `value` if it is safe as the name of one file or folder.

    Such a name never leads out of its folder on any system: no separator, not ``.`` or ``..``, no control character,
    at most 255 bytes of UTF-8. Spaces, dots, quotes and letters of any script are fine.

    Raises
    ------
    MetadataError
        Naming `file` (or other origin), the item (`what`) and the value.
    """
    name = check_text(value, file, what)
    if not name:
        problem = "is empty"
    elif "/" in name or "\\" in name:
        problem = "holds a path separator"
    elif name in (".", ".."):
        problem = "is not a name"
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
    """An addition to a message that lists the `known` names similar to `name`; empty if there are none."""
    matches = difflib.get_close_matches(name, list(known), n=3)
    return f"; near ones: {', '.join(shown(match) for match in matches)}" if matches else ""


def shown(value: object) -> str:
    """A value as messages show it: printable, on one line, at most 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def kind_of(value: object) -> str:
    """Describe a JSON value in JSON's words: "a list", "null", "the number 3"."""
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
