"""The engine and its parts beside other libraries on the same input, ready to be timed in turns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from benchmarks import reference, rivals
from benchmarks.interleaved import timed
from benchmarks.roots import SAMPLERATE, hrir, make_places, make_root, plan_of
from cadrender.dsp.convolve import convolve
from cadrender.dsp.hrir import Heads
from cadrender.dsp.loudness import integrated_loudness
from cadrender.pipeline.commit import run_batch
from cadrender.store import AudioFormat, AudioWriter, read_stem


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
        """Time writing a new file: ext4 takes longer where it replaces one."""
        run = timed(function)

        def unlink_and_run():
            target.unlink(missing_ok=True)
            return run()

        return unlink_and_run

    in_memory = {
        "cadrender convolution": lambda: sum(len(piece) for _, piece, _ in convolve(pcm, heads, gain, False)),
        "scipy.signal.lfilter": lambda: reference.convolve(signal, left, right),
        "scipy.signal.oaconvolve": lambda: rivals.convolve(signal, left, right),
        "cadrender loudness": lambda: integrated_loudness(pcm, SAMPLERATE),
        "pyloudnorm": lambda: reference.loudness(signal, SAMPLERATE),
        "libloudness": lambda: rivals.libloudness(signal, SAMPLERATE),
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
        "reference": rivals.by_reference,
        "oaconvolve, pyloudnorm, soundfile": rivals.by_oaconvolve_pyloudnorm,
        "oaconvolve, libloudness, soundfile": rivals.by_oaconvolve_libloudness,
        "soundfile, no rendering": rivals.by_soundfile,
        "plain copy": rivals.by_copying,
    }
    return {name: on_empty_folder(rival) for name, rival in contenders.items()}
