"""Compiling kernels and planning transforms once, before the workers start; nothing when that was done before."""

import contextlib
import hashlib
import platform
from pathlib import Path

from cadrender.cache import cache_directory
from cadrender.jobs.stem import StemJob
from cadrender.version import version


def prepare(jobs: list[StemJob]) -> None:
    """Fill the user's cache with all that the workers of these jobs will need.

    A file in the cache remembers for which heads, on which machine and by which version this was done: then a run
    starts its workers at once. Where the cache cannot be written, each worker compiles for itself.

    Parameters
    ----------
    jobs : list of StemJob
        Jobs of other kinds are passed over.
    """
    shapes = {}
    for job in jobs:
        if not isinstance(job, StemJob):
            continue
        hrirs = frozenset(path for target in job.targets for path in (target.left_hrir, target.right_hrir))
        shapes.setdefault((len(job.targets), hrirs, job.samplerate, job.audio_format), job)
    if not shapes:
        return
    mark = cache_directory() / f"prepared-{_digest(shapes)}"
    if mark.exists():
        return
    for job in shapes.values():
        _rehearse(job)
    with contextlib.suppress(OSError):
        mark.touch()


def _digest(shapes) -> str:
    """Stands for this machine, this version, and the heads of these jobs as they are on disk."""
    facts = [version(), platform.node(), platform.machine()]
    for count, hrirs, samplerate, audio_format in sorted(
        shapes, key=lambda shape: (shape[0], sorted(shape[1]))
    ):
        facts += [str(count), str(samplerate), str(audio_format), *(_state(path) for path in sorted(hrirs))]
    return hashlib.md5("\n".join(facts).encode(), usedforsecurity=False).hexdigest()


def _state(file: Path) -> str:
    try:
        status = file.stat()
    except OSError:
        return f"{file} missing"
    return f"{file} {status.st_size} {status.st_mtime_ns}"


def _rehearse(job):
    """Render noise with a job's heads: what is compiled and planned on the way is kept in the cache."""
    import numpy as np

    from cadrender.errors import CadrenderError
    from cadrender.jobs.stem import heads_of
    from cadrender.render import at_mic

    with contextlib.suppress(CadrenderError):  # an HRIR that vanished is the job's to report
        heads = heads_of(job.targets, job.samplerate)
        frames = max(job.samplerate, 20 * heads.block()[1])
        noise = np.random.default_rng(0).integers(-1000, 1000, (frames, 2), dtype=np.int16)
        for _ in at_mic(noise, job.samplerate, heads, pcm16=job.audio_format.subtype == "PCM_16")[1]:
            pass
