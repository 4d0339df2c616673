"""At-mic stems: one stem of a song, as the microphones at one head position pick it up (section 2 of the contract)."""

import functools
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from cadrender.errors import AudioError, CadrenderError
from cadrender.signals.base import ArraySink, Kept, Made, Signal, Sink
from cadrender.store import read_hrir, read_stem
from cadrender.store.manifest import Manifest, check_unchanged

_kept = Kept()


@dataclass(frozen=True)
class AtMic(Signal):
    """One stem of a song or excerpt at one head position.

    Attributes
    ----------
    stem : str
        ``mixture``, ``vocals``, ``drums``, ``bass`` or ``other``.
    source : pathlib.Path
        The stem's file.
    left_hrir, right_hrir : pathlib.Path
        The HRIRs of the left and of the right loudspeaker.
    frames, samplerate : int
        The stem's length, and its rate in hertz.
    subtype : str
    """

    product: ClassVar[str] = "at-mic"
    unrecorded_counts: ClassVar[bool] = True
    stem: str
    source: Path
    left_hrir: Path
    right_hrir: Path
    frames: int
    samplerate: int
    subtype: str = "PCM_16"

    def parameters(self) -> dict:
        """Nothing: all that counts are the inputs."""
        return {}

    def inputs(self) -> dict[str, Path]:
        """The stem's file and the two HRIRs."""
        return {"source": self.source, "left_hrir": self.left_hrir, "right_hrir": self.right_hrir}

    def whole(self) -> np.ndarray:
        """All of it as it is stored, (frames, 2); kept for the next call, and not to be changed."""
        files = (self.source, self.left_hrir, self.right_hrir)
        states = tuple(size_and_time(file) for file in files)
        return _kept.get((self, states), self._render)

    def _render(self):
        sink = ArraySink(self.frames, self.subtype)
        render_into(self._signal(), self.samplerate, heads_of([self]), [sink])
        return sink.array

    def _signal(self):
        return read_source(self.source, self.frames, self.samplerate)

    def _quantised(self, start, frames):
        return self.whole()[start : start + frames]

    @staticmethod
    def make(signals: Sequence["AtMic"], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Render one stem for several heads; its source is read, weighted and transformed once."""
        first = signals[0]
        source = manifest.look_at(first.source)
        signal = first._signal()
        levels, clipped = render_into(signal, first.samplerate, heads_of(signals), sinks)
        check_unchanged(first.source, source)
        return [
            Made(
                {
                    "loudness_before": level.before,
                    "loudness_after": level.after,
                    "gain": level.gain,
                    "clipped": clips,
                },
                {
                    "source": source,
                    "left_hrir": look_at_hrir(one.left_hrir, one.samplerate, manifest),
                    "right_hrir": look_at_hrir(one.right_hrir, one.samplerate, manifest),
                },
            )
            for one, level, clips in zip(signals, levels, clipped, strict=True)
        ]

    @staticmethod
    def shape(signals: Sequence["AtMic"]) -> object:
        """How many heads, their HRIRs as they are on disk, the rate, and whether the samples are int16."""
        hrirs = sorted({str(file) for one in signals for file in (one.left_hrir, one.right_hrir)})
        states = tuple(f"{file} {size_and_time(Path(file))}" for file in hrirs)
        return platform.machine(), len(signals), states, signals[0].samplerate, signals[0].subtype == "PCM_16"

    @staticmethod
    def rehearse(signals: Sequence["AtMic"]) -> None:
        """Render noise for the same heads."""
        from cadrender.dsp.render import at_mic

        first, heads = signals[0], heads_of(signals)
        frames = max(first.samplerate, 20 * heads.block()[1])
        noise = np.random.default_rng(0).integers(-1000, 1000, (frames, 2), dtype=np.int16)
        for _ in at_mic(noise, first.samplerate, heads, pcm16=first.subtype == "PCM_16")[1]:
            pass


def read_source(file: Path, frames: int, samplerate: int) -> np.ndarray:
    """Read a stem whose length is known.

    Raises
    ------
    AudioError
        If it cannot be read, or is no longer as long as it was when its header was read first.
    """
    signal = read_stem(file, samplerate)
    if len(signal) != frames:
        raise AudioError(f"{file}: {len(signal)} frames, and {frames} when it was looked at first")
    return signal


def render_into(signal: np.ndarray, samplerate: int, heads, sinks: Sequence[Sink]) -> tuple[list, list[int]]:
    """Render a stem into sinks, one for each head.

    Returns
    -------
    levels : list of cadrender.dsp.render.Level
    clipped : list of int
        PCM values that had to be clipped.
    """
    from cadrender.dsp.render import at_mic

    measured, pieces = at_mic(signal, samplerate, heads, pcm16=sinks[0].pcm16)
    clipped = [0] * len(sinks)
    for head, piece, clips in pieces:
        sinks[head].write(piece)
        clipped[head] += int(clips)
    return measured, clipped


def heads_of(signals: Sequence[AtMic]):
    """The HRIRs of some signals as :class:`cadrender.dsp.hrir.Heads`; kept for the next stem of the song.

    Raises
    ------
    AudioError
        If one cannot be used.
    """
    keys = tuple(
        (_hrir_key(one.left_hrir, one.samplerate), _hrir_key(one.right_hrir, one.samplerate))
        for one in signals
    )
    return _heads(keys)


def look_at_hrir(file: Path, samplerate: int, manifest: Manifest):
    """What a manifest says of an HRIR; kept, since each belongs to many signals."""
    return _looked_at(*_hrir_key(file, samplerate), manifest)


def _hrir_key(file, samplerate):
    """Size and time are there to tell a changed file from the one remembered."""
    try:
        status = file.stat()
    except OSError as error:
        read_hrir(file, samplerate)  # says what is wrong
        raise CadrenderError(f"{file}: {error.strerror or error}") from error
    return file, samplerate, status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=256)
def _hrir(file, samplerate, size, mtime_ns):
    return read_hrir(file, samplerate)


@functools.lru_cache(maxsize=1024)
def _looked_at(file, samplerate, size, mtime_ns, manifest):
    return manifest.look_at(file)


@functools.lru_cache(maxsize=4)
def _heads(keys):
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left), _hrir(*right)) for left, right in keys])


def size_and_time(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None if it is gone."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
