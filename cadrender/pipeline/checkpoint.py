"""Checkpoints: a run's files are made durable every few seconds, and before the run is reported complete.

The order is that of section 15 of ``docs/contract.md``. Files made by another run that count as complete are made
durable too.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from cadrender.errors import CadrenderError
from cadrender.pipeline.commit import Written
from cadrender.pipeline.plan import Share
from cadrender.store.durable import Disks, this_mount
from cadrender.store.manifest import Manifest

# Seconds, and bytes written, between two checkpoints; they bound the wait at the end of a run.
_INTERVAL = 5.0
_MOST_BYTES = 2 << 30

# Files of a share that are not durable yet, with the ids of their records, if any.
_Pending = list[tuple[Path, str]]


class Checkpoints:
    """Makes a run's files durable, in its own thread; a context manager.

    Parameters
    ----------
    shares : sequence of Share
        What the run makes.
    sync : callable, optional
        Makes files written by several machines durable; default: this machine does.
    """

    def __init__(self, shares: Sequence[Share], sync: Callable[[Sequence[Path]], None] | None = None) -> None:
        self._disks = Disks()
        self._folders = [
            [*dict.fromkeys(output.file.parent for output in share.todo), *share.catalogue.folders[:1]]
            for share in shares
        ]
        self._manifests = [share.catalogue.manifest for share in shares]
        self._replaced = [
            [record.id for output in share.todo if (record := share.catalogue.records.get(output.key))]
            for share in shares
        ]
        self._busy = [bool(share.reasons) for share in shares]
        self._sync = sync or self._disks.sync
        self._one_machine = sync is None
        self._runs = [""] * len(shares)
        self._pending: list[_Pending] = [list(share.unsynced) for share in shares]
        self._bytes = 0
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: CadrenderError | None = None

    def begin(self) -> None:
        """Record durably in the manifests that the run begins.

        Raises
        ------
        CadrenderError
            If one cannot be written.
        """
        for number, manifest in enumerate(self._manifests):
            if self._busy[number]:
                self._disks.open(self._folders[number])
                # Any of several machines may fail on its own, so the next run must prove what was written.
                mount = this_mount(self._folders[number][0]) if self._one_machine else ""
                with _named(manifest):
                    self._runs[number] = manifest.begin_run(mount, self._replaced[number])

    def wrote(self, number: int, written: Sequence[Written]) -> None:
        """Register files of a share that are in place.

        Raises
        ------
        CadrenderError
            If an earlier checkpoint has failed.
        """
        self._pending[number] += [(each.output.file, each.id) for each in written]
        self._pending[number] += [
            (place, "") for each in written for place in each.output.beside(each.levels)
        ]
        self._raise_error()
        self._bytes += sum(each.bytes for each in written)
        due = time.monotonic() - self._last > _INTERVAL or self._bytes > _MOST_BYTES
        if due and not (self._thread and self._thread.is_alive()):
            self._last, self._bytes = time.monotonic(), 0
            self._thread = threading.Thread(target=self._in_background, args=(self._take(),), daemon=True)
            self._thread.start()

    def found(self, number: int, files: Sequence[Path]) -> None:
        """Register files of a share that another process has completed meanwhile."""
        self._pending[number] += [(file, "") for file in files]

    def finish(self, *, ended: bool = True) -> None:
        """Make everything durable, and record that the run has ended.

        Parameters
        ----------
        ended : bool
            Whether nothing more will be written for this run.

        Raises
        ------
        CadrenderError
            If this or an earlier checkpoint fails.
        """
        if self._thread:
            self._thread.join()
        self._raise_error()
        self._checkpoint(self._take(), ended)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread:
            self._thread.join()
        self._disks.__exit__()

    def _take(self) -> list[_Pending]:
        taken, self._pending = self._pending, [[] for _ in self._manifests]
        return taken

    def _in_background(self, taken: list[_Pending]) -> None:
        try:
            self._checkpoint(taken)
        except CadrenderError as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error:
            self._give_up(self._take())  # later files are on the same disk
            raise self._error

    def _checkpoint(self, taken: list[_Pending], ended: bool = False) -> None:
        if files := [file for share in taken for file, _ in share]:
            try:
                self._sync(files)
            except CadrenderError as error:
                self._error = error
                self._give_up(taken)
                raise
        for number, manifest in enumerate(self._manifests):
            with _named(manifest):
                manifest.mark_durable(_ids(taken[number]), self._runs[number] if ended else "")

    def _give_up(self, taken: list[_Pending]) -> None:
        """Record that files may never reach the disk, even if still readable: the system does not retry."""
        for number, manifest in enumerate(self._manifests):
            with contextlib.suppress(OSError, CadrenderError):  # perhaps on the same disk
                manifest.mark_lost(_ids(taken[number]))


def _ids(taken: Iterable[tuple[Path, str]]) -> list[str]:
    return [each for _, each in taken if each]


@contextlib.contextmanager
def _named(manifest: Manifest) -> Iterator[None]:
    """Turn system errors into one that names a manifest."""
    try:
        yield
    except OSError as error:
        raise CadrenderError(f"{manifest.file}: cannot be written: {error.strerror or error}") from error
