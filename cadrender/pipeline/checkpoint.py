"""Checkpoints: what a run has written is made durable now and then, and at its end before it is reported complete.

The manifest's order of things: a run's beginning is on the disk before its first file is in place, and names the
records whose files it may replace; a file's record is appended before the file is renamed; the file is on the disk
before the manifest says that it is. So whatever a power cut takes away, no file is believed that is not whole.

What a run counts as complete although another one made it, and was ended, is made durable too. See section 15 of
``docs/contract.md``.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cadrender.errors import CadrenderError
from cadrender.pipeline.commit import Written
from cadrender.pipeline.plan import Share
from cadrender.store.durable import Disks, this_mount

# Seconds, and bytes written, between two checkpoints: syncing bounds what the end of a run has to wait for.
_INTERVAL = 5.0
_MOST_BYTES = 2 << 30


class Checkpoints:
    """Makes durable what a run writes, in a thread of its own; a context manager.

    Parameters
    ----------
    shares : sequence of Share
        What the run makes.
    sync : callable, optional
        Makes files durable that several machines write; by default this one does.
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
        self._pending: list[list[tuple[Path, str]]] = [list(share.unsynced) for share in shares]
        self._bytes = 0
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: CadrenderError | None = None

    def begin(self) -> None:
        """Note in the manifests, durably, that the run begins.

        Raises
        ------
        CadrenderError
            If one cannot be written.
        """
        for number, manifest in enumerate(self._manifests):
            if self._busy[number]:
                self._disks.open(self._folders[number])
                # Of several machines each may fail for itself: what is written must be proven by whoever comes next.
                mount = this_mount(self._folders[number][0]) if self._one_machine else ""
                with _named(manifest):
                    self._runs[number] = manifest.begin_run(mount, self._replaced[number])

    def wrote(self, number: int, written: Sequence[Written]) -> None:
        """Take note of files of a share that are in their places.

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
        """Take note of files of a share that another process has put into their places meanwhile."""
        self._pending[number] += [(file, "") for file in files]

    def finish(self, *, ended: bool = True) -> None:
        """Make everything durable, and note that the run has ended.

        Parameters
        ----------
        ended : bool
            Whether nobody will write for this run any more.

        Raises
        ------
        CadrenderError
            If that is not possible, or was not for an earlier checkpoint.
        """
        if self._thread:
            self._thread.join()
        self._raise_error()
        self._checkpoint(self._take(), ended)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self._thread:
            self._thread.join()
        self._disks.__exit__()

    def _take(self):
        taken, self._pending = self._pending, [[] for _ in self._manifests]
        return taken

    def _in_background(self, taken) -> None:
        try:
            self._checkpoint(taken)
        except CadrenderError as error:
            self._error = error

    def _raise_error(self) -> None:
        if self._error:
            # What was written since has met the same disk.
            self._give_up(self._take())
            raise self._error

    def _checkpoint(self, taken, ended=False) -> None:
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

    def _give_up(self, taken) -> None:
        """Note that files may not be what reading them gives: the system does not try again to write them."""
        for number, manifest in enumerate(self._manifests):
            with contextlib.suppress(OSError, CadrenderError):  # on the same disk, perhaps
                manifest.mark_lost(_ids(taken[number]))


def _ids(taken):
    return [each for _, each in taken if each]


@contextlib.contextmanager
def _named(manifest):
    """Turn the system's errors into one that names a manifest."""
    try:
        yield
    except OSError as error:
        raise CadrenderError(f"{manifest.file}: cannot be written: {error.strerror or error}") from error
