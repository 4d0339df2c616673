"""Faster versions of parts of mfusepy: folders listed with attributes in one request, bytes read without copies."""

import ctypes
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

# libfuse 3 flags: the kernel wants attributes; an entry has them.
_WANTED = 1 << 0
_GIVEN = 1 << 1


def fuse_class(fuse: ModuleType) -> type:
    """A subclass of mfusepy's FUSE, which lists names only (as with libfuse 2) and copies twice when reading.

    Parameters
    ----------
    fuse : module
        mfusepy.
    """

    of_this_thread = threading.local()

    def keep_thread_state() -> None:
        # Otherwise Python would drop it, and the memory kept for the next read, after each call.
        if not hasattr(of_this_thread, "kept"):
            ctypes.pythonapi.PyGILState_Ensure()
            of_this_thread.kept = True

    base: Any = fuse.FUSE

    class Fuse(base):
        def read(self, path: bytes | None, buffer: Any, size: int, offset: int, info: Any) -> int:
            keep_thread_state()
            memory = memoryview((ctypes.c_uint8 * size).from_address(ctypes.addressof(buffer.contents)))
            return self.operations.read(np.frombuffer(memory, np.uint8), offset, info.contents.fh)

        def readdir_fuse_3(
            self, path: bytes | None, buffer: Any, fill: Callable, offset: int, info: Any, flags: int
        ) -> int:
            entries = self.operations.listing(info.contents.fh, offset, bool(flags & _WANTED))
            keep_thread_state()
            status: Any = None
            known: dict[str, int] = {}
            for place, (name, attributes, complete) in enumerate(entries, offset + 1):
                if attributes.keys() != known.keys():
                    status, known = fuse.c_stat(), {}  # used again for similar entries: libfuse copies it
                new = {key: value for key, value in attributes.items() if known.get(key) != value}
                fuse.set_st_attrs(status, new, use_ns=True)
                known = attributes
                given = _GIVEN if complete else 0
                if fill(buffer, name.encode(self.encoding, self.errors), status, place, given):
                    break  # the kernel asks for the others later
            return 0

    return Fuse
