"""The bytes of mounted files: rendered block by block on demand, kept in bounded memory."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from cadrender.catalogue.output import Output
from cadrender.errors import CadrenderError
from cadrender.signals.base import Signal
from cadrender.signals.stored import Stored
from cadrender.store.audio import exact_dtype
from cadrender.store.writing import frame_bytes, wav_header

BLOCK = 1 << 16
"""Bytes per block, the unit of rendering and caching: 0.4 s of 16-bit music."""

BEGINNING = 4
"""Leading blocks rendered before a file that is expected next is opened."""

# Most blocks rendered ahead of a sequential reader: 2 MiB, and never more than this share of the cache. The kernel's
# own read-ahead requests may overtake each other by as much; small requests by less.
_FARTHEST = 32
_SHARE = 8
_OVERTAKEN = 4

# Consecutive requests that make a reader sequential. Large ones need no rendering ahead: the kernel keeps several
# in flight.
_SEQUENTIAL = 4
_LARGE = 1 << 18

# Blocks rendered together ahead of a reader.
_TOGETHER = 16

# Most read-ahead tasks waiting for a thread.
_MOST_AHEAD = 16

_T = TypeVar("_T")

# What is known of a file's inputs: see :func:`state_of`.
Seen = tuple[int, int, int]
State = tuple[tuple[Path, Seen | None], ...]


class ChangedError(CadrenderError):
    """A file's inputs have changed since it was opened."""


class MountedFile:
    """A file of the tree, for as long as its inputs do not change.

    Attributes
    ----------
    output : Output
    state : tuple
        Its inputs as they were when it was opened; see :func:`state_of`.
    size : int
        Size in bytes.
    handles : int
        Number of open handles.
    in_kernel : bool
        Whether the kernel's cache of it is of this state.
    earlier : list of MountedFile
        Earlier states of the same file that readers still have open.
    """

    def __init__(self, output: Output, state: State) -> None:
        signal = output.signal
        self.output, self.state = output, state
        self.header = header_of(signal)
        self.size = size_of(output)
        self.handles = 0
        self.in_kernel = False
        self.earlier: list[MountedFile] = []

    def render(self, memory: np.ndarray, offset: int) -> None:
        """Fill memory with the bytes from an offset on.

        Raises
        ------
        ChangedError
            If its inputs have changed since it was opened.
        CadrenderError
            If they cannot be rendered.
        """
        header = np.frombuffer(self.header[offset : offset + len(memory)], np.uint8)
        memory[: len(header)] = header
        try:
            if len(header) < len(memory):
                self._fill(memory[len(header) :], max(0, offset - len(self.header)))
        finally:  # a change takes precedence over any other error
            self._check()

    def _fill(self, out: np.ndarray, at: int) -> None:
        """Fill ``out`` with the bytes of the samples, starting at byte ``at``."""
        signal, width = self.output.signal, self.output.audio_format.bytes_per_frame
        start, skipped = divmod(at, width)
        frames = -(-(skipped + len(out)) // width)
        dtype = exact_dtype(signal.subtype)
        whole = not skipped and signal.subtype != "PCM_24" and len(out) == frames * width
        if whole and (samples := out.view(dtype)).flags.aligned:
            read = len(signal.read(start, frames, out=samples.reshape(-1, 2)))
        else:
            samples = signal.read(start, frames, dtype)
            read = len(samples)
            out[:] = frame_bytes(samples, signal.subtype).reshape(-1)[skipped : skipped + len(out)]
        if read != frames:
            raise ChangedError(f"{self.output.name}: {read} frames instead of {frames} from {start} on")

    def _check(self) -> None:
        now = state_of(self.output.signal)
        if now != self.state:
            changed = sorted({file for file, _ in {*now} ^ {*self.state}})
            raise ChangedError(f"{changed[0]}: changed while files made from it are open")


class BlockCache:
    """The rendering threads, and the blocks they have rendered ahead of readers, in bounded memory.

    Blocks not queued ahead are rendered straight to where they are wanted and not kept: the kernel caches what it has
    read, and asks once, however many readers wait.

    Parameters
    ----------
    limit : int
        Bytes.
    threads : int
        Number of rendering threads.

    Attributes
    ----------
    limit, threads : int
    bytes : int
        Of the cached blocks.
    rendered, found : int
        Blocks rendered so far, and cache hits.
    filled : int
        Bytes rendered straight to where they were wanted.
    """

    def __init__(self, limit: int, threads: int) -> None:
        self.limit, self.threads = limit, threads
        self.bytes = self.rendered = self.filled = self.found = 0
        self._runs: dict[tuple[MountedFile, int], _BlockRun] = {}  # for every cached or queued block
        self._kept: OrderedDict[_BlockRun, None] = OrderedDict()  # rendered, most recently used last
        self._urgent: deque[_BlockRun] = deque()
        self._ahead: deque[_BlockRun | Callable] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._helpers = ThreadPoolExecutor(threads, "helper")
        self._threads = [
            threading.Thread(target=self._serve, name=f"render-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def get(self, file: MountedFile, number: int) -> np.ndarray | None:
        """A block, not to be changed, waiting for it if necessary; None if neither cached nor queued.

        Raises
        ------
        CadrenderError, OSError, MemoryError
            If it cannot be rendered.
        """
        with self._changed:
            run = self._runs.get((file, number))
            if run is None:
                return None
            if run in self._kept:
                self._kept.move_to_end(run)
                self.found += 1
            elif not (run.begun or run.urgent):  # now it is urgent
                run.urgent = True
                self._urgent.append(run)
        block = run.done.result()[number - run.first]
        if isinstance(block, BaseException):
            raise block
        return block

    def missing(self, file: MountedFile, first: int, last: int) -> int:
        """Number of consecutive blocks, from the first to the last at most, neither cached nor queued."""
        for number in range(first, last + 1):
            if (file, number) in self._runs:
                return number - first
        return last + 1 - first

    def fill(self, file: MountedFile, memory: np.ndarray, offset: int) -> None:
        """Render the bytes of a file from an offset on to where they are wanted, in this thread.

        Raises
        ------
        CadrenderError, OSError, MemoryError
            If they cannot be rendered.
        """
        from cadrender.dsp.parts import helpers

        with self._changed:
            self.filled += len(memory)
        before = helpers.set(self._helpers)
        try:
            self._with_room(file.render, memory, offset)
        finally:
            helpers.reset(before)

    def _with_room(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call a function; if memory runs out, drop all blocks and call it once more."""
        try:
            return function(*arguments)
        except MemoryError:
            self.clear()
            return function(*arguments)

    def ahead(self, file: MountedFile, numbers: range) -> None:
        """Queue blocks that will be needed soon, unless cached or queued already."""
        with self._changed:
            run = None
            for number in numbers:
                if (file, number) in self._runs:
                    run = None
                    continue
                if run is None or run.count == _TOGETHER:
                    run = _BlockRun(file, number)
                    self._ahead.append(run)
                    self._changed.notify()
                run.count += 1
                self._runs[file, number] = run
            self._leave_old()

    def submit(self, function: Callable) -> None:
        """Queue work that is not urgent and may be dropped."""
        with self._changed:
            self._ahead.append(function)
            self._leave_old()
            self._changed.notify()

    def _leave_old(self) -> None:
        """Drop the oldest tasks when too many are queued ahead: their readers have moved on."""
        while len(self._ahead) > _MOST_AHEAD:
            task = self._ahead.popleft()
            if isinstance(task, _BlockRun) and not task.urgent and not task.begun:
                task.begun = True
                self._forget(task)

    def _forget(self, run: _BlockRun) -> None:
        for number in run.numbers:
            del self._runs[run.file, number]

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not (self._urgent or self._ahead or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                task = (self._urgent or self._ahead).popleft()
                if isinstance(task, _BlockRun):
                    if task.begun:  # it became urgent, and was in both queues
                        continue
                    task.begun = True
            if isinstance(task, _BlockRun):
                self._render(task)
            else:
                with contextlib.suppress(Exception):  # reported when the file is read
                    task()

    def _render(self, run: _BlockRun) -> None:
        blocks: Sequence[np.ndarray | BaseException]
        try:
            blocks = self._with_room(run.rendered, run.first, run.count)
        except BaseException as error:
            if run.count == 1 or isinstance(error, ChangedError):
                blocks = [error] * run.count
            else:
                blocks = [run.alone(number) for number in run.numbers]  # find out which ones are bad
        whole = all(isinstance(block, np.ndarray) for block in blocks)
        with self._changed:
            self.rendered += run.count if whole else 0
            if whole and run.bytes <= self.limit:
                self._shrink(self.limit - run.bytes)
                self.bytes += run.bytes
                self._kept[run] = None
            else:
                self._forget(run)
            run.done.set_result(blocks)

    def _shrink(self, limit: int) -> None:
        """Evict the least recently used blocks; those being rendered stay."""
        while self.bytes > limit:
            run, _ = self._kept.popitem(last=False)
            self.bytes -= run.bytes
            self._forget(run)

    def clear(self) -> None:
        """Drop all blocks."""
        with self._changed:
            self._shrink(0)

    def close(self) -> None:
        """Stop rendering."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._helpers.shutdown()
        self.clear()


@dataclass(eq=False)
class _BlockRun:
    """Blocks of a file that are rendered together, and evicted together: they share their memory."""

    file: MountedFile
    first: int
    count: int = 0
    urgent: bool = False
    begun: bool = False
    done: Future[Sequence[np.ndarray | BaseException]] = field(default_factory=Future)

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def bytes(self) -> int:
        return min(self.count * BLOCK, self.file.size - self.first * BLOCK)

    def rendered(self, first: int, count: int) -> list[np.ndarray]:
        """Some of its blocks."""
        start = first * BLOCK
        data = np.empty(min(count * BLOCK, self.file.size - start), np.uint8)
        self.file.render(data, start)
        return [data[at : at + BLOCK] for at in range(0, len(data), BLOCK)]

    def alone(self, number: int) -> np.ndarray | BaseException:
        """One of its blocks, or the error it raises."""
        try:
            return self.rendered(number, 1)[0]
        except BaseException as error:
            return error


class Reader:
    """An open file: detects sequential reading, and has the next blocks rendered ahead."""

    def __init__(self, file: MountedFile, cache: BlockCache) -> None:
        self.file = file
        self._cache = cache
        self._lock = threading.Lock()
        self._reached = 0  # the block after the last one read
        self._run = 0  # blocks read consecutively
        self._requests = 0  # small ones, close together
        self._ordered = 0  # the block after the last one rendered ahead
        self._blocks = -(-file.size // BLOCK)

    @property
    def whole(self) -> bool:
        """Whether the file has been read from start to end."""
        return self._run >= self._blocks

    def read(self, memory: np.ndarray, offset: int) -> int:
        """Fill memory with the bytes of the file from an offset on; returns their number."""
        count = min(len(memory), self.file.size - offset)
        if count <= 0:
            return 0
        last = (offset + count - 1) // BLOCK
        self._look_ahead(offset // BLOCK, last, count)
        at = 0
        while at < count:
            number, skipped = divmod(offset + at, BLOCK)
            block = self._cache.get(self.file, number)
            if block is not None:
                end = min(count, at + BLOCK - skipped)
                memory[at:end] = block[skipped : skipped + end - at]
            else:
                end = min(count, at + max(1, self._cache.missing(self.file, number, last)) * BLOCK - skipped)
                self._cache.fill(self.file, memory[at:end], offset + at)
            at = end
        return count

    def _look_ahead(self, first: int, last: int, size: int) -> None:
        with self._lock:
            self._requests = self._requests + 1 if abs(first - self._reached) <= _OVERTAKEN else 1
            if not self._reached - _FARTHEST <= first <= self._reached + _FARTHEST:
                self._run, self._ordered = 0, last + 1
            elif last + 1 > self._reached:
                self._run += last + 1 - self._reached
            self._reached = max(last + 1, self._reached) if self._run else last + 1
            window = 0
            if self._requests >= _SEQUENTIAL and size < _LARGE:
                window = self._requests // 2 * (last + 1 - first)
            window = min(window, _FARTHEST, self._cache.limit // BLOCK // _SHARE)
            begin = max(self._ordered, last + 1)
            stop = min(self._blocks, last + 1 + window)
            self._ordered = max(self._ordered, stop)
        if begin < stop:
            self._cache.ahead(self.file, range(begin, stop))


def header_of(signal: Signal) -> bytes:
    """The header of a signal's WAV file."""
    return _header(signal.frames, signal.samplerate, signal.subtype)


_header = functools.lru_cache(maxsize=4096)(wav_header)


def size_of(output: Output) -> int:
    """The size of a WAV file in bytes."""
    return len(header_of(output.signal)) + (output.signal.frames or 0) * output.audio_format.bytes_per_frame


def state_of(signal: Signal, look: Callable[[Path], Seen | None] | None = None) -> State:
    """What a signal is made from, as currently on disk: pairs of a path and its inode, size and mtime.

    Parameters
    ----------
    signal : Signal
    look : callable, optional
        Gives the state of a file; by default :func:`look_at`.
    """
    look = look or look_at
    states: list[tuple[Path, Seen | None]] = []
    for value in signal.inputs().values():
        if isinstance(value, Stored):
            found = value.find()
            states += [(found[0], look(found[0]))] if found else state_of(value.signal, look)
        elif isinstance(value, Path):
            states.append((value, look(value)))
    return tuple(states)


def look_at(file: Path) -> Seen | None:
    """Inode, size and mtime of a file; None if it cannot be read."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
