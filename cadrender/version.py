"""The version of cadrender."""

import functools
import importlib.metadata


@functools.cache
def version() -> str:
    """The installed version, or ``"checkout"`` where the package runs without being installed."""
    try:
        return importlib.metadata.version("cadrender")
    except importlib.metadata.PackageNotFoundError:
        return "checkout"
