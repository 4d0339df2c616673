"""Loudness of stems before and after each head: measured once, kept beside the metadata.

One JSON object per line: a stem's file with its digest and loudness, and the loudness of its convolution with some
pairs of HRIRs. Both are looked up by digest, so a changed file is noticed and a moved one is not measured again; a
stem's digest stays valid while its size and mtime do not change.

Lines are appended as in a manifest. Each begins with a digest of its rest; readers skip damaged lines, and their
levels are measured again, as those of a record whose gain does not follow from them. See section 12 of
``docs/contract.md``.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from cadrender.cache import cache_directory
from cadrender.errors import AudioError, CadrenderError
from cadrender.store.manifest import (
    Input,
    Manifest,
    append_lines,
    level_from_json,
    level_to_json,
    relative_name,
)

FORMAT = 2
"""Format of a line; other formats are skipped."""

NAME = "levels.jsonl"

# Hexadecimal digits of a line's digest.
_DIGITS = 16

# Relative difference between powers of ten by different C libraries.
_ROUNDING = 5e-16


def head_key(left: str, right: str) -> str:
    """The key of a pair of HRIRs, from their digests."""
    return f"{left[:16]}{right[:16]}"


@dataclass(frozen=True)
class LevelFiles:
    """Where levels are kept; picklable, and :meth:`open` gives the same levels in another process.

    Attributes
    ----------
    folder : pathlib.Path
        The metadata folder.
    base : pathlib.Path
        The root, to which the stems' paths are relative.
    manifests : tuple of pathlib.Path
        Manifests of at-mic music, whose levels are used too.
    """

    folder: Path
    base: Path
    manifests: tuple[Path, ...] = ()

    def open(self) -> "LevelBook":
        """This process's book of these levels, read on first use."""
        with _books_lock:
            if self not in _books:
                _books[self] = LevelBook(self)
            return _books[self]


_books: dict[LevelFiles, "LevelBook"] = {}
_books_lock = Lock()


def _renew_locks() -> None:
    """Replace the locks after a fork: one held by another thread would stay locked in the child forever."""
    global _books_lock
    _books_lock = Lock()
    for book in _books.values():
        book.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


class LevelBook:
    """The known levels, by content; thread-safe.

    Parameters
    ----------
    files : LevelFiles
    """

    def __init__(self, files: LevelFiles) -> None:
        self._manifest = Manifest(files.folder / NAME, files.base)
        fallback = hashlib.md5(str(files.folder).encode(), usedforsecurity=False).hexdigest()
        self.places = [files.folder / NAME]
        if cache := cache_directory():
            self.places.append(cache / "levels" / f"{fallback}.jsonl")
        self._read_to: dict[Path, tuple[int, bytes]] = {}
        self._sources: dict[str, Input] = {}
        self._before: dict[str, float] = {}
        self._after: dict[str, dict[str, float]] = {}
        self._lock = Lock()
        for manifest in files.manifests:
            self._take_manifest(Manifest(manifest, files.base))

    def renew_lock(self) -> None:
        """Replace the lock in the child of a fork."""
        self._lock = Lock()

    def _take_manifest(self, manifest: Manifest) -> None:
        for record in manifest.read().values():
            source, left, right = map(record.inputs.get, ("source", "left_hrir", "right_hrir"))
            before, after, gain = map(record.levels.get, ("loudness_before", "loudness_after", "gain"))
            if record.product != "at-mic" or before is None or after is None or gain is None:
                continue
            # The line may be damaged, and what is read with these levels is not verified.
            if not math.isclose(gain, _gain(before, after), rel_tol=_ROUNDING):
                continue
            if isinstance(source, Input) and isinstance(left, Input) and isinstance(right, Input):
                self._take(source, before, {head_key(left.digest, right.digest): after})

    def _take(self, source: Input, before: float, after: Mapping[str, float]) -> None:
        self._sources[source.path] = source
        self._before[source.digest] = before
        self._after.setdefault(source.digest, {}).update(after)

    def look_at(self, file: Path, state: tuple[int, int] | None = None) -> Input:
        """Digest a stem's file, unless its digest is known and its size and mtime are unchanged.

        Parameters
        ----------
        file : pathlib.Path
        state : (int, int), optional
            Its size and mtime, if known to the caller.

        Raises
        ------
        AudioError
            If it cannot be read, or no longer has that size and mtime.
        """
        if state is None:
            now = self._manifest.stat(file)
            state = now.bytes, now.mtime_ns
        name = relative_name(file, self._manifest.base)
        for refreshed in (False, True):
            with self._lock:
                known = self._sources.get(name)
            if known and (known.bytes, known.mtime_ns) == state:
                return known
            if not refreshed:
                self.refresh()
        seen = self._manifest.look_at(file)
        if (seen.bytes, seen.mtime_ns) != state:
            raise AudioError(f"{file}: changed while it was being read")
        with self._lock:
            self._sources[seen.path] = seen
        return seen

    def known_source(self, file: Path) -> Input | None:
        """A stem's file with its known digest, without reading it; None if it is new, changed or missing."""
        with self._lock:
            known = self._sources.get(relative_name(file, self._manifest.base))
        try:
            status = file.stat()
        except OSError:
            return None
        same = known and (known.bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return known if same else None

    def level(self, source: Input, head: str) -> tuple[float, float] | None:
        """LUFS of a stem before and after a pair of HRIRs; None if unknown.

        Parameters
        ----------
        source : Input
            The stem's file.
        head : str
            The pair's :func:`head_key`.
        """
        for refreshed in (False, True):
            with self._lock:
                after = self._after.get(source.digest, {}).get(head)
                if after is not None:
                    return self._before[source.digest], after
            if not refreshed:
                self.refresh()
        return None

    def missing(self, source: Input, heads: Iterable[str]) -> list[str]:
        """The pairs of HRIRs for which a stem's level is unknown."""
        with self._lock:
            known = self._after.get(source.digest, {})
            return [head for head in heads if head not in known]

    def refresh(self) -> None:
        """Read what this and other processes have appended since the last call."""
        for place in self.places:
            with contextlib.suppress(OSError), place.open("rb") as stream:
                offset, last = self._read_to.get(place, (0, b""))
                stream.seek(max(0, offset - len(last)))
                # A file that replaced it may have the same size and even the same inode.
                if stream.read(len(last)) != last:
                    offset = stream.seek(0)
                whole, newline, _ = stream.read().rpartition(b"\n")
                if not newline:
                    continue
                lines = whole.split(b"\n")
                with self._lock:
                    for line in lines:
                        self._take_line(line)
                    self._read_to[place] = offset + len(whole) + 1, lines[-1] + newline

    def _take_line(self, line: bytes) -> None:
        line = _proven(line)
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            fields = json.loads(line)
            if fields["levels"] != FORMAT:
                return
            source = Input(*(fields["source"][name] for name in ("path", "bytes", "mtime_ns", "blake3")))
            after = {str(head): level_from_json(value) for head, value in fields["after"].items()}
            self._take(source, level_from_json(fields["before"]), after)

    def add(
        self, source: Input, before: float, after: Mapping[str, float], *, keep: bool = True
    ) -> Path | None:
        """Save measured levels.

        Parameters
        ----------
        source : Input
            The stem's file.
        before : float
            LUFS of the stem; minus infinity for silence.
        after : mapping of str to float
            LUFS for each pair of HRIRs.
        keep : bool
            Whether to write them; otherwise only this process knows.

        Returns
        -------
        pathlib.Path or None
            Where they were written: beside the metadata if possible, else in the user's cache.

        Raises
        ------
        CadrenderError
            If they can be written in neither place; this process knows them all the same.
        """
        with self._lock:
            self._take(source, before, after)
        if not keep:
            return None
        line = json.dumps(
            {
                "levels": FORMAT,
                "source": {
                    "path": source.path,
                    "bytes": source.bytes,
                    "mtime_ns": source.mtime_ns,
                    "blake3": source.digest,
                },
                "before": level_to_json(before),
                "after": {head: level_to_json(value) for head, value in after.items()},
            }
        )
        reasons = []
        for place in self.places:
            try:
                if place is not self.places[0]:
                    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                append_lines(place, [f"{_with_digest(line)}\n"])
            except OSError as error:
                reasons.append(f"{place}: cannot be written: {error.strerror or error}")
            else:
                return place
        raise CadrenderError("; ".join(reasons))


def _gain(before: float, after: float) -> float:
    """The gain that `generate` records with these levels."""
    silent = not (math.isfinite(before) and math.isfinite(after))
    with contextlib.suppress(OverflowError):
        return 0.0 if silent else 10.0 ** ((before - after) / 20.0)
    return math.inf


def _with_digest(line: str) -> str:
    return f'{{"digest": "{_digest(line.encode())}", {line[1:]}'


def _proven(line: bytes) -> bytes:
    """A line without its digest; nothing if that does not fit."""
    start = len('{"digest": "')
    rest = b"{" + line[start + _DIGITS + len('", ') :]
    return rest if line[start : start + _DIGITS].decode(errors="replace") == _digest(rest) else b""


def _digest(line: bytes) -> str:
    return hashlib.md5(line, usedforsecurity=False).hexdigest()[:_DIGITS]
