"""One decorator for every compiled kernel: its flags, and where the machine code is cached.

The flags are chosen once: ``error_model="numpy"`` (loops do not check for division by zero), no fast-math (so that
results do not depend on how the compiler reorders sums; kernels use fused multiply-adds and lanes explicitly, through
:mod:`cadrender.dsp.lanes`), ``nogil``.

Machine code is cached in the folder of :mod:`cadrender.cache`, if there is one.
"""

import contextlib
import errno
import functools
import io
import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

from cadrender.cache import code_directory, report_failed
from cadrender.startup import spare_linear_algebra

spare_linear_algebra()

Kernel = Callable[..., Any]

# Bytes of a checksum.
_SEAL = 4


def _compiled(cache: bool) -> Callable[[Kernel], Kernel]:
    return numba.njit(cache=cache, nogil=True, error_model="numpy", boundscheck=False)


def compiled(function: Kernel) -> Kernel:
    """Compile ``function`` with Numba when it is first called, and cache the machine code."""
    directory = code_directory()
    if directory is None:
        return _compiled(cache=False)(function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        kernel: Any = _compiled(cache=True)(function)
    except RuntimeError:  # the folder is no longer writable
        return _compiled(cache=False)(function)
    finally:
        numba.config.CACHE_DIR = before
    kernel._cache._cache_file.__class__ = _Sealed
    # Numba enters this context to load and save machine code; its own lets system errors pass.
    kernel._cache._guard_against_spurious_io_errors = functools.partial(_without_it, directory)
    return kernel


class _Sealed(IndexDataCacheFile):
    """Numba's files, each with a checksum at its end: a damaged one, as after a power cut, is as good as missing.

    So is machine code of another signature or version of the kernel, whose file's name was used again.
    """

    _kernel = b""  # what is being loaded or saved

    def load(self, key: Any) -> Any:
        self._kernel = repr((self._source_stamp, key)).encode()
        return super().load(key)

    def save(self, key: Any, data: Any) -> None:
        self._kernel = repr((self._source_stamp, key)).encode()
        super().save(key, data)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + self._seal(filepath, content.getvalue()))

    def _load_index(self) -> Any:
        try:
            self._checked(self._index_path)
        except OSError:
            return {}
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        return pickle.loads(self._checked(self._data_path(name)))  # as Numba does

    def _checked(self, file: str) -> bytes:
        """The content of a whole file."""
        content = Path(file).read_bytes()
        if content[-_SEAL:] != self._seal(file, content[:-_SEAL]):
            raise FileNotFoundError(errno.ENOENT, "damaged", file)
        return content[:-_SEAL]

    def _seal(self, file: str, content: bytes) -> bytes:
        start = zlib.crc32(b"" if file == self._index_path else self._kernel)
        return zlib.crc32(content, start).to_bytes(_SEAL, "big")


@contextlib.contextmanager
def _without_it(directory: Path) -> Iterator[None]:
    """Go on without the cache if it fails: a full disk must not end a run that does not need it."""
    try:
        yield
    except OSError as error:
        report_failed(directory, error)


inlined = numba.njit(nogil=True, error_model="numpy", boundscheck=False, forceinline=True)
