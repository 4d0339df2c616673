"""Small in-memory file systems, mounted for a test."""

import contextlib
import subprocess

import pytest


def mount(*arguments):
    """Mount something, or skip the test if that is not permitted."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of a size such as ``4m`` at a folder that does not exist yet."""
    folder.mkdir(parents=True)
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
