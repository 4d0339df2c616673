"""Compiling kernels and planning transforms once, before the workers start."""

import numpy as np

from cadrender.dsp.convolve import convolve
from cadrender.jobs.stem import StemJob, heads_of
from cadrender.render import levels


def prepare(jobs: list[StemJob]) -> None:
    """Fill the user's cache with all that the workers of these jobs will need.

    Each number of heads has its own plans; noise is rendered once for each.

    Parameters
    ----------
    jobs : list of StemJob
    """
    done = set()
    for job in jobs:
        heads = heads_of(job.targets, job.samplerate)
        key = (len(heads), heads.taps, heads.trimmed_taps)
        if key in done:
            continue
        done.add(key)
        noise = np.random.default_rng(0).integers(-1000, 1000, (40 * heads.block()[1], 2), dtype=np.int16)
        levels(noise, job.samplerate, heads)
        for _ in convolve(noise, heads, np.ones(len(heads)), pcm16=job.audio_format.subtype == "PCM_16"):
            pass
