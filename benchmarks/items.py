"""Training items per second, with threads and with processes: rendered on demand, and read from stored files.

No framework's data loader is involved: each worker makes its share of the items and discards them.
"""

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cadrender.stems import STEMS


@dataclass(frozen=True)
class StoredItems:
    """The stems of a dataset's items, read from files with soundfile.

    Attributes
    ----------
    places : tuple of (pathlib.Path, int)
        For each item, the sample's folder and the first frame.
    frames : int
        Length of an item.
    suffix : str
        Of the files.
    """

    places: tuple[tuple[Path, int], ...]
    frames: int
    suffix: str

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        folder, start = self.places[index]
        files = {stem: folder / f"{stem}{self.suffix}" for stem in STEMS}
        return {
            stem: np.ascontiguousarray(soundfile.read(file, self.frames, start, dtype="float32")[0].T)
            for stem, file in files.items()
        }


def stored_like(dataset: Any, folder: Path, suffix: str, count: int) -> StoredItems:
    """The first items of a dataset as stored files provide them; every value is compared.

    Parameters
    ----------
    dataset : cadrender.Dataset
    folder : pathlib.Path
        Where ``cadrender generate`` put the samples' folders.
    suffix : str
    count : int
    """
    places = []
    for index in range(count):
        item = dataset[index]
        places.append((folder / item["sample"], item["start"]))
    stored = StoredItems(tuple(places), dataset.frames, suffix)
    for index in range(count):
        item, other = dataset[index], stored[index]
        for stem in STEMS:
            np.testing.assert_array_equal(other[stem], item[stem])
    return stored


_sources: Mapping[str, Any] = {}


def _take(sources):
    global _sources
    _sources = sources


def _make(name, indices):
    source = _sources[name]
    for index in indices:
        source[index]


class Workers:
    """Threads and processes that make items; a context manager.

    Parameters
    ----------
    sources : mapping of str to sequence
        Sources that yield items by index.
    counts : mapping of str to int
        Number of items of each made at a time.
    most : int
        Number of threads, and of processes.
    """

    def __init__(self, sources: Mapping[str, object], counts: Mapping[str, int], most: int):
        self._counts = counts
        self._sources = sources
        self._threads = ThreadPoolExecutor(most)
        # One task per process, so that each gets its share. Not forked: this process has threads.
        context = multiprocessing.get_context("spawn")
        self._processes = [
            ProcessPoolExecutor(1, context, initializer=_take, initargs=(sources,)) for _ in range(most)
        ]

    def __enter__(self):
        # Modules imported, kernels loaded, files known.
        _take(self._sources)
        for name in self._sources:
            for kind in ("threads", "processes"):
                self.rate(name, kind, len(self._processes))
        return self

    def __exit__(self, *exception):
        for pool in (self._threads, *self._processes):
            pool.shutdown()

    def rate(self, name: str, kind: str, workers: int) -> float:
        """Items per second.

        Parameters
        ----------
        name : str
            Name of the source.
        kind : {"threads", "processes"}
        workers : int
        """
        count = self._counts[name]
        pools: Sequence = self._processes if kind == "processes" else [self._threads] * workers
        shares = [range(first, count, workers) for first in range(workers)]
        began = time.perf_counter()
        running = [
            pool.submit(_make, name, share) for pool, share in zip(pools[:workers], shares, strict=True)
        ]
        for one in running:
            one.result()
        return count / (time.perf_counter() - began)
