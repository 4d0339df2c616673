"""Training items a second, by threads and by processes: rendered on demand, and read from stored files.

No loader of any framework takes part: each worker makes its share of the items and drops them.
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
        Of each item: the sample's folder, and the first frame.
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
    """The first items of a dataset as stored files have them; every value is compared.

    Parameters
    ----------
    dataset : cadrender.Dataset
    folder : pathlib.Path
        Where ``cadrender generate`` put the folders of the samples.
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
        What gives items by their index.
    counts : mapping of str to int
        How many items of each are made at a time.
    most : int
        Threads, and processes.
    """

    def __init__(self, sources: Mapping[str, object], counts: Mapping[str, int], most: int):
        self._counts = counts
        self._sources = sources
        self._threads = ThreadPoolExecutor(most)
        # One process each, so that each gets its share. Not forked: this process has threads.
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
        """Items a second.

        Parameters
        ----------
        name : str
            Of the source.
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
