"""What the engine is compared with: the reference, today's best libraries, plain copies.

Every rival takes a batch of the engine's own plan (one stem of one song, some heads) and writes the same files in the
same places, so all of them read and write the same bytes. :func:`parts` and :func:`whole` put the engine and its
rivals side by side, ready to be timed in turns.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import oaconvolve

from benchmarks import reference
from benchmarks.machine import timed
from benchmarks.roots import SAMPLERATE, hrir, make_places, make_root, plan_of
from cadrender.catalogue.output import Batch, Output
from cadrender.dsp import convolve as engine
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import integrated_loudness
from cadrender.pipeline.commit import run_batch
from cadrender.signals.at_mic import AtMic
from cadrender.signals.base import Signal
from cadrender.store import AudioFormat, AudioWriter, read_stem


def convolve(signal: np.ndarray, left_hrir: np.ndarray, right_hrir: np.ndarray) -> np.ndarray:
    """:func:`benchmarks.reference.convolve` with ``scipy.signal.oaconvolve``."""
    ears = oaconvolve(signal[:, :1], left_hrir, axes=0) + oaconvolve(signal[:, 1:], right_hrir, axes=0)
    return ears[: len(signal)]


def _at_mic(output: Output[Signal]) -> AtMic:
    assert isinstance(output.signal, AtMic)
    return output.signal


def _hrirs(output: Output[Signal]) -> tuple[np.ndarray, np.ndarray]:
    signal = _at_mic(output)
    return soundfile.read(signal.left_hrir)[0], soundfile.read(signal.right_hrir)[0]


def by_reference(batch: Batch) -> None:
    """The challenge's algorithm, which rereads and remeasures a stem for every scene."""
    for output in batch.outputs:
        pcm, samplerate = soundfile.read(_at_mic(batch.outputs[0]).source, dtype="int16")
        left, right = _hrirs(output)
        soundfile.write(output.file, reference.render(pcm, left, right, samplerate), samplerate)


def by_libraries(batch: Batch, measure: Callable[[np.ndarray, int], float]) -> None:
    """oaconvolve, a loudness meter, soundfile; the stem is read and measured once for all its scenes."""
    pcm, samplerate = soundfile.read(_at_mic(batch.outputs[0]).source, dtype="int16")
    signal = pcm / 32768
    before = measure(signal, samplerate)
    for output in batch.outputs:
        left, right = _hrirs(output)
        rendered = convolve(signal, left, right)
        rendered *= 32768 * 10 ** ((before - measure(rendered, samplerate)) / 20)
        np.clip(rendered, -32768, 32767, out=rendered)
        soundfile.write(output.file, rendered.astype(np.int16), samplerate)


def libloudness(signal: np.ndarray, samplerate: int) -> float:
    """Integrated loudness by libloudness, which takes float32."""
    from loudness import integrated_loudness

    return integrated_loudness(signal.astype(np.float32), samplerate)


def by_oaconvolve_pyloudnorm(batch: Batch) -> None:
    """:func:`by_libraries` with pyloudnorm."""
    by_libraries(batch, reference.loudness)


def by_oaconvolve_libloudness(batch: Batch) -> None:
    """:func:`by_libraries` with libloudness: the fastest combination; its samples differ."""
    by_libraries(batch, libloudness)


def by_copying(batch: Batch) -> None:
    """Read the source once and write every output once, with plain system calls: the limit."""
    with _at_mic(batch.outputs[0]).source.open("rb", buffering=0) as source:
        content = source.read()
    for output in batch.outputs:
        descriptor = os.open(output.file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        view = memoryview(content)
        while len(view):
            view = view[os.write(descriptor, view[: 1 << 20]) :]
        os.close(descriptor)


def by_soundfile(batch: Batch) -> None:
    """The same copy through soundfile."""
    pcm, samplerate = soundfile.read(_at_mic(batch.outputs[0]).source, dtype="int16")
    for output in batch.outputs:
        soundfile.write(output.file, pcm, samplerate)


def run(rival: Callable[[Batch], None], batches: Sequence[Batch], n_jobs: int) -> None:
    """Run batches in this process, or on a joblib pool (start it before timing, with :func:`start_pool`)."""
    if n_jobs == 1:
        for batch in batches:
            rival(batch)
        return
    from joblib import Parallel, delayed

    Parallel(n_jobs, backend="loky", batch_size=1)(delayed(rival)(batch) for batch in batches)


def start_pool(n_jobs: int) -> None:
    """Start joblib's workers and have them import what they need."""
    from joblib import Parallel, delayed

    if n_jobs > 1:
        Parallel(n_jobs, backend="loky")(delayed(libloudness)(np.zeros((44100, 2)), 44100) for _ in range(8))


def parts(folder: Path, taps: int, frames: int) -> dict[str, Callable[[], float]]:
    """Seconds of each part of the work on one stem of noise and one head; files are in the page cache.

    Parameters
    ----------
    folder : pathlib.Path
        For the files.
    taps, frames : int
        Lengths of the HRIRs and of the stem.
    """
    pcm = np.random.default_rng(7).integers(-9000, 9000, (frames, 2), dtype=np.int16)
    signal = pcm / 32768
    left, right = hrir(taps, 1).astype(float), hrir(taps, 2).astype(float)
    heads, gain = Heads([(left, right)]), np.ones(1)
    source, target = folder / f"source-{taps}.wav", folder / f"target-{taps}.wav"
    soundfile.write(source, pcm, SAMPLERATE, subtype="PCM_16")

    def write():
        with AudioWriter(target, frames, SAMPLERATE, AudioFormat()) as writer:
            writer.write(pcm)
            writer.finish()
            writer.commit()

    def afresh(function):
        """Time writing a new file: ext4 takes longer to replace one."""
        run = timed(function)

        def unlink_and_run():
            target.unlink(missing_ok=True)
            return run()

        return unlink_and_run

    in_memory = {
        "cadrender convolution": lambda: sum(
            len(piece) for _, piece, _ in engine.convolve(pcm, heads, gain, False)
        ),
        "scipy.signal.lfilter": lambda: reference.convolve(signal, left, right),
        "scipy.signal.oaconvolve": lambda: convolve(signal, left, right),
        "cadrender loudness": lambda: integrated_loudness(pcm, SAMPLERATE),
        "pyloudnorm": lambda: reference.loudness(signal, SAMPLERATE),
        "libloudness": lambda: libloudness(signal, SAMPLERATE),
        "cadrender read": lambda: read_stem(source, SAMPLERATE),
        "soundfile read": lambda: soundfile.read(source, dtype="int16"),
    }
    return {name: timed(contender) for name, contender in in_memory.items()} | {
        "cadrender write": afresh(write),
        "soundfile write": afresh(lambda: soundfile.write(target, pcm, SAMPLERATE)),
    }


def whole(folder: Path, taps: int, seconds: float) -> dict[str, Callable[[], float]]:
    """Seconds of one stem for four heads, files included."""
    root = make_root(folder / f"root-{taps}", seconds=seconds, taps=taps)

    def on_empty_folder(rival):
        def run():
            batch = plan_of(root, folder / f"output-{taps}", stems=["mixture"]).batches[0]
            make_places([batch])
            return timed(lambda: rival(batch))()

        return run

    contenders = {
        "cadrender": run_batch,
        "reference": by_reference,
        "oaconvolve, pyloudnorm, soundfile": by_oaconvolve_pyloudnorm,
        "oaconvolve, libloudness, soundfile": by_oaconvolve_libloudness,
        "soundfile, no rendering": by_soundfile,
        "plain copy": by_copying,
    }
    return {name: on_empty_folder(rival) for name, rival in contenders.items()}
