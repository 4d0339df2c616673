"""Checkpoints: what a run has written is made durable now and then, and at its end before it is reported complete.

The manifest's order of things: a run's beginning is on the disk before its first file is in place, and names the
records whose files it may replace; a file's record is appended before the file is renamed; the file is on the disk
before the manifest says that it is. So whatever a power cut takes away, no file is believed that is not whole.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from cadrender.errors import CadrenderError
from cadrender.pipeline.commit import Written
from cadrender.pipeline.plan import Share
from cadrender.store.durable import sync_files

# Seconds, and bytes written, between two checkpoints: syncing bounds what the end of a run has to wait for.
_INTERVAL = 5.0
_MOST_BYTES = 2 << 30


class Checkpoints:
    """Makes durable what a run writes, in a thread of its own.

    Parameters
    ----------
    shares : sequence of Share
        What the run makes.
    sync : callable, optional
        Makes files durable; by default those that this machine has written.
    """

    def __init__(self, shares: Sequence[Share], sync=sync_files):
        self._manifests = [share.catalogue.manifest for share in shares]
        self._replaced = [
            [record.id for output in share.todo if (record := share.catalogue.records.get(output.key))]
            for share in shares
        ]
        self._busy = [bool(share.reasons) for share in shares]
        self._sync = sync
        self._runs = [""] * len(shares)
        self._pending: list[list[tuple[Path, str]]] = [[] for _ in shares]
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
                with _named(manifest):
                    self._runs[number] = manifest.begin_run(self._replaced[number])

    def wrote(self, number: int, written: Sequence[Written]) -> None:
        """Take note of files of a share that are in their places.

        Raises
        ------
        CadrenderError
            If an earlier checkpoint has failed.
        """
        self._raise_error()
        self._pending[number] += [(each.output.file, each.id) for each in written]
        self._bytes += sum(each.bytes for each in written)
        due = time.monotonic() - self._last > _INTERVAL or self._bytes > _MOST_BYTES
        if due and not (self._thread and self._thread.is_alive()):
            self._last, self._bytes = time.monotonic(), 0
            self._thread = threading.Thread(target=self._in_background, args=(self._take(),), daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Make everything durable, and note that the run has ended.

        Raises
        ------
        CadrenderError
            If that is not possible.
        """
        if self._thread:
            self._thread.join()
        self._raise_error()
        self._checkpoint(self._take(), ended=True)

    def _take(self):
        taken, self._pending = self._pending, [[] for _ in self._manifests]
        return taken

    def _in_background(self, taken):
        try:
            self._checkpoint(taken)
        except CadrenderError as error:
            self._error = error

    def _raise_error(self):
        if self._error:
            error, self._error = self._error, None
            raise error

    def _checkpoint(self, taken, ended=False):
        if files := [file for share in taken for file, _ in share]:
            self._sync(files)
        for number, manifest in enumerate(self._manifests):
            if self._runs[number] and (taken[number] or ended):
                with _named(manifest):
                    ids = [each for _, each in taken[number]]
                    manifest.mark_durable(ids, self._runs[number] if ended else "")


@contextlib.contextmanager
def _named(manifest):
    """Turn the system's errors into one that names a manifest."""
    try:
        yield
    except OSError as error:
        raise CadrenderError(f"{manifest.file}: cannot be written: {error.strerror or error}") from error
