"""A root's files, mounted: the tree that ``generate`` and ``remix`` would write, rendered as it is read (FUSE).

Nothing is written and no disk space is used. Readers get two guarantees:

* The bytes are those of the file that would be written, header included, at every position; in PCM_24 and FLOAT files
  a value may differ by a rounding.
* All data read through one open file come from the same inputs. When a source or an HRIR changes, files already open
  that depend on it give EIO for anything not yet rendered; reopening gives the new content. Metadata are read once, at
  mount time.

Files of a damaged song are listed and give EIO; all others keep working.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.songs import check_hrirs
from cadrender.catalogue.targets import TargetCatalogue
from cadrender.config import Settings
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.samples import at_mic_json
from cadrender.mount.blocks import BLOCK, BlockCache, MountedFile, state_of
from cadrender.mount.listing import fuse_class
from cadrender.mount.operations import Operations
from cadrender.mount.places import KIND, claimed, failed, load_fuse, set_readahead, unmount, what_libfuse_says
from cadrender.pipeline.pool import usable_cpus
from cadrender.signals.at_mic import AtMic
from cadrender.store import AtomicFile, AudioFormat, ClaimedError
from cadrender.store.audio import exact_dtype

_log = logging.getLogger("cadrender")

CACHE = 512 << 20
"""Default size of the cache of rendered blocks, in bytes."""

# Kibibytes of kernel read-ahead; more than one request holds gains nothing.
_READAHEAD = 2048

# Bytes of address space that must be left: at the start, and beside the cache for rendering.
_TO_BEGIN = 1 << 30
_TO_RENDER = 384 << 20

# Part lengths, in frames, read of each song and at each head to begin with: other lengths use other windows.
_WARMED = (1024, 8192, 131072)

# Seconds between checks of the parent process, and to wait for a session to end.
_WATCH = 0.5
_PATIENCE = 10.0


@dataclass(frozen=True)
class Tree:
    """What is mounted at one place.

    Attributes
    ----------
    place : pathlib.Path
    catalogues : tuple of AtMicCatalogue or TargetCatalogue
        Everything shown there.
    lists : tuple of (pathlib.Path, str)
        Lists of its files, written while it is mounted: path and text of each.
    """

    place: Path
    catalogues: tuple[AtMicCatalogue | TargetCatalogue, ...]
    lists: tuple[tuple[Path, str], ...] = ()


def trees_of(
    settings: Sequence[Settings],
    place: Path | None = None,
    *,
    heads: str = "scenes",
    audio_format: AudioFormat | None = None,
    remix: bool = False,
) -> list[Tree]:
    """The trees to mount for a root.

    Parameters
    ----------
    settings : sequence of Settings
        Of the root, one per split.
    place : pathlib.Path, optional
        Where to show the at-mic music; by default where ``generate`` writes it, in which case its list is written too.
    heads : {"scenes", "all"}
        As for :class:`cadrender.catalogue.at_mic.AtMicCatalogue`.
    audio_format : AudioFormat, optional
        Of all files; by default WAV, with the recorded subtype or PCM_16.
    remix : bool
        Whether to show the targets too, where ``remix`` writes them; they are mixed from 16-bit at-mic stems.

    Raises
    ------
    UsageError
        If metadata or an HRIR cannot be used, or FLAC is requested.
    """
    found: dict[Path, Tree] = {}

    def add(where: Path, catalogue: AtMicCatalogue | TargetCatalogue, *lists: tuple[Path, str]) -> None:
        tree = found.get(where, Tree(where, ()))
        found[where] = Tree(where, (*tree.catalogues, catalogue), (*tree.lists, *lists))

    for each in settings:
        usual = place is None or os.path.realpath(place) == os.path.realpath(each.output_music_dir)
        # Where the at-mic music is mounted none is stored, and nothing here may read from its own mount.
        apart = replace(each, output_music_dir=Path(os.devnull)) if usual else each
        chosen = AtMicCatalogue(apart, audio_format=audio_format).format
        if chosen.container != "wav":
            raise UsageError("a FLAC file's size is not known before it is encoded: mount with --format wav")
        catalogue = AtMicCatalogue(apart, audio_format=chosen, heads=heads)
        check_hrirs(each, catalogue.samples)
        listed = usual or any(key == "path.output_music_file" for key, _ in each.given)
        lists = ((each.output_music_file, at_mic_json(catalogue.samples)),) if listed else ()
        add(place or each.output_music_dir, catalogue, *lists)
        if remix:
            add(each.output_remix_dir, TargetCatalogue(apart, audio_format=chosen))
    return list(found.values())


class Mount:
    """Trees that stay mounted for the duration of the context.

    They are for other processes. This one must not touch a page of a memory-mapped file of the tree: it would hold
    the GIL while waiting for it.

    Parameters
    ----------
    trees : sequence of Tree
    cache : int
        Size of the cache of rendered blocks, in bytes.
    threads : int, optional
        Number of threads rendering ahead of sequential readers; default: all usable CPUs.
    allow_other : bool
        Whether other users may read too.
    signals : bool
        Whether SIGINT, SIGTERM and SIGHUP end :meth:`wait`; in the main thread only.
    say : callable
        Called with one line per problem; default: a warning in the log called ``cadrender``.

    Raises
    ------
    UsageError
        If a place cannot be used, or FUSE is missing.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        *,
        cache: int = CACHE,
        threads: int | None = None,
        allow_other: bool = False,
        signals: bool = False,
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self._trees, self._allow_other, self._say, self._signals = trees, allow_other, say, signals
        self._cache = BlockCache(max(cache, 2 * BLOCK), threads or usable_cpus())
        self._wake = self._waker = -1
        self._stopped: list[int] = []
        self._sessions: list[_Session] = []
        self._cold = threading.Event()

    def __enter__(self) -> Mount:
        fuse = load_fuse()
        with contextlib.ExitStack() as stack:
            places = [stack.enter_context(claimed(tree.place)) for tree in self._trees]
            self._wake, self._waker = os.pipe()
            stack.callback(os.close, self._wake)
            stack.callback(os.close, self._waker)
            stack.callback(self._cache.close)
            _check_memory(_TO_BEGIN)
            self._warm_up()
            self._cache.limit = min(self._cache.limit, _check_memory(_TO_RENDER + 2 * BLOCK) - _TO_RENDER)
            if self._signals:
                stack.enter_context(_caught(self._stopped, self._waker))
            for tree, place in zip(self._trees, places, strict=True):
                session = _Session(fuse, place, tree.catalogues, self._cache, self._say, self._waker)
                stack.callback(session.end)
                session.begin(self._allow_other)
                self._sessions.append(session)
            warming = threading.Thread(target=self._go_on_warming_up, name="warm-up", daemon=True)
            stack.callback(warming.join)
            stack.callback(self._cold.clear)
            self._cold.set()
            warming.start()
            for tree in self._trees:
                for file, text in tree.lists:
                    stack.enter_context(_listed(file, text, self._say))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def mounted(self) -> bool:
        """Whether all trees still are: another process may unmount them."""
        return all(session.running for session in self._sessions)

    def wait(self, parent: int | None = None) -> None:
        """Wait until a tree is unmounted or, if they are caught, for a signal.

        Parameters
        ----------
        parent : int, optional
            Parent process whose exit also ends the wait, unless SIGHUP is ignored (``nohup``).
        """
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            parent = None
        while self.mounted and not self._stopped and parent in (None, os.getppid()):
            if select.select([self._wake], [], [], _WATCH)[0]:
                os.read(self._wake, 64)

    def describe(self) -> str:
        """A one-line summary of what has been read so far."""
        opened = sum(session.operations.opened for session in self._sessions)
        cache = self._cache
        megabytes = (cache.rendered * BLOCK + cache.filled) / 1e6
        return f"{opened} files opened, {megabytes:.0f} MB rendered, {cache.found} blocks found in the cache"

    def _warm_up(self) -> None:
        """Compile and plan what reading needs, with the first readable file.

        All of it: a mount cannot end while it compiles.
        """
        for tree in self._trees:
            for catalogue in tree.catalogues:
                for path in _files(catalogue):
                    with contextlib.suppress(CadrenderError):
                        output = catalogue.find(path)
                        file = MountedFile(output, state_of(output.signal))
                        file.render(np.empty(min(BLOCK, file.size), np.uint8), 0)
                        break

    def _go_on_warming_up(self) -> None:
        """Look at each song and prepare each head, so that no reader has to wait for it; nothing is measured."""
        known: set[str] = set()
        catalogues = [catalogue for tree in self._trees for catalogue in tree.catalogues]
        for catalogue in (each for each in catalogues if isinstance(each, AtMicCatalogue)):
            for sample in catalogue.samples:
                if not self._cold.is_set():
                    return
                new = {sample.source, sample.position.id} - known
                known |= new
                try:
                    for number, stem in enumerate(catalogue.song(sample).files if new else ()):
                        signal = catalogue.output(sample, stem).signal
                        wanted = number == 0 or sample.source in new
                        if wanted and isinstance(signal, AtMic) and signal.is_measured:
                            for frames in _WARMED if number == 0 else (1,):
                                signal.read(0, frames, exact_dtype(signal.subtype))
                except CadrenderError:  # reported on reading, unless repaired by then
                    catalogue.look_again()


@contextlib.contextmanager
def _caught(stopped: list[int], waker: int) -> Iterator[None]:
    """Note termination signals and wake the waiter; ignored signals stay ignored."""
    os.set_blocking(waker, False)
    wakeup = signal.set_wakeup_fd(waker)
    handlers = {
        number: signal.signal(number, lambda number, frame: stopped.append(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)


class _Session:
    """A mounted tree, served by libfuse threads."""

    def __init__(
        self,
        fuse: ModuleType,
        place: Path,
        catalogues: Sequence[AtMicCatalogue | TargetCatalogue],
        cache: BlockCache,
        say: Callable[[str], None],
        waker: int,
    ) -> None:
        self.operations = Operations(catalogues, cache, say, fuse.fuse_exit)
        self._fuse, self._place, self._waker = fuse, place, waker
        self._thread = threading.Thread(target=self._serve, name="mount", daemon=True)
        self._options: dict[str, object] = {}
        self._error: Exception | None = None

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def begin(self, allow_other: bool) -> None:
        """Mount; return once the tree is usable."""
        options = self._options = {"ro": True, "fsname": KIND, "default_permissions": True}
        if allow_other:
            options["allow_other"] = True
        version = self._fuse.fuse_version_major, self._fuse.fuse_version_minor
        if version >= (3, 12):
            options["max_threads"] = 10
        if sys.platform == "linux":
            options["subtype"] = KIND
        here = Path.cwd()
        with what_libfuse_says() as said:
            self._thread.start()
            while not self.operations.begun.wait(0.01) and self._thread.is_alive():
                pass
            reason = said()
        os.chdir(here)  # libfuse changes to /
        if not self.operations.begun.is_set():
            raise failed(self._place, reason or str(self._error or ""))
        if sys.platform == "linux":
            set_readahead(self._place, _READAHEAD)

    def _serve(self) -> None:
        try:
            fuse_class(self._fuse)(
                self.operations, str(self._place), raw_fi=True, foreground=True, **self._options
            )
        except Exception as error:
            self._error = error
        finally:
            with contextlib.suppress(OSError):
                os.write(self._waker, b"\0")

    def end(self) -> None:
        """Unmount, even if files are open."""
        if self.running:
            # Looking up this name ends the session, and the reply wakes its threads.
            name = self._place / self.operations.farewell
            with what_libfuse_says():  # it complains if it has served another tree too
                threading.Thread(target=os.access, args=(name, os.F_OK), daemon=True).start()
                self._thread.join(_PATIENCE)
        if self._place.is_mount():
            unmount(self._place)


def _check_memory(needed: int) -> int:
    """The address space left to this process; an error if less than needed.

    A failed allocation in a compiler or thread ends the process, or the tree.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    left = limit - psutil.Process().memory_info().vms
    if left < needed:
        raise CadrenderError(
            f"not enough memory to mount: the limit of {limit >> 20} MiB (ulimit -v) leaves {max(0, left) >> 20}, and "
            f"{needed >> 20} are needed"
        )
    return left


@contextlib.contextmanager
def _listed(file: Path, text: str, say: Callable[[str], None]) -> Iterator[None]:
    """Make a file hold a list for a while, then restore its previous content: that before a mount that was killed."""
    before = _text_of(file)
    note = file.with_name(f".{file.name}.mounted")
    with contextlib.suppress(TypeError, ValueError, KeyError):  # no note, or a damaged one
        noted = json.loads(_text_of(note) or "")
        if before is not None and noted["shown"] == _digest(before):
            before = noted["before"]
    if before == text:
        yield
        return
    try:
        _write(note, json.dumps({"shown": _digest(text), "before": before}))
        _write(file, text)
    except (OSError, ClaimedError) as error:
        say(f"{file}: cannot be written, and does not list what is mounted: {error}")
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ClaimedError):
            if _text_of(file) == text:
                if before is None:
                    file.unlink()
                else:
                    _write(file, before)
            note.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.md5(text.encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()


def _text_of(file: Path) -> str | None:
    try:
        return file.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return None


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with AtomicFile(file) as atomic:
        atomic.write(text.encode(errors="surrogateescape"))
        atomic.commit()


def _files(catalogue: AtMicCatalogue | TargetCatalogue, folder: str = "") -> Iterator[str]:
    """The paths of a tree's files, in order."""
    for name in catalogue.names(folder):
        path = f"{folder}/{name}".strip("/")
        if name.endswith("/"):
            yield from _files(catalogue, path)
        else:
            yield path
