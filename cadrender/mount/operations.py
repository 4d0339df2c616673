"""What the kernel asks of the tree: names, attributes, bytes. The tree is read-only."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import secrets
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.output import Output
from cadrender.catalogue.targets import TargetCatalogue
from cadrender.errors import CadrenderError, UsageError
from cadrender.mount.blocks import (
    BEGINNING,
    BLOCK,
    BlockCache,
    ChangedError,
    MountedFile,
    Reader,
    Seen,
    State,
    look_at,
    size_of,
    state_of,
)
from cadrender.mount.order import Order

# Seconds for which the kernel caches attributes.
_FRESH = 1.0

# Seconds for which names are cached: they do not change.
_NAMED = 60.0

# Closed files remembered, so that the kernel's cache of them stays valid.
_REMEMBERED = 4096


class Operations:
    """The FUSE callbacks of a mounted tree, as mfusepy expects them.

    Parameters
    ----------
    catalogues : sequence of AtMicCatalogue or TargetCatalogue
        What is shown, as a single tree.
    cache : BlockCache
    say : callable
        Called with one line per problem.
    leave : callable
        Ends the session that calls it; see :attr:`farewell`.

    Attributes
    ----------
    farewell : str
        A secret name: looking it up unmounts the tree.
    begun : threading.Event
        Set once the kernel has had its first answer.
    opened : int
        Number of files opened.
    """

    use_ns = True
    flag_nopath = flag_nullpath_ok = True  # open files are identified by their handles

    def __init__(
        self,
        catalogues: Sequence[AtMicCatalogue | TargetCatalogue],
        cache: BlockCache,
        say: Callable[[str], None],
        leave: Callable[[], None],
    ) -> None:
        self._catalogues, self._cache, self._say, self._leave = catalogues, cache, say, leave
        self.farewell = f".{secrets.token_hex(16)}"
        self.begun = threading.Event()
        self.opened = 0
        self._lock = threading.Lock()
        self._files: OrderedDict[str, MountedFile] = OrderedDict()
        self._readers: dict[int, Reader] = {}
        self._sorted: dict[str, list[str]] = {}
        self._order = Order(lambda folder: self._names(folder) or [])
        self._listings: dict[int, tuple[str, list[str]]] = {}
        self._numbers = itertools.count(1)
        self._seen: dict[Path, tuple[float, Seen | None]] = {}
        self._changed: dict[Path, float] = {}
        self._changes = 0
        self._tried = 0.0
        self._told: set[object] = set()
        umask = os.umask(0o022)
        os.umask(umask)
        owner = {"st_uid": os.getuid(), "st_gid": os.getgid()}
        self._file = {"st_mode": stat.S_IFREG | 0o666 & ~umask, "st_nlink": 1, **owner}
        now = time.time_ns()
        times = {"st_atime": now, "st_mtime": now, "st_ctime": now}
        self._folder = {"st_mode": stat.S_IFDIR | 0o777 & ~umask, "st_nlink": 2, **owner, **times}

    # Callbacks

    def init_with_config(self, connection: Any, config: Any) -> None:
        """Answer the kernel's first question."""
        if config is not None:
            config.attr_timeout = _FRESH
            config.entry_timeout = _NAMED
        self.begun.set()

    def getattr(self, path: str | None, info: Any = None) -> dict[str, int]:
        """Attributes of a file or folder; nothing is rendered for them."""
        if path is None:
            if info is None or info.fh not in self._readers:
                return self._folder
            file = self._readers[info.fh].file
            return self._attributes(file.output, file.state)
        path = path[1:]
        if path == self.farewell:
            self._leave()
            raise OSError(errno.ENOENT, path)
        if not path.endswith(".wav") and self._names(path) is not None:
            return self._folder
        output, state = self._find(path)
        return self._attributes(output, state)

    def opendir(self, path: str) -> int:
        """Open a folder."""
        names = self._names(path[1:])
        if names is None:
            raise OSError(errno.ENOENT, path)
        handle = next(self._numbers)
        self._listings[handle] = path[1:], names
        return handle

    def releasedir(self, path: str | None, handle: int) -> int:
        """Close a folder."""
        del self._listings[handle]
        return 0

    def readdir(self, path: str | None, handle: int) -> list[tuple[str, int, int]]:
        """The names in a folder as of when it was opened."""
        return [(name, attributes["st_mode"], 0) for name, attributes, _ in self.listing(handle, 0, False)]

    def listing(self, handle: int, offset: int, wanted: bool) -> Iterator[tuple[str, dict[str, int], bool]]:
        """The entries of an open folder: name, attributes, and whether these are complete rather than the mode alone.

        Parameters
        ----------
        handle : int
        offset : int
            Number of entries to skip.
        wanted : bool
            Whether files' attributes are needed.
        """
        folder, names = self._listings[handle]
        for name in ("./", "../")[offset:]:
            yield name[:-1], self._folder, False
        for name in names[max(0, offset - 2) :]:
            if name.endswith("/"):
                yield name[:-1], self._folder, True
                continue
            if wanted:
                try:
                    yield name, self._attributes(*self._find(f"{folder}/{name}")), True
                    continue
                except OSError:  # already reported; stat on the file itself will raise it
                    pass
            yield name, self._file, False

    def open(self, path: str, info: Any) -> int:
        """Open a file: record the state of its inputs, which must not change from now on."""
        if info.flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, path)
        path = path[1:]
        output, state = self._find(path, fresh=True)
        if self._changed:  # the kernel may still be using the old size
            changed = max((self._changed.get(input, 0.0) for input, _ in state), default=0.0)
            if (wait := changed + _FRESH - time.monotonic()) > 0.0:  # even sleep(0) takes 0.1 ms
                time.sleep(wait)
        with self._lock:
            file = self._file_of(path, output, state)
            # The kernel has one cache for all handles of a file. While some are still open on a state made from other
            # inputs, it is bypassed: nobody gets a mixture of the two.
            file.earlier = [each for each in file.earlier if each.handles]
            info.direct_io = bool(file.earlier)
            info.keep_cache = info.direct_io or file.in_kernel
            info.noflush = True  # no request on close, if libfuse supports that
            file.in_kernel |= not info.direct_io
            file.handles += 1
            self.opened += 1
        info.fh = next(self._numbers)
        self._readers[info.fh] = Reader(file, self._cache)
        if self._order.expected(path):
            for following in self._order.after(path, self._cache.threads):
                self._cache.submit(functools.partial(self._prepare, following))
        return 0

    def read(self, memory: np.ndarray, offset: int, handle: int) -> int:
        """Fill an array with the bytes of an open file from an offset on; returns their number."""
        reader = self._readers[handle]
        try:
            count = reader.read(memory, offset)
        except ChangedError as error:
            self._tell(str(error), error)
            raise OSError(errno.EIO, str(error)) from error
        except MemoryError as error:
            self._tell(MemoryError, f"{reader.file.output.name}: not enough memory to render it")
            raise OSError(errno.ENOMEM, "not enough memory") from error
        except Exception as error:
            self._damaged(reader.file, error)
            raise OSError(errno.EIO, str(error)) from error
        if reader.whole:
            self._order.finished(reader.file.output.name)
        return count

    def release(self, path: str | None, info: Any) -> int:
        """Close a file."""
        reader = self._readers.pop(info.fh)
        with self._lock:
            reader.file.handles -= 1
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        """No space is used, and none is free."""
        return {"f_bsize": 4096, "f_frsize": 4096, "f_namemax": 255}

    # Behind the callbacks

    def _names(self, folder: str) -> list[str] | None:
        """The names in a folder, sorted; None if there is no such folder."""
        found = self._sorted.get(folder)
        if found is None:
            for catalogue in self._catalogues:
                with contextlib.suppress(UsageError):
                    found = [*(found or ()), *catalogue.names(folder)]
            found = sorted(set(found)) if found is not None else None
            if found and found[0].endswith("/"):  # files come and go with their songs
                self._sorted[folder] = found
        return found

    def _file_of(self, path: str, output: Output, state: State) -> MountedFile:
        """The current state of a file of the tree: the known one, or a new one in its place."""
        file = self._files.get(path)
        if file is None or file.state != state or file.output != output:
            earlier = [*file.earlier, file] if file else []
            file = self._files[path] = MountedFile(output, state)
            file.earlier = earlier
        self._files.move_to_end(path)
        if len(self._files) > _REMEMBERED:
            for closed in [
                name for name, each in self._files.items() if not each.handles and each is not file
            ][:64]:
                del self._files[closed]
        return file

    def _prepare(self, path: str) -> None:
        """Do what has to precede a file's first samples: it is about to be read."""
        with contextlib.suppress(OSError):
            output, state = self._find(path)
            with self._lock:
                file = self._file_of(path, output, state)
            self._cache.ahead(file, range(BEGINNING))

    def _find(self, path: str, fresh: bool = False) -> tuple[Output, State]:
        """An output and the state of its inputs: now, or within the last second."""
        look = self._look_now if fresh else self._look
        for catalogue in self._catalogues:
            try:
                while True:
                    changes = self._changes
                    output = catalogue.find(path)
                    state = state_of(output.signal, look)
                    if changes == self._changes:  # otherwise its length may have changed
                        return output, state
            except UsageError:
                continue
            except CadrenderError as error:
                self._tell(str(error), error)
                self._try_again(catalogue)
                raise OSError(errno.EIO, str(error)) from error
        raise OSError(errno.ENOENT, path)

    def _look(self, file: Path) -> Seen | None:
        """The state of a file within the last second."""
        when, state = self._seen.get(file, (0.0, None))
        return state if time.monotonic() - when < _FRESH else self._look_now(file)

    def _look_now(self, file: Path) -> Seen | None:
        """The current state of a file; if it has changed, forget everything known about the songs."""
        now = time.monotonic()
        state = look_at(file)
        _, before = self._seen.get(file, (0.0, state))
        self._seen[file] = now, state
        if state != before:
            self._changed[file] = now
            for catalogue in self._catalogues:
                catalogue.look_again(changed=True)
            self._changes += 1
        return state

    def _try_again(self, catalogue: AtMicCatalogue | TargetCatalogue) -> None:
        """Forget unusable songs from time to time: they may have been repaired."""
        now = time.monotonic()
        if now - self._tried >= _FRESH:
            self._tried = now
            catalogue.look_again()

    def _attributes(self, output: Output, state: State) -> dict[str, int]:
        size = size_of(output)
        changed = max((seen[2] for _, seen in state if seen), default=0)
        times = {"st_atime": changed, "st_mtime": changed, "st_ctime": changed}
        return {**self._file, **times, "st_size": size, "st_blocks": -(-size // 512), "st_blksize": BLOCK}

    def _damaged(self, file: MountedFile, error: Exception) -> None:
        """Report a song that cannot be rendered, once, whichever of its files is read."""
        inputs = [path for path, _ in file.state]
        song = inputs[0].parent if inputs else file.output.unit
        whole = isinstance(error, CadrenderError)
        self._tell(song, error if whole else f"{file.output.name}: {type(error).__name__}: {error}")

    def _tell(self, key: object, line: object) -> None:
        with self._lock:
            known = key in self._told
            self._told.add(key)
        if not known:
            self._say(" ".join(str(line).split()))
