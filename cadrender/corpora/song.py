"""Songs of a corpus as signals: decoded, summed, cut or padded to their mixture, and scaled if they overload."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from cadrender.corpora.decode import BLOCK, Block, quiet_stderr, sum_blocks
from cadrender.errors import AudioError
from cadrender.signals.base import Kept, Made, Signal, Sink
from cadrender.stems import MIXTURE
from cadrender.store.manifest import Manifest, check_unchanged

_FULL_SCALE = 32768
_LOUDEST = (_FULL_SCALE - 1) / _FULL_SCALE
_WORTH_A_NOTE = 0.005  # length difference from the mixture, in seconds, that needs no note

_kept = Kept()


@dataclass(frozen=True)
class SongStem(Signal):
    """One stem of a corpus's song in a root: stereo, PCM_16, at the root's rate.

    Files of a stem are summed. All stems are as long as the mixture. If any of them overloads, the whole song,
    including the mixture, is scaled by one factor so that its largest PCM value just fits: the stems keep their balance
    and nothing is clipped. PCM values are rounded without dither: an unscaled PCM_16 file at `samplerate` keeps its
    values.

    Attributes
    ----------
    stem : str
        Name of the stem.
    sources : tuple of (str, tuple of pathlib.Path)
        The files of each of the song's stems, the mixture first; a stem without files is digital silence.
    samplerate : int
        In hertz.
    minimum_seconds : float
        Shorter songs are rejected.
    cost : int
        Approximate number of frames, estimated from file sizes.
    frames : int or None
        None: known only once it has been decoded.
    subtype : str
    """

    product: ClassVar[str] = "song"
    stem: str
    sources: tuple[tuple[str, tuple[Path, ...]], ...]
    samplerate: int
    minimum_seconds: float = 0.0
    cost: int = 0
    frames: int | None = None
    subtype: str = "PCM_16"

    def parameters(self) -> dict[str, Any]:
        """The song's stems."""
        return {"stems": [stem for stem, _ in self.sources]}

    def inputs(self) -> dict[str, Path]:
        """The files of all stems, any of which may overload: ``vocals.0`` and so on."""
        return {f"{stem}.{number}": path for stem, paths in self.sources for number, path in enumerate(paths)}

    def read(
        self, start: int = 0, frames: int = -1, dtype: str = "int16", out: npt.NDArray[Any] | None = None
    ) -> npt.NDArray[Any]:
        """Read a part; the whole song is decoded to do so.

        Raises
        ------
        AudioError
            If a file of the song cannot be used.
        """
        if self.frames is None:
            return replace(self, frames=len(self._samples())).read(start, frames, dtype, out)
        return super().read(start, frames, dtype, out)

    def _quantised(self, start: int, frames: int) -> npt.NDArray[np.int16]:
        return self._samples()[start : start + frames]

    def _samples(self) -> npt.NDArray[np.int16]:
        """The whole signal, kept for the next read."""
        files: dict[Path, tuple[int, int]] = {}
        for path in self.inputs().values():
            with contextlib.suppress(OSError):  # the decoder reports what is missing
                status = path.stat()
                files[path] = status.st_size, status.st_mtime_ns
        key = replace(self, frames=None), tuple(files.items())
        return _kept.get(key, self._decode)

    def _decode(self) -> npt.NDArray[np.int16]:
        memory = _Memory()
        with quiet_stderr():
            _convert(self, {self.stem: memory})
        return np.concatenate(memory.pieces)

    @classmethod
    def make(cls, signals: Sequence[Self], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Convert stems of one song; all its stems are decoded, whichever are requested.

        Input files are recorded by size and mtime: a digest would take as long as decoding.
        """
        song = signals[0]
        inputs = {role: manifest.stat(path) for role, path in song.inputs().items()}
        with quiet_stderr():
            notes = _convert(song, {signal.stem: sink for signal, sink in zip(signals, sinks, strict=True)})
        for role, path in song.inputs().items():
            check_unchanged(path, inputs[role])
        return [Made({}, inputs, notes=notes)] * len(signals)


class _Memory:
    """A sink that keeps all pieces."""

    pcm16 = True
    folder: Path | None = None

    def __init__(self) -> None:
        self.pieces: list[npt.NDArray[np.int16]] = []

    def restart(self) -> None:
        self.pieces.clear()

    def write(self, piece: npt.NDArray[Any]) -> None:
        self.pieces.append(piece)


def _convert(song: SongStem, sinks: Mapping[str, Sink]) -> tuple[str, ...]:
    """Write stems of a song into their sinks; returns remarks on it."""
    lengths: dict[Path, int] = {}
    sources = dict(song.sources)

    def blocks(stem: str) -> Iterator[Block]:
        return sum_blocks(sources[stem], lengths, samplerate=song.samplerate)

    frames, peak = _write(blocks(MIXTURE), sinks.get(MIXTURE))
    if frames < max(math.ceil(song.minimum_seconds * song.samplerate), 1):
        seconds = frames / song.samplerate
        raise AudioError(
            f"{sources[MIXTURE][0]}: is too short: {seconds:.2f} s; expected at least {song.minimum_seconds:.4g} s"
        )
    peaks = {MIXTURE: peak}
    for stem in sources:
        if stem != MIXTURE:
            _, peaks[stem] = _write(_fit(blocks(stem), frames), sinks.get(stem))
    notes = _length_notes(lengths, frames, song.samplerate)
    loudest = max(peaks, key=lambda stem: peaks[stem])
    if peaks[loudest] > 1.0:
        gain = _LOUDEST / peaks[loudest]
        for stem, sink in sinks.items():
            sink.restart()
            _write(_fit(blocks(stem), frames), sink, gain)
        notes.append(f"all its files are scaled by {20 * math.log10(gain):.2f} dB, since {loudest} overloads")
    return tuple(notes)


def _write(blocks: Iterable[Block], sink: Sink | None, gain: float = 1.0) -> tuple[int, float]:
    """Write `blocks` x `gain` as int16; returns the number of frames and the peak before the gain."""
    frames, peak = 0, 0.0
    for block in blocks:
        if len(block):
            frames += len(block)
            peak = max(peak, float(np.abs(block).max()))
            if sink is not None:
                sink.write(_quantised(block, gain))
    return frames, peak


def _quantised(block: Block, gain: float) -> npt.NDArray[np.int16]:
    samples = np.rint(block * (gain * _FULL_SCALE))
    return np.clip(samples, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _fit(blocks: Iterator[Block], frames: int) -> Iterator[Block]:
    """Cut or pad `blocks` to `frames`; all of them are read, so that a damaged end is detected."""
    left = frames
    for block in blocks:
        yield block[:left]
        left -= len(block[:left])
    while left:
        silence = np.zeros((min(left, BLOCK), 2))
        yield silence
        left -= len(silence)


def _length_notes(lengths: Mapping[Path, int], frames: int, samplerate: int) -> list[str]:
    notes = []
    for path, own in lengths.items():
        seconds = (own - frames) / samplerate
        if abs(seconds) > _WORTH_A_NOTE:
            change = "longer than the mixture: cut" if seconds > 0 else "shorter than the mixture: padded"
            notes.append(f"{path.name} is {abs(seconds):.3f} s {change}")
    return notes
