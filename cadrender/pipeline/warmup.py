"""Compiling kernels and planning transforms once, before the workers start; nothing where that was done before."""

import contextlib
import hashlib
import platform
from collections.abc import Iterable

from cadrender.cache import cache_directory, code_directory
from cadrender.catalogue.output import Batch
from cadrender.errors import CadrenderError
from cadrender.version import version


def warm_up(batches: Iterable[Batch]) -> None:
    """Fill the user's cache with all that the workers of these batches will need.

    A file in the cache remembers for which shapes, on which machine and by which version this was done: then a run
    starts its workers at once. Where the cache cannot be written, each worker compiles for itself.
    """
    shapes = {}
    for batch in batches:
        if (shape := batch.shape()) is not None:
            shapes.setdefault(repr(shape), batch)
    if not shapes:
        return
    if code_directory() is None:
        return
    facts = [version(), platform.node(), platform.machine(), *sorted(shapes)]
    digest = hashlib.md5("\n".join(facts).encode(), usedforsecurity=False).hexdigest()
    cache = cache_directory()
    mark = cache / f"prepared-{digest}" if cache else None
    if mark and mark.exists():
        return
    for batch in shapes.values():
        with contextlib.suppress(CadrenderError):  # an HRIR that vanished is the batch's to report
            batch.rehearse()
    if mark:
        with contextlib.suppress(OSError):
            mark.touch()
