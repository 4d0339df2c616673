"""Excerpts: parts of a song's stem, cut before rendering (section 8 of ``docs/contract.md``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from cadrender.signals.base import Made, Signal, Sink, as_float
from cadrender.store import AudioFormat, read_stem
from cadrender.store.audio import exact_dtype
from cadrender.store.manifest import Manifest, check_unchanged


@dataclass(frozen=True)
class ExcerptStem(Signal):
    """One stem of an excerpt, with the song's own samples.

    Attributes
    ----------
    stem : str
        ``mixture``, ``vocals``, ``drums``, ``bass`` or ``other``.
    source : pathlib.Path
        The song's file.
    start, frames, samplerate : int
        The excerpt's first frame in the song, its length, and the rate of both in hertz.
    subtype : str
        The song's if possible, so that samples are unchanged.
    """

    product: ClassVar[str] = "excerpt"
    remade_to_verify: ClassVar[bool] = True
    stem: str
    source: Path
    start: int
    frames: int
    samplerate: int
    subtype: str = "PCM_16"

    def parameters(self) -> dict[str, Any]:
        """Where it begins in the song."""
        return {"start": self.start}

    def inputs(self) -> dict[str, Path]:
        """The song's file."""
        return {"source": self.source}

    def _quantised(self, start: int, frames: int) -> npt.NDArray[Any]:
        if not frames:
            return np.zeros((0, 2), exact_dtype(self.subtype))
        signal = self._cut()[start : start + frames]
        if self.subtype == "FLOAT" and signal.dtype != np.float32:
            return as_float(signal).astype(np.float32)
        return signal

    def _cut(self) -> npt.NDArray[Any]:
        return read_stem(self.source, self.samplerate, self.start, self.frames)

    @classmethod
    def make(cls, signals: Sequence[Self], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Cut each excerpt.

        The song's digest is not computed: that takes longer than cutting, and cutting again reveals a change.
        """
        made = []
        for one, sink in zip(signals, sinks, strict=True):
            source = manifest.stat(one.source)
            signal = one._cut()
            check_unchanged(one.source, source)
            sink.write(signal if one.subtype == "PCM_16" else as_float(signal))
            made.append(Made({}, {"source": source}))
        return made


def excerpt_format(subtype: str) -> AudioFormat:
    """The format that holds a song's samples without loss, as far as stereo WAV can."""
    return AudioFormat("wav", _KEPT_AS.get(subtype, "FLOAT"))


_KEPT_AS = {"PCM_S8": "PCM_16", "PCM_U8": "PCM_16", "PCM_16": "PCM_16", "PCM_24": "PCM_24"}
