"""The unit of work: one stem of one song, rendered for all the heads that still miss it."""

import errno
import functools
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cadrender.errors import AudioError, CadrenderError
from cadrender.store import AudioFormat, AudioWriter, ClaimedError, is_complete, read_hrir, read_stem
from cadrender.store.manifest import (
    Entry,
    Input,
    Manifest,
    append_entries,
    check_unchanged,
    look_at_input,
    relative_name,
)
from cadrender.version import version


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
    manifest : Manifest, optional
        Where the files are entered; nowhere by default.
    """

    song: str
    stem: str
    source: Path
    start: int
    frames: int
    samplerate: int
    audio_format: AudioFormat
    targets: tuple[Target, ...]
    manifest: Manifest | None = None

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
    found : tuple of Target
        Files that another process has completed since the job was made.
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
    found: tuple[Target, ...] = ()
    error: str = ""
    fatal: bool = False
    seconds: float = 0.0


@functools.lru_cache(maxsize=256)
def _hrir(file, samplerate, size, mtime_ns):
    """An HRIR and its digest; size and time are there to tell a changed file from the one remembered."""
    return read_hrir(file, samplerate), look_at_input(file, file.parent).digest


@functools.lru_cache(maxsize=4)
def _heads(files, samplerate):
    from cadrender.dsp.hrir import Heads

    return Heads([(_hrir(*left)[0], _hrir(*right)[0]) for left, right in files])


def _hrir_key(file, samplerate):
    try:
        status = file.stat()
    except OSError:
        read_hrir(file, samplerate)  # says what is wrong
        raise
    return file, samplerate, status.st_size, status.st_mtime_ns


def heads_of(targets, samplerate):
    """The HRIRs of some targets as :class:`cadrender.dsp.hrir.Heads`; kept for the next stem of the song."""
    return _heads(tuple(_hrir_keys(target, samplerate) for target in targets), samplerate)


def _hrir_keys(target, samplerate):
    return _hrir_key(target.left_hrir, samplerate), _hrir_key(target.right_hrir, samplerate)


# What is wrong with one place only; anything else, such as a full disk, would meet every other job too.
_OF_ONE_PLACE = {errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENOENT}


def is_fatal(problem: OSError) -> bool:
    """Whether what a job met while writing would hit every other job too."""
    return problem.errno not in _OF_ONE_PLACE


def run_stem_job(job: StemJob) -> Report:
    """Render one stem and write its files; whatever goes wrong with it is in the report."""
    began = time.perf_counter()
    done = _Done([], [], [])
    error, fatal = "", False
    try:
        _render(job, done)
    except CadrenderError as problem:
        error = str(problem)
    except MemoryError:
        error = f"{job.source}: not enough memory to render it; use fewer jobs (-j)"
    except OSError as problem:
        where = problem.filename2 or problem.filename or job.targets[0].file.parent
        error, fatal = f"{where}: cannot be written: {problem.strerror or problem}", is_fatal(problem)
    seconds = time.perf_counter() - began
    return Report(job, *map(tuple, done), error, fatal, seconds)


class _Done(NamedTuple):
    """The lists of a report while they grow."""

    written: list
    claimed: list
    found: list


def _render(job, done):
    with ExitStack() as open_files:
        targets, writers = [], []
        for target in job.targets:
            try:
                writer = AudioWriter(target.file, job.frames, job.samplerate, job.audio_format)
            except ClaimedError:
                done.claimed.append(target)
                continue
            open_files.enter_context(writer)
            # Another process may have been here since the plan was made.
            if is_complete(target.file, job.frames, job.samplerate, job.audio_format):
                done.found.append(target)
                continue
            targets.append(target)
            writers.append(writer)
        if not targets:
            return
        signal, source = read_source(job)
        hrirs = tuple(_hrir_keys(target, job.samplerate) for target in targets)
        levels, clipped = render_into(job, signal, _heads(hrirs, job.samplerate), writers)
        if source:
            check_unchanged(job.source, source)
        written = [
            Written(target, level.before, level.after, level.gain, clips)
            for target, level, clips in zip(targets, levels, clipped, strict=True)
        ]
        finished = [writer.finish() for writer in writers]
        if job.manifest:
            lines = zip(written, finished, hrirs, strict=True)
            append_entries(job.manifest.file, [_entry(job, source, *line) for line in lines])
        for writer, one in zip(writers, written, strict=True):
            writer.commit()
            done.written.append(one)


def read_source(job: StemJob) -> tuple[np.ndarray, Input | None]:
    """The stem's samples and, for the manifest, what its file is.

    Raises
    ------
    AudioError
        If it cannot be read, or is no longer what it was when the job was made.
    """
    source = look_at_input(job.source, job.manifest.music_dir) if job.manifest else None
    signal = read_stem(job.source, job.samplerate, job.start, job.frames)
    if len(signal) != job.frames:
        raise AudioError(f"{job.source}: {len(signal)} frames, and {job.frames} when it was looked at first")
    return signal, source


def render_into(job: StemJob, signal: np.ndarray, heads, sinks) -> tuple[list, list[int]]:
    """Render a stem into anything that has AudioWriter's ``pcm16`` and ``write``, one for each head.

    Returns
    -------
    levels : list of cadrender.render.Level
    clipped : list of int
    """
    from cadrender.render import at_mic

    measured, pieces = at_mic(signal, job.samplerate, heads, pcm16=sinks[0].pcm16)
    clipped = [0] * len(sinks)
    for head, piece, clips in pieces:
        sinks[head].write(piece)
        clipped[head] += int(clips)
    return measured, clipped


def _entry(job, source, written, finished, hrirs):
    digest, size = finished
    left, right = (
        Input(relative_name(key[0], job.manifest.hrtf_dir), *key[2:], _hrir(*key)[1]) for key in hrirs
    )
    return Entry(
        path=relative_name(written.target.file, job.manifest.output_dir),
        bytes=size,
        frames=job.frames,
        digest=digest,
        before=written.before,
        after=written.after,
        gain=written.gain,
        clipped=written.clipped,
        start=job.start,
        source=source,
        left_hrir=left,
        right_hrir=right,
        version=version(),
    )
