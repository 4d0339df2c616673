"""The unit of work: one stem of one song, rendered for all the heads that still miss it."""

import functools
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cadrender.errors import AudioError, CadrenderError
from cadrender.store import AudioFormat, AudioWriter, ClaimedError, read_hrir, read_stem


@dataclass(frozen=True)
class Target:
    """One at-mic file.

    Attributes
    ----------
    sample : str
        Name of the sample it belongs to.
    file : pathlib.Path
        Where it goes.
    left_hrir, right_hrir : pathlib.Path
        The HRIRs of the left and of the right loudspeaker.
    """

    sample: str
    file: Path
    left_hrir: Path
    right_hrir: Path


@dataclass(frozen=True)
class StemJob:
    """One stem of one song for some heads; only paths and numbers, so that it can travel.

    Attributes
    ----------
    song, stem : str
        For messages.
    source : pathlib.Path
        The stem's file.
    start, frames : int
        The excerpt of it that is rendered (cut first, then rendered).
    samplerate : int
        In hertz.
    audio_format : AudioFormat
        Of the targets.
    targets : tuple of Target
    """

    song: str
    stem: str
    source: Path
    start: int
    frames: int
    samplerate: int
    audio_format: AudioFormat
    targets: tuple[Target, ...]

    @property
    def frame_scenes(self) -> int:
        """Frames times heads: what the job costs."""
        return self.frames * len(self.targets)


@dataclass(frozen=True)
class Written:
    """One at-mic file that was written.

    Attributes
    ----------
    target : Target
    before, after : float
        LUFS of the stem and of its convolution.
    gain : float
        The factor applied; 0 where the file is digital silence.
    clipped : int
        Samples that had to be clipped.
    """

    target: Target
    before: float
    after: float
    gain: float
    clipped: int


@dataclass(frozen=True)
class Report:
    """What became of a job.

    Attributes
    ----------
    job : StemJob
    written : tuple of Written
    claimed : tuple of Target
        Files that another process is writing.
    error : str
        One line; empty if all went well.
    fatal : bool
        Whether the error would hit every other job too (no space left, read-only).
    seconds : float
        Time the job took.
    """

    job: StemJob
    written: tuple[Written, ...] = ()
    claimed: tuple[Target, ...] = ()
    error: str = ""
    fatal: bool = False
    seconds: float = 0.0


@functools.lru_cache(maxsize=256)
def _hrir(file, samplerate):
    return read_hrir(file, samplerate)


@functools.lru_cache(maxsize=4)
def _heads(files, samplerate):
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(left, samplerate), _hrir(right, samplerate)) for left, right in files])


def heads_of(targets, samplerate):
    """The HRIRs of some targets as :class:`cadrender.dsp.hrir.Heads`; kept for the next stem of the song."""
    return _heads(tuple((target.left_hrir, target.right_hrir) for target in targets), samplerate)


def run_stem_job(job: StemJob) -> Report:
    """Render one stem and write its files; whatever goes wrong with it is in the report."""
    began = time.perf_counter()
    written, claimed = [], []
    error, fatal = "", False
    try:
        _render(job, written, claimed)
    except CadrenderError as problem:
        error = str(problem)
    except MemoryError:
        error = f"{job.source}: not enough memory to render it; use fewer jobs (-j)"
    except OSError as problem:
        where = problem.filename2 or problem.filename or job.targets[0].file.parent
        error, fatal = f"{where}: cannot be written: {problem.strerror or problem}", True
    return Report(job, tuple(written), tuple(claimed), error, fatal, time.perf_counter() - began)


def _render(job, written, claimed):
    from cadrender.dsp.convolve import convolve
    from cadrender.render import levels

    signal = read_stem(job.source, job.samplerate, job.start, job.frames)
    if len(signal) != job.frames:
        raise AudioError(f"{job.source}: {len(signal)} frames, and {job.frames} when it was looked at first")
    with ExitStack() as open_files:
        targets, writers = [], []
        for target in job.targets:
            try:
                writer = AudioWriter(target.file, job.frames, job.samplerate, job.audio_format)
            except ClaimedError:
                claimed.append(target)
                continue
            targets.append(target)
            writers.append(open_files.enter_context(writer))
        if not targets:
            return
        heads = heads_of(targets, job.samplerate)
        measured = levels(signal, job.samplerate, heads)
        clipped = np.zeros(len(targets), np.int64)
        gains = [level.gain for level in measured]
        for head, piece, clips in convolve(signal, heads, gains, pcm16=writers[0].pcm16):
            writers[head].write(piece)
            clipped[head] += clips
        for target, writer, level, clips in zip(targets, writers, measured, clipped.tolist(), strict=True):
            writer.commit()
            written.append(Written(target, level.before, level.after, level.gain, clips))
