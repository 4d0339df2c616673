"""Where plans and compiled kernels are kept between runs."""

import os
from pathlib import Path


def cache_directory() -> Path:
    """The user's cache directory for cadrender; the environment's ``CADRENDER_CACHE_DIR`` overrides it.

    It may be missing or read-only: everything in it can be made again.
    """
    chosen = os.environ.get("CADRENDER_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("cadrender"))
