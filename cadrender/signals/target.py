"""Rebalanced targets, plain, amplified for a listener, or as a submission: mixed from a sample's at-mic stems.

See section 7 of ``docs/contract.md``.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from cadrender.dsp.nalr import ORDER
from cadrender.metadata.listeners import Listener
from cadrender.signals.at_mic import AtMic, read_source, recorded_heads, render_into
from cadrender.signals.base import Copy, Kept, Made, NotReadyError, Signal, Sink, as_float
from cadrender.signals.stored import Stored
from cadrender.stems import VDBO
from cadrender.store.blocks import BlockReader
from cadrender.store.manifest import Input, Inputs, Manifest, check_unchanged
from cadrender.store.writing import quantised

if TYPE_CHECKING:
    from cadrender.dsp.amplify import Amplifier
    from cadrender.dsp.rebalance import KeptSum, StemBlocks

QUALITIES = ("HQ", "VHQ")
"""Soxr resampling qualities; the challenge uses the first."""

# Frames of a submission scaled at a time.
_CHUNK = 64 * 1024

# Most bytes of memory per process for a sum or for stems: seven minutes.
_MOST_MEMORY = 300_000_000

_memory_kept = np.empty(0, np.uint8)
_kept = Kept()


@dataclass(frozen=True)
class Target(Signal):
    """The rebalanced mixture of a scene.

    Attributes
    ----------
    scene, sample, gain : str
        Id of the scene, name of its sample, id of its gains.
    gains_db : tuple of number
        Gains of vocals, drums, bass and other.
    parts : tuple of Stored
        The sample's at-mic stems: vocals, drums, bass, other and the mixture.
    frames, samplerate : int
        Of the target; its rate may differ from its parts'.
    subtype : str
    waits : bool
        Whether its parts are made by the same run, and waited for if missing.
    resampler : str
        Soxr quality, ``HQ`` or ``VHQ``, if its rate differs from its parts'.
    copy : Copy, optional
    """

    product: ClassVar[str] = "target"
    scene: str
    sample: str
    gain: str
    gains_db: tuple[float, ...]
    parts: tuple[Stored, ...]
    frames: int
    samplerate: int
    subtype: str = "PCM_16"
    waits: bool = False
    resampler: str = QUALITIES[0]
    copy: Copy | None = field(default=None, compare=False, repr=False)

    @property
    def listener(self) -> Listener | None:
        """The listener whose prescription amplifies it; None for the target itself."""
        return None

    @property
    def resampled(self) -> bool:
        """Whether its rate differs from its parts'."""
        return self.samplerate != self.parts[0].samplerate

    def parameters(self) -> dict[str, Any]:
        """The scene, its sample and its gains; the resampler's quality if it is resampled."""
        return {
            "scene": self.scene,
            "sample": self.sample,
            "gain": self.gain,
            "gains_db": dict(zip(VDBO, self.gains_db, strict=True)),
            **({"resampler": self.resampler} if self.resampled else {}),
        }

    def inputs(self) -> dict[str, Stored]:
        """The five at-mic stems."""
        return {part.stem: part for part in self.parts}

    def state(self) -> Hashable:
        """Size and mtime of its parts' files, or of what they are rendered from."""
        return tuple(part.state() for part in self.parts)

    def whole(self) -> npt.NDArray[Any]:
        """The whole target as stored, (frames, 2); kept for the next call, and read-only."""
        return _kept.get((self, self.state()), self._mix)

    def _mix(self) -> npt.NDArray[Any]:
        from cadrender.dsp.rebalance import rebalance

        signals = {part.stem: part.whole() for part in self.parts}
        mixture = signals.pop("mixture")
        gains = dict(zip(VDBO, self.gains_db, strict=True))
        rate = self.parts[0].samplerate
        plain = self.listener is None and not self.resampled
        if plain and self.subtype == "PCM_16":
            return rebalance(signals, gains, mixture, rate)
        target = self._amplified(rebalance(signals, gains, mixture, rate, dtype="float64"), rate)
        if self.resampled:
            import soxr

            target = soxr.resample(target, rate, self.samplerate, quality=self.resampler)
            missing = max(0, self.frames - len(target))
            target = np.concatenate([target[: self.frames], np.zeros((missing, 2))])
        return self._as_stored(target)

    def _amplified(self, signal: npt.NDArray[np.float64], samplerate: int) -> npt.NDArray[np.float64]:
        return signal

    def _as_stored(self, target: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        from cadrender.dsp.mix import to_int16

        return to_int16(target)[0] if self.subtype == "PCM_16" else quantised(target, self.subtype)

    def _quantised(self, start: int, frames: int) -> npt.NDArray[Any]:
        return self.whole()[start : start + frames]

    @classmethod
    def make(cls, signals: Sequence[Self], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Mix the targets of one sample, ordered by scene; its stems are read once or twice."""
        from cadrender.dsp.rebalance import common_dtype

        parts = signals[0].parts
        stored = [part.find() for part in parts]
        if signals[0].waits and not all(stored):
            raise NotReadyError(
                f"{signals[0].sample}: its at-mic files are not complete: no target is made of it"
            )
        dtype = common_dtype([found[1] if found else "int16" for found in stored])
        with ExitStack() as open_files:
            inputs: dict[str, Input | Inputs] = {}
            readers: list[BlockReader | _Rendered] = []
            for part, found in zip(parts, stored, strict=True):
                if found:
                    inputs[part.stem] = manifest.stat(found[0])
                    readers.append(
                        open_files.enter_context(BlockReader(found[0], part.frames, part.samplerate, dtype))
                    )
                else:
                    rendered = _Rendered(part.signal, dtype, sinks[0].folder, manifest)
                    inputs[part.stem] = rendered.inputs
                    readers.append(open_files.enter_context(rendered))
            outputs = [_output(one, sink, open_files) for one, sink in zip(signals, sinks, strict=True)]
            levels = _mix_into(outputs, readers, dtype)
        on_the_way = sum(found is None for found in stored)
        return [Made(level, inputs, on_the_way if number == 0 else 0) for number, level in enumerate(levels)]

    @classmethod
    def shape(cls, signals: Sequence[Self]) -> Hashable:
        """The rate, the most listeners of any scene, and the heads if a part must be rendered."""
        first = signals[0]
        rendered = first._rendered()
        heads = AtMic.shape(rendered) if rendered else None
        return first.parts[0].samplerate, _most_listeners(signals), heads

    def _rendered(self) -> list[AtMic]:
        """The first part that has to be rendered, if any."""
        if self.waits:
            return []
        return [part.at_mic for part in self.parts if part.at_mic and not part.find()][:1]

    @classmethod
    def rehearse(cls, signals: Sequence[Self]) -> None:
        """Mix and amplify noise, and render some if a part must be rendered."""
        from cadrender.dsp.amplify import Amplifier
        from cadrender.dsp.mix import ALONE, mix_float64, mix_int16
        from cadrender.dsp.nalr import nalr_filter
        from cadrender.dsp.rebalance import KeptSum, rebalance

        first = signals[0]
        rate = first.parts[0].samplerate
        noise = np.random.default_rng(0).integers(-1000, 1000, (rate, 2), dtype=np.int16)
        for dtype, make in (("int16", mix_int16), ("float64", mix_float64)):
            rebalance(dict.fromkeys(VDBO, noise), dict.fromkeys(VDBO, 0.0), noise, rate, dtype=dtype)
            kept = KeptSum(len(noise), np.zeros(KeptSum.bytes_needed(len(noise)), np.uint8))
            for block, count in kept:
                make(block, count, ALONE, 1.0, np.empty((count, 2), dtype))
        if count := _most_listeners(signals):
            flat = nalr_filter((250, 6000), (40, 40), rate)
            amplifier = Amplifier([(flat, flat)] * count)
            # More than it takes at once; silence would be skipped.
            for _ in (*amplifier.feed(np.resize(noise / 32768, (70_000, 2))), *amplifier.finish()):
                pass
        if rendered := first._rendered():
            AtMic.rehearse(rendered)


@dataclass(frozen=True)
class Amplified(Target):
    """A scene's target as amplified by a listener's linear hearing aid (NAL-R).

    Attributes
    ----------
    heard_by : Listener
        The listener whose prescription is used.
    """

    product: ClassVar[str] = "amplified"
    heard_by: Listener = field(kw_only=True)

    @property
    def listener(self) -> Listener:
        """The listener whose prescription amplifies it."""
        return self.heard_by

    def parameters(self) -> dict[str, Any]:
        """The target's parameters, the listener and the audiogram."""
        listener = self.heard_by
        audiogram = [list(listener.cfs), list(listener.levels_left), list(listener.levels_right)]
        return super().parameters() | {"listener": listener.id, "audiogram": audiogram}

    def _amplified(self, signal: npt.NDArray[np.float64], samplerate: int) -> npt.NDArray[np.float64]:
        from cadrender.dsp.amplify import amplify

        listener = self.heard_by
        ears = ((listener.cfs, listener.levels_left), (listener.cfs, listener.levels_right))
        return amplify(signal, samplerate, *ears)


@dataclass(frozen=True)
class Submission(Amplified):
    """An amplified target for the challenge's evaluator: PCM_16, divided by its peak if that exceeds 1.

    The factor that undoes the division goes into a text file of the same name.
    """

    product: ClassVar[str] = "submission"
    scratch: ClassVar[int] = 16  # float64 until the peak is known

    def beside(self, levels: Mapping[str, float]) -> dict[str, str]:
        """The factor, in a ``.txt`` file."""
        return {".txt": repr(float(levels["factor"]))}

    def _as_stored(self, target: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        from cadrender.dsp.mix import to_int16

        return to_int16(target / max(1.0, np.abs(target).max(initial=0.0)))[0]


def target_frames(frames: int, samplerate: int, output_rate: int, amplified: bool) -> int:
    """Length of a target, prescription tail included, at the output rate."""
    frames += ORDER if amplified else 0
    return int(frames * output_rate / samplerate + 0.5) if output_rate != samplerate else frames


def _most_listeners(signals: Iterable[Target]) -> int:
    counts = Counter(one.scene for one in signals if one.listener is not None)
    return max(counts.values(), default=0)


def _output(signal: Target, sink: Sink, open_files: ExitStack) -> "_Output":
    if isinstance(signal, Submission):
        return _ScaledOutput(signal, sink, open_files.enter_context(_NamelessFile(sink.folder)))
    return _Output(signal, sink)


def _mix_into(
    outputs: "Sequence[_Output]", readers: "Sequence[BlockReader | _Rendered]", dtype: npt.DTypeLike
) -> list[dict[str, float]]:
    """Measure each scene's sum, then make its files; returns the levels of each."""
    from cadrender.dsp.mix import ALONE
    from cadrender.dsp.rebalance import StemBlocks, linear, mix_levels

    first = outputs[0].signal.parts[0]
    frames, samplerate = first.frames, first.samplerate
    *sources, mixture = readers
    scenes: dict[str, list[_Output]] = {}
    for output in outputs:
        scenes.setdefault(output.signal.scene, []).append(output)
    weights = np.array([linear(scene[0].signal.gains_db) for scene in scenes.values()])
    stems, kept = _passes(sources, frames, dtype, len(scenes))
    levels = mix_levels(stems, StemBlocks([mixture], frames, dtype), frames, samplerate, weights, kept)
    if kept is not None:
        weights = ALONE[None]
    stages = [
        _SceneMixer(scene, row, level.gain)
        for scene, row, level in zip(scenes.values(), weights, levels, strict=True)
    ]
    for block, count in stems if kept is None else kept:
        for stage in stages:
            stage.feed(block, count)
    done = []
    for stage, scene, level in zip(stages, scenes.values(), levels, strict=True):
        stage.finish()
        done += [
            {
                "loudness_before": level.before,
                "loudness_after": level.after,
                "loudness_mixture": level.mixture,
                "scale_db": level.gain_db,
                **output.levels,
            }
            for output in scene
        ]
    return done


def _passes(
    sources: "Sequence[BlockReader | _Rendered]", frames: int, dtype: npt.DTypeLike, sums: int
) -> "tuple[StemBlocks, KeptSum | None]":
    """The stems, and where their sum is kept for the second pass: cheapest with a single sum."""
    from cadrender.dsp.rebalance import KeptSum, StemBlocks

    if sums == 1 and (memory := _memory(KeptSum.bytes_needed(frames))) is not None:
        return StemBlocks(sources, frames, dtype), KeptSum(frames, memory)
    memory = _memory(StemBlocks.bytes_needed(len(sources), frames, dtype))
    return StemBlocks(sources, frames, dtype, memory), None


def _memory(needed: int) -> npt.NDArray[np.uint8] | None:
    """This process's memory between the passes, kept across batches: fresh pages cost as much as reading.

    None for songs that are too long; those are read twice.
    """
    global _memory_kept
    if needed > _MOST_MEMORY:
        return None
    if len(_memory_kept) < needed:
        _memory_kept = np.empty(0, np.uint8)  # frees the smaller one first
        _memory_kept = np.empty(needed, np.uint8)
    return _memory_kept


class _Rendered:
    """An at-mic stem that is not on disk, rendered as by ``generate`` into a nameless file; a context manager."""

    pcm16 = True

    def __init__(self, at_mic: AtMic, dtype: npt.DTypeLike, folder: Path | None, manifest: Manifest) -> None:
        self._dtype = dtype
        source = manifest.look_at(at_mic.source)
        heads, (hrirs,) = recorded_heads((at_mic,), manifest)
        signal = read_source(at_mic.source, at_mic.frames, at_mic.samplerate)
        self._file = _NamelessFile(folder)
        try:
            render_into(signal, at_mic.samplerate, heads, [self])
            check_unchanged(at_mic.source, source)
        except BaseException:
            self._file.close()
            raise
        self.inputs: Inputs = {"source": source, **hrirs}

    def write(self, piece: npt.NDArray[Any]) -> None:
        """Take the next int16 frames."""
        self._file.append(piece)

    def read(self, start: int, out: npt.NDArray[Any]) -> None:
        """Fill ``out`` (2 * frames,) starting at frame ``start``."""
        pcm = out if self._dtype == np.int16 else np.empty(len(out), np.int16)
        self._file.read(4 * start, pcm)
        if pcm is not out:
            out[:] = as_float(pcm)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()


class _NamelessFile:
    """A file for arrays too large for memory, removed on close or process exit; a context manager."""

    def __init__(self, folder: Path | None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed on exit
        self.close = self._file.close

    def append(self, array: npt.NDArray[Any]) -> None:
        view = array.data.cast("B")
        while len(view):
            view = view[os.write(self._file.fileno(), view) :]

    def read(self, offset: int, out: npt.NDArray[Any]) -> None:
        """Fill `out` with the bytes starting at `offset`."""
        if os.preadv(self._file.fileno(), [out.data], offset) != out.nbytes:
            raise OSError("a temporary file was truncated")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Output:
    """Resamples and quantises one target into its sink."""

    def __init__(self, signal: Target, sink: Sink) -> None:
        self.signal = signal
        self.clipped = 0
        self._sink = sink
        self._left = signal.frames
        self._resampler = None
        if signal.resampled:
            import soxr

            self._resampler = soxr.ResampleStream(
                signal.parts[0].samplerate, signal.samplerate, 2, dtype="float64", quality=signal.resampler
            )

    @property
    def takes_int16(self) -> bool:
        """Whether the mixer's int16 can be written unchanged."""
        return self._sink.pcm16 and self._resampler is None and self.signal.listener is None

    def write_int16(self, piece: npt.NDArray[np.int16], clipped: int) -> None:
        """Write int16 frames."""
        self._sink.write(piece)
        self._left -= len(piece)
        self.clipped += clipped

    def write(self, piece: npt.NDArray[np.float64], last: bool = False) -> None:
        """Write float64 frames of full scale 1."""
        if self._resampler is not None:
            piece = self._resampler.resample_chunk(np.ascontiguousarray(piece), last=last)
            if last and len(piece) < self._left:
                piece = np.concatenate([piece, np.zeros((self._left - len(piece), 2))])
        piece = piece[: self._left]
        self._left -= len(piece)
        self._store(piece)

    def _store(self, piece: npt.NDArray[np.float64]) -> None:
        from cadrender.dsp.mix import to_int16

        if self._sink.pcm16:
            pcm, clipped = to_int16(piece)
            self.clipped += clipped
            self._sink.write(pcm)
            return
        if self.signal.subtype == "PCM_24":
            self.clipped += int(np.count_nonzero(np.abs(piece) > 1.0))
        self._sink.write(piece)

    def finish(self) -> None:
        """Write what the resampler still holds."""
        if self._resampler is not None:
            self.write(np.zeros((0, 2)), last=True)

    @property
    def levels(self) -> dict[str, float]:
        """The measured levels."""
        return {"clipped": self.clipped}


class _ScaledOutput(_Output):
    """Keeps a target until its peak is known, then scales it."""

    def __init__(self, signal: Target, sink: Sink, kept: _NamelessFile) -> None:
        super().__init__(signal, sink)
        self._kept = kept
        self._peak = 0.0

    def _store(self, piece: npt.NDArray[np.float64]) -> None:
        self._peak = max(self._peak, float(np.abs(piece).max(initial=0.0)))
        self._kept.append(np.ascontiguousarray(piece))

    def finish(self) -> None:
        """Write the whole target."""
        from cadrender.dsp.mix import to_int16

        super().finish()
        chunk = np.empty((_CHUNK, 2))
        for start in range(0, self.signal.frames, _CHUNK):
            piece = chunk[: self.signal.frames - start]
            self._kept.read(16 * start, piece)
            self._sink.write(to_int16(piece / max(1.0, self._peak))[0])

    @property
    def levels(self) -> dict[str, float]:
        """The factor that undoes the scaling; nothing is clipped."""
        return {"clipped": 0, "factor": max(1.0, self._peak)}


class _SceneMixer:
    """Makes a scene's target, plain and as amplified by each listener's hearing aid."""

    def __init__(self, outputs: Sequence[_Output], weights: npt.NDArray[np.float64], gain: float) -> None:
        from cadrender.dsp.mix import BLOCK

        self._weights, self._gain = weights, gain
        self._direct = [each for each in outputs if each.takes_int16]
        self._plain = [each for each in outputs if each.signal.listener is None and not each.takes_int16]
        self._amplified = [each for each in outputs if each.signal.listener is not None]
        self._amplifier = _amplifier(self._amplified) if self._amplified else None
        self._pcm = np.empty((BLOCK, 2), np.int16)
        self._float = np.empty((BLOCK, 2))

    def feed(self, block: npt.NDArray[Any], count: int) -> None:
        """Take the next `count` frames of the stems."""
        from cadrender.dsp.mix import mix_float64, mix_int16

        for output in self._direct:
            clipped = mix_int16(block, count, self._weights, self._gain, self._pcm)
            output.write_int16(self._pcm[:count], clipped)
        if self._plain or self._amplified:
            piece = self._float[:count]
            mix_float64(block, count, self._weights, self._gain, piece)
            for output in self._plain:
                output.write(piece)
            if self._amplifier:
                self._pass_on(self._amplifier.feed(piece))

    def finish(self) -> None:
        """Take the end of the stems."""
        if self._amplifier:
            self._pass_on(self._amplifier.finish())
        for output in (*self._plain, *self._amplified):
            output.finish()

    def _pass_on(self, pieces: Iterable[tuple[int, npt.NDArray[np.float64]]]) -> None:
        for number, piece in pieces:
            self._amplified[number].write(piece)


def _amplifier(outputs: Iterable[_Output]) -> "Amplifier":
    from cadrender.dsp.amplify import Amplifier
    from cadrender.dsp.nalr import nalr_filter

    filters = []
    for output in outputs:
        listener, rate = output.signal.listener, output.signal.parts[0].samplerate
        if listener is not None:
            left = nalr_filter(listener.cfs, listener.levels_left, rate)
            filters.append((left, nalr_filter(listener.cfs, listener.levels_right, rate)))
    return Amplifier(filters)
