"""The bytes of mounted files: rendered block by block when somebody reads them, kept in bounded memory."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cadrender.catalogue import Output
from cadrender.errors import CadrenderError
from cadrender.signals import Stored
from cadrender.store.writing import frame_bytes, wav_header

BLOCK = 1 << 18
"""Bytes that are rendered at a time: two requests of the kernel, 1.5 s of 16-bit music."""

# Blocks that are rendered ahead of a sequential reader, at most: 2 MiB, and never more than this part of the cache. As
# far may the kernel's own requests ahead overtake each other.
_FARTHEST = 8
_SHARE = 8

_STORED_AS = {"PCM_16": "int16", "PCM_24": "int32", "FLOAT": "float32"}


class ChangedError(CadrenderError):
    """What a file is made from is no longer what it was when the file was opened."""


class MountedFile:
    """A file of the tree as it is while none of its inputs changes.

    Attributes
    ----------
    output : Output
    state : tuple
        Its inputs as they were when it was opened; see :func:`inputs_of`.
    size : int
        Its bytes.
    handles : int
        How many readers have it open.
    in_kernel : bool
        Whether what the kernel keeps of it is of this state.
    earlier : list of MountedFile
        The same file in earlier states, as long as readers have these open.
    """

    def __init__(self, output: Output, state: tuple):
        signal = output.signal
        self.output, self.state = output, state
        self.header = wav_header(signal.frames, signal.samplerate, signal.subtype)
        self.size = size_of(output)
        self.handles = 0
        self.in_kernel = False
        self.earlier: list[MountedFile] = []
        self._first = threading.Lock()
        self._begun = False

    def block(self, number: int) -> np.ndarray:
        """Render the bytes of one block.

        Raises
        ------
        ChangedError
            If its inputs have changed since it was opened.
        CadrenderError
            If it cannot be rendered.
        """
        # What must be measured or computed once is not begun by several threads at a time.
        if not self._begun:
            with self._first:
                block = self._render(number)
                self._begun = True
                return block
        return self._render(number)

    def _render(self, number):
        self._check()
        first = number * BLOCK
        block = np.empty(min(BLOCK, self.size - first), np.uint8)
        samples = block
        if number == 0:
            block[: len(self.header)] = np.frombuffer(self.header, np.uint8)
            samples = block[len(self.header) :]
        self._fill(samples, max(0, first - len(self.header)))
        self._check()
        return block

    def _fill(self, out, at):
        """The bytes of the samples from byte ``at`` on."""
        signal, width = self.output.signal, self.output.audio_format.bytes_per_frame
        start, skipped = divmod(at, width)
        frames = -(-(skipped + len(out)) // width)
        dtype = _STORED_AS[signal.subtype]
        if not skipped and signal.subtype != "PCM_24" and len(out) == frames * width:
            read = len(signal.read(start, frames, out=out.view(dtype).reshape(-1, 2)))
        else:
            samples = signal.read(start, frames, dtype)
            read = len(samples)
            out[:] = frame_bytes(samples, signal.subtype).reshape(-1)[skipped : skipped + len(out)]
        if read != frames:
            raise ChangedError(f"{self.output.name}: {read} frames instead of {frames} from {start} on")

    def _check(self):
        now = state_of(self.output.signal)
        if now != self.state:
            changed = sorted({file for file, _ in {*now} ^ {*self.state}})
            raise ChangedError(f"{changed[0]}: changed while files made from it are open")


class BlockCache:
    """Blocks, the last ones used, in bounded memory; each is rendered by one thread while others wait for it.

    Parameters
    ----------
    limit : int
        Bytes.
    threads : int
        How many render ahead.

    Attributes
    ----------
    limit, threads : int
    bytes : int
        Of the blocks that are there.
    rendered, found : int
        How many blocks were rendered so far, and how often one was there already.
    """

    def __init__(self, limit: int, threads: int):
        self.limit, self.threads = limit, threads
        self.rendered = self.found = 0
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[MountedFile, int], Future] = OrderedDict()
        self._ordered: set[tuple[MountedFile, int]] = set()  # ahead, and not begun
        self.bytes = 0
        self._pool = ThreadPoolExecutor(threads, "ahead")

    def get(self, file: MountedFile, number: int) -> np.ndarray:
        """A block; not to be changed.

        Raises
        ------
        CadrenderError, OSError, MemoryError
            If it cannot be rendered.
        """
        key = file, number
        with self._lock:
            future = self._blocks.get(key)
            mine = future is None or key in self._ordered
            if future is None:
                future = self._blocks[key] = Future()
            else:
                self._blocks.move_to_end(key)
                self.found += not mine
            self._ordered.discard(key)
        if mine:
            self._make(future, file, number)
        return future.result()

    def ahead(self, file: MountedFile, numbers: Iterable[int]) -> None:
        """Begin to render some blocks that will be needed soon; who needs one before it is begun renders it."""
        for number in numbers:
            key = file, number
            with self._lock:
                if key in self._blocks:
                    continue
                self._blocks[key] = Future()
                self._ordered.add(key)
            self.submit(self._begin, file, number)

    def submit(self, function: Callable, *arguments) -> None:
        """Have a thread do something that can also be left."""
        with contextlib.suppress(RuntimeError):  # no further thread, or closed
            self._pool.submit(function, *arguments)

    def _begin(self, file, number):
        key = file, number
        with self._lock:
            if key not in self._ordered:
                return
            self._ordered.remove(key)
            future = self._blocks[key]
        self._make(future, file, number)

    def _make(self, future, file, number):
        try:
            try:
                block = file.block(number)
            except MemoryError:
                self.clear()
                block = file.block(number)
        except BaseException as error:
            with self._lock:
                self._blocks.pop((file, number), None)
            future.set_exception(error)
            return
        with self._lock:
            self.rendered += 1
            self.bytes += len(block)
            self._shrink(self.limit)
        future.set_result(block)

    def _shrink(self, limit):
        """Let go of the blocks that were not used for longest; those that are being rendered stay."""
        if self.bytes <= limit:
            return
        for key in list(self._blocks):
            future = self._blocks[key]
            if future.done():
                del self._blocks[key]
                self.bytes -= len(future.result())
                if self.bytes <= limit:
                    return

    def clear(self) -> None:
        """Let go of all blocks."""
        with self._lock:
            self._shrink(0)

    def close(self) -> None:
        """Render nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.clear()


class Reader:
    """One open file: notices that it is read from front to back, and has the next blocks rendered ahead."""

    def __init__(self, file: MountedFile, cache: BlockCache):
        self.file = file
        self._cache = cache
        self._lock = threading.Lock()
        self._reached = 0  # the block after the last one that was read
        self._run = 0  # blocks that were read one after the other
        self._ordered = 0  # the block after the last one that was rendered ahead
        self._blocks = -(-file.size // BLOCK)

    @property
    def whole(self) -> bool:
        """Whether the file has been read from its beginning to its end."""
        return self._run >= self._blocks

    def read(self, offset: int, size: int) -> list[np.ndarray]:
        """Some bytes of the file, in pieces."""
        end = min(offset + size, self.file.size)
        if offset >= end:
            return []
        first, last = offset // BLOCK, (end - 1) // BLOCK
        self._cache.ahead(self.file, range(first + 1, last + 1))  # several at a time
        self._look_ahead(first, last)
        return [
            self._cache.get(self.file, number)[max(0, offset - number * BLOCK) : end - number * BLOCK]
            for number in range(first, last + 1)
        ]

    def _look_ahead(self, first, last):
        with self._lock:
            if not self._reached - _FARTHEST <= first <= self._reached + _FARTHEST:
                self._run, self._ordered = 0, last + 1
            elif last + 1 > self._reached:
                self._run += last + 1 - self._reached
            self._reached = max(last + 1, self._reached) if self._run else last + 1
            window = min(self._run // 2, _FARTHEST, self._cache.limit // BLOCK // _SHARE)
            begin = max(self._ordered, last + 1)
            stop = min(self._blocks, last + 1 + window)
            self._ordered = max(self._ordered, stop)
        if begin < stop:
            self._cache.ahead(self.file, range(begin, stop))


def size_of(output: Output) -> int:
    """The bytes of a WAV file."""
    signal = output.signal
    header = len(wav_header(signal.frames, signal.samplerate, signal.subtype))
    return header + signal.frames * output.audio_format.bytes_per_frame


def state_of(signal, look=None) -> tuple:
    """What a signal is made from, as it is on disk now: pairs of a path and its inode, size and time.

    Parameters
    ----------
    signal : Signal
    look : callable, optional
        What says how a file is; by default :func:`look_at`.
    """
    look = look or look_at
    states = []
    for value in signal.inputs().values():
        if isinstance(value, Stored):
            found = value.find()
            states += [(found[0], look(found[0]))] if found else state_of(value.signal, look)
        else:
            states.append((value, look(value)))
    return tuple(states)


def look_at(file: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of a file; None if it cannot be looked at."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
