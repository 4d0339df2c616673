"""Files that exist only when complete, written by one process at a time.

A file is written under a temporary name next to its place and renamed when complete. The temporary name is fixed
for each place, and its writer holds an exclusive lock on it (``flock``), so that

* a second process wanting to write the same file finds it claimed and leaves it alone;
* the temporary file of a killed process is recognised: nobody holds its lock;
* all of this works between machines if their shared file system supports such locks.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from cadrender.errors import CadrenderError

_SUFFIX = ".part"

# flock's errors on file systems without locks: files are written without claims there.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class ClaimedError(CadrenderError):
    """Another process is writing this file."""


def temporary_name(file: Path) -> Path:
    """Where ``file`` is written until it is complete."""
    return file.with_name(f".{file.name}{_SUFFIX}")


def _lock(descriptor: int, operation: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool:
    """Take a lock, by default the exclusive one; False if another process holds it."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def lock_and_wait(descriptor: int) -> None:
    """Wait for the exclusive lock of an open file; closing the file releases it."""
    _lock(descriptor, fcntl.LOCK_EX)


def unlock(descriptor: int) -> None:
    """Release the lock of an open file."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def same_file(descriptor: int, path: Path) -> bool:
    """Whether ``path`` still names the open file, which another process may have renamed or removed."""
    with contextlib.suppress(OSError):
        named, opened = path.stat(follow_symlinks=False), os.fstat(descriptor)
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
    return False


class AtomicFile:
    """A file that appears in its place only when complete.

    A context manager: leaving it by an exception, or without :meth:`commit`, removes the temporary file.

    Parameters
    ----------
    file : pathlib.Path
        The place. Its folder must exist. A symbolic link there is replaced, never written through.

    Attributes
    ----------
    descriptor : int
        The open temporary file.

    Raises
    ------
    ClaimedError
        If another process is writing this file.
    OSError
        If the temporary file cannot be made.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._temporary = temporary_name(file)
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            self.descriptor = os.open(self._temporary, flags, 0o666)
            try:
                claimed = not _lock(self.descriptor)
                current = claimed or same_file(self.descriptor, self._temporary)
                if current and not claimed:
                    # Left by a killed process. Truncating an already empty file would make ext4 allocate it on close,
                    # which costs a third of writing it.
                    if os.fstat(self.descriptor).st_size:
                        os.ftruncate(self.descriptor, 0)
                    return
            except BaseException:
                os.close(self.descriptor)
                raise
            os.close(self.descriptor)
            if claimed:
                raise ClaimedError(f"{file}: another process is writing it")

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes: all of them, or an OSError."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[os.write(self.descriptor, view) :]

    def rewind(self) -> None:
        """Discard what was written."""
        os.ftruncate(self.descriptor, 0)
        os.lseek(self.descriptor, 0, os.SEEK_SET)

    def commit(self) -> None:
        """Move the complete file into its place."""
        self._temporary.replace(self.file)
        os.close(self.descriptor)  # releases the lock
        self.descriptor = -1

    def close(self) -> None:
        """Remove the temporary file, unless it was committed."""
        if self.descriptor >= 0:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def is_claimed(file: Path) -> bool:
    """Whether a process is writing ``file``."""
    with contextlib.suppress(OSError), _opened(temporary_name(file)) as descriptor:
        return not _lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return False


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files in ``folder`` that no process is writing; returns how many."""
    removed = 0
    with contextlib.suppress(OSError):
        for temporary in folder.glob(f".*{_SUFFIX}"):
            with contextlib.suppress(OSError), _opened(temporary) as descriptor:
                # Its writer may have renamed it meanwhile, and another created a new one.
                if _lock(descriptor) and same_file(descriptor, temporary):
                    temporary.unlink()
                    removed += 1
    return removed


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
