"""Rebalanced targets, plain, amplified for a listener, or as a submission: mixed from one sample's at-mic stems.

See section 7 of ``docs/contract.md``.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cadrender.dsp.nalr import ORDER
from cadrender.metadata.listeners import Listener
from cadrender.signals.at_mic import AtMic, heads_of, look_at_hrir, read_source, render_into
from cadrender.signals.base import Kept, Made, NotReadyError, Signal, Sink, as_float
from cadrender.signals.stored import Stored
from cadrender.stems import VDBO
from cadrender.store.blocks import BlockReader
from cadrender.store.manifest import Inputs, Manifest, check_unchanged
from cadrender.store.writing import quantised

QUALITIES = ("HQ", "VHQ")
"""Of soxr, where a target has another rate; the challenge's own is the first."""

# Frames of a submission that are scaled at a time.
_CHUNK = 64 * 1024

# Bytes of memory for a sum or for stems in one process: seven minutes.
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
        Of vocals, drums, bass and other.
    parts : tuple of Stored
        The sample's at-mic stems: vocals, drums, bass, other and the mixture.
    frames, samplerate : int
        Of the target; its rate may be another one than that of its parts.
    subtype : str
    waits : bool
        Whether its parts are made by the same run, and waited for where they are not there.
    resampler : str
        The quality of soxr, ``HQ`` or ``VHQ``, where its rate is not that of its parts.
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

    @property
    def listener(self) -> Listener | None:
        """Whose prescription amplifies it; None for the target itself."""
        return None

    @property
    def resampled(self) -> bool:
        """Whether its rate is not that of its parts."""
        return self.samplerate != self.parts[0].samplerate

    def parameters(self) -> dict:
        """The scene, its sample and its gains; the resampler's quality where it matters."""
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

    def whole(self) -> np.ndarray:
        """All of it as it is stored, (frames, 2); kept for the next call, and not to be changed."""
        return _kept.get((self, tuple(part.state() for part in self.parts)), self._mix)

    def _mix(self):
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

    def _amplified(self, signal, samplerate):
        return signal

    def _as_stored(self, target):
        from cadrender.dsp.mix import to_int16

        return to_int16(target)[0] if self.subtype == "PCM_16" else quantised(target, self.subtype)

    def _quantised(self, start, frames):
        return self.whole()[start : start + frames]

    @staticmethod
    def make(signals: Sequence["Target"], sinks: Sequence[Sink], manifest: Manifest) -> list[Made]:
        """Mix the targets of one sample, those of a scene one after the other; its stems are read once or twice."""
        from cadrender.dsp.rebalance import common_dtype

        parts = signals[0].parts
        stored = [part.find() for part in parts]
        if signals[0].waits and not all(stored):
            raise NotReadyError(
                f"{signals[0].sample}: its at-mic files are not complete: no target is made of it"
            )
        dtype = common_dtype([found[1] if found else "int16" for found in stored])
        with ExitStack() as open_files:
            inputs, readers = {}, []
            for part, found in zip(parts, stored, strict=True):
                if found:
                    inputs[part.stem] = manifest.stat(found[0])
                    reader = BlockReader(found[0], part.frames, part.samplerate, dtype)
                else:
                    reader = _Rendered(part.signal, dtype, sinks[0].folder, manifest)
                    inputs[part.stem] = reader.inputs
                readers.append(open_files.enter_context(reader))
            outputs = [_output(one, sink, open_files) for one, sink in zip(signals, sinks, strict=True)]
            levels = _mix_into(outputs, readers, dtype)
        on_the_way = sum(found is None for found in stored)
        return [Made(level, inputs, on_the_way if number == 0 else 0) for number, level in enumerate(levels)]

    @staticmethod
    def shape(signals: Sequence["Target"]) -> object:
        """The rate, and how many listeners a scene has at most; with the heads, where a part must be rendered."""
        first = signals[0]
        part = next((part for part in first.parts if part.at_mic and not part.find()), None)
        rendered = AtMic.shape([part.at_mic]) if part and not first.waits else None
        return first.parts[0].samplerate, _most_listeners(signals), rendered

    @staticmethod
    def rehearse(signals: Sequence["Target"]) -> None:
        """Mix and amplify noise, and render some where a part must be rendered."""
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
            # More than it takes at a time; silence would be skipped.
            for _ in (*amplifier.feed(np.resize(noise / 32768, (70_000, 2))), *amplifier.finish()):
                pass
        part = next((part for part in first.parts if part.at_mic and not part.find()), None)
        if part and not first.waits:
            AtMic.rehearse([part.at_mic])


@dataclass(frozen=True)
class Amplified(Target):
    """The target of a scene as a listener's linear hearing aid amplifies it (NAL-R).

    Attributes
    ----------
    heard_by : Listener
        Whose prescription it is.
    """

    product: ClassVar[str] = "amplified"
    heard_by: Listener | None = None

    @property
    def listener(self) -> Listener | None:
        """Whose prescription amplifies it."""
        return self.heard_by

    def parameters(self) -> dict:
        """The target's, the listener and the audiogram."""
        listener = self.heard_by
        audiogram = [list(listener.cfs), list(listener.levels_left), list(listener.levels_right)]
        return super().parameters() | {"listener": listener.id, "audiogram": audiogram}

    def _amplified(self, signal, samplerate):
        from cadrender.dsp.amplify import amplify

        listener = self.heard_by
        ears = ((listener.cfs, listener.levels_left), (listener.cfs, listener.levels_right))
        return amplify(signal, samplerate, *ears)


@dataclass(frozen=True)
class Submission(Amplified):
    """An amplified target as the challenge's evaluator takes it: PCM_16, divided by its peak if that exceeds 1.

    The factor that undoes the division stands in a text file of the same name.
    """

    product: ClassVar[str] = "submission"
    scratch: ClassVar[int] = 16  # float64 until the peak is known

    def beside(self, levels: dict) -> dict[str, str]:
        """The factor, in a file that ends in ``.txt``."""
        return {".txt": repr(float(levels["factor"]))}

    def _as_stored(self, target):
        from cadrender.dsp.mix import to_int16

        return to_int16(target / max(1.0, np.abs(target).max(initial=0.0)))[0]


def target_frames(frames: int, samplerate: int, output_rate: int, amplified: bool) -> int:
    """Length of a target: the prescription's tail is kept, another rate scales it."""
    frames += ORDER if amplified else 0
    return int(frames * output_rate / samplerate + 0.5) if output_rate != samplerate else frames


def _most_listeners(signals):
    counts = Counter(one.scene for one in signals if one.listener is not None)
    return max(counts.values(), default=0)


def _output(signal, sink, open_files):
    if isinstance(signal, Submission):
        return _ScaledOutput(signal, sink, open_files.enter_context(_NamelessFile(sink.folder)))
    return _Output(signal, sink)


def _mix_into(outputs, readers, dtype):
    """Measure each scene's sum, then make its files; the levels of each."""
    from cadrender.dsp.mix import ALONE
    from cadrender.dsp.rebalance import StemBlocks, linear, mix_levels

    first = outputs[0].signal.parts[0]
    frames, samplerate = first.frames, first.samplerate
    *sources, mixture = readers
    scenes = _by_scene(outputs)
    weights = np.array([linear(scene[0].signal.gains_db) for scene in scenes])
    mixture = StemBlocks([mixture], frames, dtype)
    stems, kept = _passes(sources, frames, dtype, len(scenes))
    levels = mix_levels(stems, mixture, frames, samplerate, weights, kept)
    if kept is not None:
        stems, weights = kept, ALONE[None]
    stages = [
        _Scene(scene, row, level.gain) for scene, row, level in zip(scenes, weights, levels, strict=True)
    ]
    for block, count in stems:
        for stage in stages:
            stage.feed(block, count)
    done = []
    for stage, scene, level in zip(stages, scenes, levels, strict=True):
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


def _passes(sources, frames, dtype, sums):
    """The stems, and where their sum is kept for the second pass: if there is one only, that costs least."""
    from cadrender.dsp.rebalance import KeptSum, StemBlocks

    if sums == 1 and (memory := _memory(KeptSum.bytes_needed(frames))) is not None:
        return StemBlocks(sources, frames, dtype), KeptSum(frames, memory)
    memory = _memory(StemBlocks.bytes_needed(len(sources), frames, dtype))
    return StemBlocks(sources, frames, dtype, memory), None


def _memory(needed):
    """This process's memory between the passes, kept from batch to batch: fresh pages cost as much as reading does.

    None for songs that are too long for it; they are read twice.
    """
    global _memory_kept
    if needed > _MOST_MEMORY:
        return None
    if len(_memory_kept) < needed:
        _memory_kept = np.empty(0, np.uint8)  # first let go of the smaller one
        _memory_kept = np.empty(needed, np.uint8)
    return _memory_kept


def _by_scene(outputs):
    """Outputs of one scene together; they come that way."""
    scenes = {}
    for output in outputs:
        scenes.setdefault(output.signal.scene, []).append(output)
    return list(scenes.values())


class _Rendered:
    """An at-mic stem that is not on disk: rendered as ``generate`` does, into a nameless file.

    The file is gone when it is closed, or when the process ends, however it ends. A context manager.
    """

    pcm16 = True

    def __init__(self, at_mic, dtype, folder, manifest) -> None:
        self._dtype = dtype
        source = manifest.look_at(at_mic.source)
        signal = read_source(at_mic.source, at_mic.frames, at_mic.samplerate)
        self._file = _NamelessFile(folder)
        try:
            render_into(signal, at_mic.samplerate, heads_of((at_mic,)), [self])
            check_unchanged(at_mic.source, source)
        except BaseException:
            self._file.close()
            raise
        self.inputs: Inputs = {
            "source": source,
            "left_hrir": look_at_hrir(at_mic.left_hrir, at_mic.samplerate, manifest),
            "right_hrir": look_at_hrir(at_mic.right_hrir, at_mic.samplerate, manifest),
        }

    def write(self, piece) -> None:
        """Take the next int16 frames."""
        self._file.append(piece)

    def read(self, start, out) -> None:
        """Fill ``out`` (2 * frames,) from frame ``start`` on."""
        pcm = out if self._dtype == np.int16 else np.empty(len(out), np.int16)
        self._file.read(4 * start, pcm)
        if pcm is not out:
            out[:] = as_float(pcm)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()


class _NamelessFile:
    """Arrays that are too large for memory: gone when it is closed, or when the process ends, however it ends.

    A context manager.
    """

    def __init__(self, folder) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed on exit
        self.close = self._file.close

    def append(self, array) -> None:
        view = memoryview(array).cast("B")
        while len(view):
            view = view[self._file.write(view) :]

    def read(self, offset, out) -> None:
        """Fill `out` from a byte on."""
        if os.preadv(self._file.fileno(), [out], offset) != out.nbytes:
            raise OSError("a temporary file has lost its end")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class _Output:
    """Resamples and quantises one target into its sink."""

    def __init__(self, signal, sink) -> None:
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
    def takes_int16(self):
        """Whether the mixer's int16 can be written as it is."""
        return self._sink.pcm16 and self._resampler is None and self.signal.listener is None

    def write_int16(self, piece, clipped) -> None:
        """Write int16 frames."""
        self._sink.write(piece)
        self._left -= len(piece)
        self.clipped += clipped

    def write(self, piece, last=False) -> None:
        """Write float64 frames of full scale 1."""
        if self._resampler is not None:
            piece = self._resampler.resample_chunk(np.ascontiguousarray(piece), last=last)
            if last and len(piece) < self._left:
                piece = np.concatenate([piece, np.zeros((self._left - len(piece), 2))])
        piece = piece[: self._left]
        self._left -= len(piece)
        self._store(piece)

    def _store(self, piece) -> None:
        from cadrender.dsp.mix import to_int16

        if self._sink.pcm16:
            piece, clipped = to_int16(piece)
            self.clipped += clipped
        elif self.signal.subtype == "PCM_24":
            self.clipped += int(np.count_nonzero(np.abs(piece) > 1.0))
        self._sink.write(piece)

    def finish(self) -> None:
        """Write what the resampler still holds."""
        if self._resampler is not None:
            self.write(np.zeros((0, 2)), last=True)

    @property
    def levels(self):
        """What there is to say of it in the end."""
        return {"clipped": self.clipped}


class _ScaledOutput(_Output):
    """Keeps one target until its peak is known, and scales it then."""

    def __init__(self, signal, sink, kept) -> None:
        super().__init__(signal, sink)
        self._kept = kept
        self._peak = 0.0

    def _store(self, piece) -> None:
        self._peak = max(self._peak, float(np.abs(piece).max(initial=0.0)))
        self._kept.append(np.ascontiguousarray(piece))

    def finish(self) -> None:
        """Write all of it."""
        from cadrender.dsp.mix import to_int16

        super().finish()
        chunk = np.empty((_CHUNK, 2))
        for start in range(0, self.signal.frames, _CHUNK):
            piece = chunk[: self.signal.frames - start]
            self._kept.read(16 * start, piece)
            self._sink.write(to_int16(piece / max(1.0, self._peak))[0])

    @property
    def levels(self):
        """The factor that undoes the scaling; nothing is clipped."""
        return {"clipped": 0, "factor": max(1.0, self._peak)}


class _Scene:
    """Makes one scene's target, and the target as each listener's hearing aid amplifies it."""

    def __init__(self, outputs, weights, gain) -> None:
        from cadrender.dsp.mix import BLOCK

        self._weights, self._gain = weights, gain
        self._direct = [each for each in outputs if each.takes_int16]
        self._plain = [each for each in outputs if each.signal.listener is None and not each.takes_int16]
        self._amplified = [each for each in outputs if each.signal.listener is not None]
        self._amplifier = _amplifier(self._amplified) if self._amplified else None
        self._pcm = np.empty((BLOCK, 2), np.int16)
        self._float = np.empty((BLOCK, 2))

    def feed(self, block, count) -> None:
        """Take the next frames of the stems."""
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

    def _pass_on(self, pieces) -> None:
        for number, piece in pieces:
            self._amplified[number].write(piece)


def _amplifier(outputs):
    from cadrender.dsp.amplify import Amplifier
    from cadrender.dsp.nalr import nalr_filter

    filters = []
    for output in outputs:
        listener, samplerate = output.signal.listener, output.signal.parts[0].samplerate
        ears = (listener.levels_left, listener.levels_right)
        filters.append(tuple(nalr_filter(listener.cfs, levels, samplerate) for levels in ears))
    return Amplifier(filters)
