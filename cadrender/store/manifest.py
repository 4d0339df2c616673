"""The manifest of a data set: what every at-mic file should hold, and what it was made from.

A text file of one JSON object a line, one line an at-mic file; the last line of a path is the one that
counts. A line is appended *before* its file is moved into place, so that a kill at any moment leaves no file
without a line; a line whose file never came is harmless, for the file is missing and will be rendered, to the
same bytes.

Lines are appended under an exclusive lock (``flock``, which works between machines where the shared file
system has locks; ``O_APPEND`` alone would not do on NFS). A line torn by a power cut is ignored by readers
and closed off by the next writer.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import AudioError, CadrenderError
from cadrender.store.atomic import AtomicFile, lock_and_wait, same_file
from cadrender.store.digest import digest_of

# A manifest is rewritten when it has more than this many lines for each path.
_SLACK = 2


@dataclass(frozen=True)
class Input:
    """A file that an at-mic file was rendered from, as it was then.

    Attributes
    ----------
    path : str
        Relative to the songs' or the HRIRs' folder, with ``/``; absolute if it lies elsewhere.
    bytes, mtime_ns : int
        Size and time of the last change.
    digest : str
        BLAKE3 of its bytes.
    """

    path: str
    bytes: int
    mtime_ns: int
    digest: str


@dataclass(frozen=True)
class Entry:
    """A line of a manifest.

    Attributes
    ----------
    path : str
        The at-mic file, relative to the output folder, with ``/``.
    bytes, frames : int
        Its size and its length.
    digest : str
        BLAKE3 of its bytes.
    before, after : float
        LUFS of the stem and of its convolution; minus infinity for silence.
    gain : float
        The factor applied; 0 where the file is digital silence.
    clipped : int
        Samples that had to be clipped.
    start : int
        First frame of the source that was rendered.
    source, left_hrir, right_hrir : Input
        What it was rendered from.
    version : str
        The cadrender that rendered it.
    """

    path: str
    bytes: int
    frames: int
    digest: str
    before: float
    after: float
    gain: float
    clipped: int
    start: int
    source: Input
    left_hrir: Input
    right_hrir: Input
    version: str


@dataclass(frozen=True)
class Manifest:
    """Where a manifest is, and the folders that its paths are relative to.

    Attributes
    ----------
    file : pathlib.Path
    output_dir, music_dir, hrtf_dir : pathlib.Path
        The folders of the at-mic music, of the songs and of the HRIRs.
    """

    file: Path
    output_dir: Path
    music_dir: Path
    hrtf_dir: Path


def manifest_file(output_music_file: Path) -> Path:
    """The manifest beside a list of at-mic music: ``at_mic_music.train.manifest.jsonl``."""
    return output_music_file.with_name(f"{output_music_file.name.removesuffix('.json')}.manifest.jsonl")


def relative_name(file: Path, folder: Path) -> str:
    """How a manifest calls a file."""
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()


def look_at_input(file: Path, folder: Path, advance=lambda count: None) -> Input:
    """Digest a source or an HRIR.

    Parameters
    ----------
    file : pathlib.Path
    folder : pathlib.Path
        What its name is relative to.
    advance : callable
        Told the bytes read since the last call.

    Raises
    ------
    AudioError
        If it cannot be read, or changes meanwhile.
    """
    try:
        before = file.stat()
        digest = digest_of(file, advance)
    except FileNotFoundError as error:
        raise AudioError(f"{file}: no such file") from error
    except OSError as error:
        raise AudioError(f"{file}: cannot be read: {error.strerror or error}") from error
    seen = Input(relative_name(file, folder), before.st_size, before.st_mtime_ns, digest)
    check_unchanged(file, seen)
    return seen


def check_unchanged(file: Path, seen: Input) -> None:
    """See that a file is still the one that was digested.

    Raises
    ------
    AudioError
        If its size or time has changed, or it is gone.
    """
    with contextlib.suppress(OSError):
        now = file.stat()
        if (now.st_size, now.st_mtime_ns) == (seen.bytes, seen.mtime_ns):
            return
    raise AudioError(f"{file}: changed while it was being read")


def read_manifest(file: Path) -> dict[str, Entry]:
    """Read a manifest.

    Parameters
    ----------
    file : pathlib.Path
        A missing one holds nothing.

    Returns
    -------
    dict
        Path to Entry. Lines that are damaged, or that another program wrote, are left out.

    Raises
    ------
    CadrenderError
        If the file is there and cannot be read.
    """
    entries = {}
    for line in read_lines(file):
        entry = _parse(line)
        if entry is not None:
            entries[entry.path] = entry
    return entries


def read_lines(file: Path) -> list[bytes]:
    """Read the lines of a manifest or its like; a missing file has none.

    Raises
    ------
    CadrenderError
        If the file is there and cannot be read.
    """
    try:
        return file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CadrenderError(f"{file}: cannot be read: {error.strerror or error}") from error


def append_entries(file: Path, entries: Iterable[Entry]) -> None:
    """Append entries to a manifest; as :func:`append_lines`."""
    append_lines(file, [_format(entry) for entry in entries])


def append_lines(file: Path, lines: Iterable[str]) -> None:
    """Append lines to a file that several processes append to, all of them or none.

    Parameters
    ----------
    file : pathlib.Path
    lines : iterable of str
        Each with a newline at its end.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    data = "".join(lines).encode()
    with _opened(file) as descriptor:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        view = memoryview(data)
        try:
            while len(view):
                view = view[os.write(descriptor, view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)
            error.filename = str(file)
            raise


@contextlib.contextmanager
def _opened(file):
    """Open a manifest for appending and lock it; another process may be replacing it at the same time."""
    flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        descriptor = os.open(file, flags, 0o666)
        try:
            lock_and_wait(descriptor)
            if same_file(descriptor, file):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def compact(file: Path) -> bool:
    """Rewrite a manifest with one line a path, if many of its lines no longer count.

    Returns
    -------
    bool
        Whether it was rewritten.

    Raises
    ------
    CadrenderError
        If it cannot be.
    """
    if sum(map(bool, read_lines(file))) <= _SLACK * len(read_manifest(file)):
        return False
    try:
        with _opened(file):  # nobody appends meanwhile
            entries = read_manifest(file)
            with AtomicFile(file) as rewritten:
                rewritten.write("".join(_format(entry) for entry in entries.values()).encode())
                rewritten.commit()
    except OSError as error:
        raise CadrenderError(f"{file}: cannot be written: {error.strerror or error}") from error
    return True


def _format(entry):
    return (
        json.dumps(
            {
                "path": entry.path,
                "bytes": entry.bytes,
                "frames": entry.frames,
                "blake3": entry.digest,
                "loudness_before": entry.before if math.isfinite(entry.before) else None,
                "loudness_after": entry.after if math.isfinite(entry.after) else None,
                "gain": entry.gain,
                "clipped": entry.clipped,
                "start": entry.start,
                "source": _input_json(entry.source),
                "hrirs": [_input_json(entry.left_hrir), _input_json(entry.right_hrir)],
                "cadrender": entry.version,
            }
        )
        + "\n"
    )


def _input_json(of):
    return {"path": of.path, "bytes": of.bytes, "mtime_ns": of.mtime_ns, "blake3": of.digest}


def _parse(line):
    """The entry of a line, None if it is not one."""
    try:
        fields = json.loads(line)
        left, right = fields["hrirs"]
        return Entry(
            path=_typed(fields["path"], str),
            bytes=_typed(fields["bytes"], int),
            frames=_typed(fields["frames"], int),
            digest=_typed(fields["blake3"], str),
            before=_loudness(fields["loudness_before"]),
            after=_loudness(fields["loudness_after"]),
            gain=_typed(fields["gain"], float),
            clipped=_typed(fields["clipped"], int),
            start=_typed(fields["start"], int),
            source=_parse_input(fields["source"]),
            left_hrir=_parse_input(left),
            right_hrir=_parse_input(right),
            version=_typed(fields["cadrender"], str),
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _parse_input(fields):
    return Input(
        _typed(fields["path"], str),
        _typed(fields["bytes"], int),
        _typed(fields["mtime_ns"], int),
        _typed(fields["blake3"], str),
    )


def _typed(value, kind):
    if type(value) is not kind:
        raise TypeError
    return value


def _loudness(value):
    return -math.inf if value is None else _typed(value, float)
