"""The bytes of mounted files: rendered block by block when somebody reads them, kept in bounded memory."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cadrender.catalogue.output import Output
from cadrender.errors import CadrenderError
from cadrender.signals.stored import Stored
from cadrender.store.writing import frame_bytes, wav_header

BLOCK = 1 << 18
"""Bytes that are rendered at a time: two requests of the kernel, 1.5 s of 16-bit music."""

# Blocks that are rendered ahead of a sequential reader, at most: 2 MiB, and never more than this part of the cache. As
# far may the kernel's own requests ahead overtake each other.
_FARTHEST = 8
_SHARE = 8

# Blocks that are rendered together ahead of a reader: each rendering has a cost of its own.
_TOGETHER = 4

# Renderings ahead that wait for a thread, at most.
_MOST_AHEAD = 16

_of_this_thread = threading.local()

_STORED_AS = {"PCM_16": "int16", "PCM_24": "int32", "FLOAT": "float32"}


class ChangedError(CadrenderError):
    """What a file is made from is no longer what it was when the file was opened."""


class MountedFile:
    """A file of the tree as it is while none of its inputs changes.

    Attributes
    ----------
    output : Output
    state : tuple
        Its inputs as they were when it was opened; see :func:`state_of`.
    size : int
        Its bytes.
    handles : int
        How many readers have it open.
    in_kernel : bool
        Whether what the kernel keeps of it is of this state.
    earlier : list of MountedFile
        The same file in earlier states, as long as readers have these open.
    """

    def __init__(self, output: Output, state: tuple) -> None:
        signal = output.signal
        self.output, self.state = output, state
        self.header = wav_header(signal.frames, signal.samplerate, signal.subtype)
        self.size = size_of(output)
        self.handles = 0
        self.in_kernel = False
        self.earlier: list[MountedFile] = []
        self._first = threading.Lock()
        self._begun = False

    def render(self, first: int, count: int = 1) -> list[np.ndarray]:
        """Render the bytes of some blocks.

        Raises
        ------
        ChangedError
            If its inputs have changed since it was opened.
        CadrenderError
            If they cannot be rendered.
        """
        # What must be measured or computed once is not begun by several threads at a time.
        if not self._begun:
            with self._first:
                blocks = self._render(first, count)
                self._begun = True
                return blocks
        return self._render(first, count)

    def _render(self, first, count):
        self._check()
        start = first * BLOCK
        length = min(count * BLOCK, self.size - start)
        data = _memory(length) if count > 1 else np.empty(length, np.uint8)
        samples = data
        if first == 0:
            data[: len(self.header)] = np.frombuffer(self.header, np.uint8)
            samples = data[len(self.header) :]
        self._fill(samples, max(0, start - len(self.header)))
        self._check()
        if count == 1:
            return [data]
        # Views of one array would keep all of it as long as one of them is kept.
        return [data[at : at + BLOCK].copy() for at in range(0, length, BLOCK)]

    def _fill(self, out, at) -> None:
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

    def _check(self) -> None:
        now = state_of(self.output.signal)
        if now != self.state:
            changed = sorted({file for file, _ in {*now} ^ {*self.state}})
            raise ChangedError(f"{changed[0]}: changed while files made from it are open")


class BlockCache:
    """Blocks, the last ones used, in bounded memory, and the threads that render them.

    They are rendered here and nowhere else: each once, however many wait for it, and by threads that keep what they
    need for the next one, which those that libfuse calls from do not.

    Parameters
    ----------
    limit : int
        Bytes.
    threads : int
        How many render at the same time.

    Attributes
    ----------
    limit, threads : int
    bytes : int
        Of the blocks that are there.
    rendered, found : int
        How many blocks were rendered so far, and how often one was there already.
    """

    def __init__(self, limit: int, threads: int) -> None:
        self.limit, self.threads = limit, threads
        self.bytes = self.rendered = self.found = 0
        self._blocks: OrderedDict[tuple[MountedFile, int], Future] = OrderedDict()
        self._waiting: dict[tuple[MountedFile, int], _Run] = {}
        self._urgent: deque[_Run] = deque()
        self._ahead: deque[_Run | Callable] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name=f"render-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def get(self, file: MountedFile, first: int, last: int) -> list[np.ndarray]:
        """Some blocks, `last` included; not to be changed.

        Raises
        ------
        CadrenderError, OSError, MemoryError
            If they cannot be rendered.
        """
        with self._changed:
            for number in range(first, last + 1):
                key = file, number
                if run := self._waiting.get(key):  # ordered ahead: now it is in a hurry
                    if not run.urgent:
                        run.urgent = True
                        self._urgent.append(run)
                elif key in self._blocks:
                    self._blocks.move_to_end(key)
                    self.found += 1
            together = -(-(last + 1 - first) // self.threads)
            self._order(file, range(first, last + 1), self._urgent, together, urgent=True)
            futures = [self._blocks[file, number] for number in range(first, last + 1)]
        return [future.result() for future in futures]

    def ahead(self, file: MountedFile, numbers: range) -> None:
        """Order some blocks that will be needed soon."""
        with self._changed:
            self._order(file, numbers, self._ahead, _TOGETHER)
            self._leave_old()

    def submit(self, function: Callable) -> None:
        """Have something done that is not urgent, and may be left undone."""
        with self._changed:
            self._ahead.append(function)
            self._leave_old()
            self._changed.notify()

    def _leave_old(self) -> None:
        """Where more is ordered ahead than can be done, readers have gone on without the oldest."""
        while len(self._ahead) > _MOST_AHEAD:
            task = self._ahead.popleft()
            if isinstance(task, _Run) and not task.urgent and not task.begun:
                task.begun = True
                for key in task.keys:
                    del self._waiting[key], self._blocks[key]

    def _order(self, file, numbers, queue, most, urgent=False) -> None:
        """Queue what is neither there nor ordered, so many blocks together at most."""
        run = None
        for number in numbers:
            key = file, number
            if key in self._blocks:
                run = None
                continue
            if run is None or run.count == most:
                run = _Run(file, number, urgent=urgent)
                queue.append(run)
                self._changed.notify()
            run.count += 1
            self._blocks[key] = Future()
            self._waiting[key] = run

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not (self._urgent or self._ahead or self._closed):
                    self._changed.wait()
                if self._closed:
                    return
                task = (self._urgent or self._ahead).popleft()
                if isinstance(task, _Run):
                    if task.begun:  # it was in a hurry, and stood in both queues
                        continue
                    task.begun = True
                    futures = [self._blocks[key] for key in task.keys]
                    for key in task.keys:
                        del self._waiting[key]
            if isinstance(task, _Run):
                self._render(task, futures)
            else:
                with contextlib.suppress(Exception):  # who reads the file will be told
                    task()

    def _render(self, run, futures) -> None:
        try:
            try:
                blocks = run.file.render(run.first, run.count)
            except MemoryError:
                self.clear()
                blocks = run.file.render(run.first, run.count)
        except BaseException as error:
            if run.count > 1 and not isinstance(error, ChangedError):  # is each of them bad?
                for number, future in enumerate(futures, run.first):
                    self._render(_Run(run.file, number, 1), [future])
                return
            with self._changed:
                for key in run.keys:
                    self._blocks.pop(key, None)
            for future in futures:
                future.set_exception(error)
            return
        with self._changed:
            self.rendered += run.count
            self.bytes += sum(map(len, blocks))
            for future, block in zip(futures, blocks, strict=True):
                future.set_result(block)
            self._shrink(self.limit)

    def _shrink(self, limit) -> None:
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
        with self._changed:
            self._shrink(0)

    def close(self) -> None:
        """Render nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.clear()


@dataclass
class _Run:
    """Blocks that are rendered together."""

    file: MountedFile
    first: int
    count: int = 0
    urgent: bool = False
    begun: bool = False

    @property
    def keys(self):
        return [(self.file, number) for number in range(self.first, self.first + self.count)]


class Reader:
    """One open file: notices that it is read from front to back, and has the next blocks rendered ahead."""

    def __init__(self, file: MountedFile, cache: BlockCache) -> None:
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
        self._look_ahead(first, last)
        blocks = self._cache.get(self.file, first, last)
        return [
            block[max(0, offset - number * BLOCK) : end - number * BLOCK]
            for number, block in enumerate(blocks, first)
        ]

    def _look_ahead(self, first, last) -> None:
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


def _memory(length):
    """Memory of this thread that is used again and again."""
    memory = getattr(_of_this_thread, "memory", None)
    if memory is None or len(memory) < length:
        memory = _of_this_thread.memory = np.empty(length, np.uint8)
    return memory[:length]


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
