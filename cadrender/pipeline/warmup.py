"""Compiling kernels and planning transforms once, before the workers start, unless already done."""

import contextlib
import hashlib
import platform
from collections.abc import Iterable

from cadrender.cache import cache_directory, code_directory
from cadrender.catalogue.output import Batch
from cadrender.errors import CadrenderError
from cadrender.version import version


def warm_up(batches: Iterable[Batch]) -> None:
    """Fill the user's cache with everything the workers of these batches need.

    A marker file in the cache records the shapes, machine and version for which this was done. If the cache is not
    writable, each worker compiles for itself.
    """
    shapes: dict[str, Batch] = {}
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
        with contextlib.suppress(CadrenderError):  # the batch itself will report a missing HRIR
            batch.rehearse()
    if mark:
        with contextlib.suppress(OSError):
            mark.touch()
