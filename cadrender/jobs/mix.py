"""The unit of work of ``remix``: the targets that are mixed from one sample's at-mic signals."""

import json
import math
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cadrender.dsp.nalr import ORDER
from cadrender.errors import AudioError, CadrenderError
from cadrender.jobs.stem import heads_of, is_fatal, render_into
from cadrender.metadata import Listener
from cadrender.stems import VDBO
from cadrender.store import AudioFormat, AudioWriter, ClaimedError, read_header, read_stem
from cadrender.store.audio import exact_dtype
from cadrender.store.blocks import BlockReader
from cadrender.store.manifest import append_lines

# Bytes of memory for a sum or for stems in one process: seven minutes.
_MOST_MEMORY = 300_000_000

_kept = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Part:
    """One at-mic signal that is mixed.

    Attributes
    ----------
    stem : str
    stored : tuple of pathlib.Path
        Where its file may be.
    subtype : str
        What it must be for the file to count; any by default.
    source : pathlib.Path or None
        The song's file that it is rendered from where none of those is complete.
    start : int
        First frame of the source.
    left_hrir, right_hrir : pathlib.Path or None
        The HRIRs that it is rendered with.
    """

    stem: str
    stored: tuple[Path, ...]
    subtype: str = ""
    source: Path | None = None
    start: int = 0
    left_hrir: Path | None = None
    right_hrir: Path | None = None


@dataclass(frozen=True)
class MixTarget:
    """One file to make.

    Attributes
    ----------
    scene, gain : str
        Ids.
    gains_db : tuple of number
        Of vocals, drums, bass and other.
    file : pathlib.Path
        Where it goes.
    audio_format : AudioFormat
    listener : Listener or None
        Whose prescription amplifies it; None for the target itself.
    """

    scene: str
    gain: str
    gains_db: tuple[float, ...]
    file: Path
    audio_format: AudioFormat
    listener: Listener | None = None


@dataclass(frozen=True)
class MixJob:
    """Some targets of one sample; only paths and numbers, so that it can travel.

    Attributes
    ----------
    song, sample : str
        Names.
    parts : tuple of Part
        Vocals, drums, bass, other and the mixture.
    frames, samplerate : int
        Of the parts.
    output_rate : int
        Of the targets, in hertz.
    targets : tuple of MixTarget
        Those of a scene one after the other.
    render : bool
        Whether parts that are not on disk are rendered from the song, or waited for.
    journal : Journal
        Where finished targets are entered.
    """

    song: str
    sample: str
    parts: tuple[Part, ...]
    frames: int
    samplerate: int
    output_rate: int
    targets: tuple[MixTarget, ...]
    render: bool
    journal: "Journal"

    @property
    def frame_scenes(self) -> int:
        """Frames times targets: what the job costs."""
        return self.frames * len(self.targets)


@dataclass(frozen=True)
class Mixed:
    """One file that was made.

    Attributes
    ----------
    target : MixTarget
    before : float
        LUFS of the weighted sum.
    mixture : float
        LUFS of the at-mic mixture.
    gain_db : float
        What the sum was raised by.
    clipped : int
        Samples that had to be clipped.
    digest : str
        BLAKE3 of the file.
    """

    target: MixTarget
    before: float
    mixture: float
    gain_db: float
    clipped: int
    digest: str


@dataclass(frozen=True)
class MixReport:
    """What became of a job.

    Attributes
    ----------
    job : MixJob
    written : tuple of Mixed
    claimed : tuple of MixTarget
        Files that another process is writing.
    waiting : bool
        Whether parts were not there yet.
    rendered : int
        Parts that had to be rendered from the song.
    error : str
        One line; empty if all went well.
    fatal : bool
        Whether the error would hit every other job too (no space left, read-only).
    """

    job: MixJob
    written: tuple[Mixed, ...] = ()
    claimed: tuple[MixTarget, ...] = ()
    waiting: bool = False
    rendered: int = 0
    error: str = ""
    fatal: bool = False


def output_frames(frames: int, samplerate: int, output_rate: int, amplified: bool) -> int:
    """Length of a target: a filter's tail is kept, another rate scales it."""
    frames += ORDER if amplified else 0
    return int(frames * output_rate / samplerate + 0.5) if output_rate != samplerate else frames


def find_stored(part: Part, frames: int, samplerate: int) -> tuple[Path, str] | None:
    """The complete file of an at-mic signal, and the type that holds its samples; None if there is none."""
    for file in part.stored:
        try:
            header = read_header(file)
        except AudioError:
            continue
        if (header.frames, header.samplerate, header.channels) != (frames, samplerate, 2):
            continue
        if part.subtype in ("", header.subtype):
            return file, exact_dtype(header)
    return None


def run_mix_job(job: MixJob) -> MixReport:
    """Mix one sample's targets and write them; whatever goes wrong with it is in the report."""
    written, claimed = [], []
    waiting, rendered, error, fatal = False, 0, "", False
    try:
        waiting, rendered = _mix(job, written, claimed)
    except CadrenderError as problem:
        error = str(problem)
    except MemoryError:
        error = f"{job.sample}: not enough memory to mix it; use fewer jobs (-j)"
    except OSError as problem:
        where = problem.filename2 or problem.filename or job.targets[0].file.parent
        error, fatal = f"{where}: cannot be written: {problem.strerror or problem}", is_fatal(problem)
    return MixReport(job, tuple(written), tuple(claimed), waiting, rendered, error, fatal)


def _mix(job, written, claimed):
    from cadrender.render.remix import common_dtype

    stored = [find_stored(part, job.frames, job.samplerate) for part in job.parts]
    if not job.render and not all(stored):
        return True, 0
    with ExitStack() as open_files:
        sinks = []
        for target in job.targets:
            try:
                sinks.append(open_files.enter_context(_Sink(job, target)))
            except ClaimedError:
                claimed.append(target)
        if not sinks:
            return False, 0
        inputs = {
            part.stem: _stamp(found[0]) if found else None
            for part, found in zip(job.parts, stored, strict=True)
        }
        dtype = common_dtype([found[1] if found else "int16" for found in stored])
        *sources, mixture = (
            open_files.enter_context(
                BlockReader(found[0], job.frames, job.samplerate, dtype)
                if found
                else _Rendered(job, part, dtype)
            )
            for part, found in zip(job.parts, stored, strict=True)
        )
        done = _make(job, sources, mixture, dtype, _by_scene(sinks))
        for sink, mixed in zip(sinks, done, strict=True):
            sink.commit()
            written.append(mixed)
        # A file counts from here on: one without its line is made again.
        job.journal.append([record_of(job, mixed, inputs) for mixed in done])
    return False, sum(found is None for found in stored)


def _make(job, sources, mixture, dtype, scenes):
    """Measure each scene's sum, then make its files up to their temporary names; what there is to say of each."""
    from cadrender.dsp.mix import ALONE
    from cadrender.render.remix import StemBlocks, linear, mix_levels

    weights = np.array([linear(scene[0].target.gains_db) for scene in scenes])
    mixture = StemBlocks([mixture], job.frames, dtype)
    stems, kept = _passes(sources, job.frames, dtype, len(scenes))
    levels = mix_levels(stems, mixture, job.frames, job.samplerate, weights, kept)
    if kept is not None:
        stems, weights = kept, ALONE[None]
    stages = [
        _Scene(scene, row, level.gain, job) for scene, row, level in zip(scenes, weights, levels, strict=True)
    ]
    for block, count in stems:
        for stage in stages:
            stage.feed(block, count)
    done = []
    for stage, scene, level in zip(stages, scenes, levels, strict=True):
        stage.finish()
        done += [
            Mixed(sink.target, level.before, level.mixture, level.gain_db, sink.clipped, sink.complete())
            for sink in scene
        ]
    return done


def _passes(sources, frames, dtype, sums):
    """The stems, and where their sum is kept for the second pass: if there is one only, that costs least."""
    from cadrender.render.remix import KeptSum, StemBlocks

    if sums == 1 and (memory := _memory(KeptSum.bytes_needed(frames))) is not None:
        return StemBlocks(sources, frames, dtype), KeptSum(frames, memory)
    memory = _memory(StemBlocks.bytes_needed(len(sources), frames, dtype))
    return StemBlocks(sources, frames, dtype, memory), None


def _memory(needed):
    """This process's memory between the passes, kept from job to job: fresh pages cost as much as reading does.

    None for songs that are too long for it; they are read twice.
    """
    global _kept
    if needed > _MOST_MEMORY:
        return None
    if len(_kept) < needed:
        _kept = np.empty(0, np.uint8)  # first let go of the smaller one
        _kept = np.empty(needed, np.uint8)
    return _kept


def _by_scene(sinks):
    """Sinks of one scene together; targets come that way."""
    scenes = {}
    for sink in sinks:
        scenes.setdefault(sink.target.scene, []).append(sink)
    return list(scenes.values())


def _stamp(file):
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


class _Rendered:
    """An at-mic signal that is not on disk: rendered from its song as ``generate`` does, into a nameless file.

    The file is gone when it is closed, or when the process ends, however it ends. A context manager.
    """

    pcm16 = True

    def __init__(self, job, part, dtype):
        if part.source is None or part.left_hrir is None or part.right_hrir is None:
            raise AudioError(f"{part.stored[0]}: not complete, and there is no song to render it from")
        self._dtype = dtype
        signal = read_stem(part.source, job.samplerate, part.start, job.frames)
        if len(signal) != job.frames:
            raise AudioError(
                f"{part.source}: {len(signal)} frames, and {job.frames} when it was looked at first"
            )
        folder = job.targets[0].file.parent
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed on exit
        try:
            render_into(job, signal, heads_of((part,), job.samplerate), [self])
        except BaseException:
            self._file.close()
            raise

    def write(self, piece):
        """Take the next int16 frames."""
        view = memoryview(piece).cast("B")
        while len(view):
            view = view[self._file.write(view) :]

    def read(self, start, out):
        """Fill ``out`` (2 * frames,) from frame ``start`` on."""
        pcm = out if self._dtype == np.int16 else np.empty(len(out), np.int16)
        if os.preadv(self._file.fileno(), [pcm], 4 * start) != 2 * len(pcm):
            raise OSError("a temporary file has lost its end")
        if pcm is not out:
            np.multiply(pcm, 2.0**-15, out=out)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()


class _Sink:
    """Resamples, quantises and writes one target; a context manager."""

    def __init__(self, job, target):
        self.target = target
        self.clipped = 0
        frames = output_frames(job.frames, job.samplerate, job.output_rate, target.listener is not None)
        self._left = frames
        self._writer = AudioWriter(target.file, frames, job.output_rate, target.audio_format)
        self.pcm16 = self._writer.pcm16
        self._resampler = None
        if job.output_rate != job.samplerate:
            import soxr

            self._resampler = soxr.ResampleStream(
                job.samplerate, job.output_rate, 2, dtype="float64", quality="VHQ"
            )

    @property
    def takes_int16(self):
        """Whether the mixer's int16 can be written as it is."""
        return self.pcm16 and self._resampler is None and self.target.listener is None

    def write_int16(self, piece, clipped):
        """Write int16 frames."""
        self._writer.write(piece)
        self._left -= len(piece)
        self.clipped += clipped

    def write(self, piece, last=False):
        """Write float64 frames of full scale 1."""
        from cadrender.dsp.mix import to_int16

        if self._resampler is not None:
            piece = self._resampler.resample_chunk(np.ascontiguousarray(piece), last=last)
            if last and len(piece) < self._left:
                piece = np.concatenate([piece, np.zeros((self._left - len(piece), 2))])
        piece = piece[: self._left]
        self._left -= len(piece)
        if self.pcm16:
            piece, clipped = to_int16(piece)
            self.clipped += clipped
        elif self.target.audio_format.subtype == "PCM_24":
            self.clipped += int(np.count_nonzero(np.abs(piece) > 1.0))
        self._writer.write(piece)

    def finish(self):
        """Write what the resampler still holds."""
        if self._resampler is not None:
            self.write(np.zeros((0, 2)), last=True)

    def complete(self):
        """Complete the file, still under its temporary name; its digest."""
        digest, _ = self._writer.finish()
        return digest

    def commit(self):
        """Move the complete file into its place."""
        self._writer.commit()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._writer.__exit__(*exception)


class _Scene:
    """Makes one scene's target and what its listeners get of it."""

    def __init__(self, sinks, weights, gain, job):
        from cadrender.dsp.mix import BLOCK

        self._weights, self._gain = weights, gain
        self._direct = [sink for sink in sinks if sink.takes_int16]
        self._plain = [sink for sink in sinks if sink.target.listener is None and not sink.takes_int16]
        self._amplified = [sink for sink in sinks if sink.target.listener is not None]
        self._amplifier = _amplifier(self._amplified, job.samplerate) if self._amplified else None
        self._pcm = np.empty((BLOCK, 2), np.int16)
        self._float = np.empty((BLOCK, 2))

    def feed(self, block, count):
        """Take the next frames of the stems."""
        from cadrender.dsp.mix import mix_float64, mix_int16

        for sink in self._direct:
            clipped = mix_int16(block, count, self._weights, self._gain, self._pcm)
            sink.write_int16(self._pcm[:count], clipped)
        if self._plain or self._amplified:
            piece = self._float[:count]
            mix_float64(block, count, self._weights, self._gain, piece)
            for sink in self._plain:
                sink.write(piece)
            if self._amplifier:
                self._pass_on(self._amplifier.feed(piece))

    def finish(self):
        """Take the end of the stems."""
        if self._amplifier:
            self._pass_on(self._amplifier.finish())
        for sink in (*self._plain, *self._amplified):
            sink.finish()

    def _pass_on(self, pieces):
        for number, piece in pieces:
            self._amplified[number].write(piece)


def _amplifier(sinks, samplerate):
    from cadrender.dsp.nalr import nalr_filter
    from cadrender.render.nalr import Amplifier

    filters = []
    for sink in sinks:
        listener = sink.target.listener
        ears = (listener.levels_left, listener.levels_right)
        filters.append(tuple(nalr_filter(listener.cfs, levels, samplerate) for levels in ears))
    return Amplifier(filters)


@dataclass(frozen=True)
class Journal:
    """The list of targets that are done, one line of JSON each; a target's last line counts.

    A line is appended after its file has come into place: a target without a line, or whose line tells of other
    gains than the scene has now, is made again.

    Attributes
    ----------
    file : pathlib.Path
    folders : tuple of pathlib.Path
        The folders of the targets and of the amplified ones; lines name files relative to them.
    """

    file: Path
    folders: tuple[Path, Path]

    def key(self, target: MixTarget) -> tuple[bool, str]:
        """Whether a target is amplified, and its file's name."""
        amplified = target.listener is not None
        return amplified, target.file.relative_to(self.folders[amplified]).as_posix()

    def append(self, records: list[dict]) -> None:
        """Append lines, all of them or none."""
        append_lines(self.file, [f"{json.dumps(record)}\n" for record in records])

    def read(self) -> dict[tuple[bool, str], dict]:
        """Read the lines by their :meth:`key`. Lines that are damaged are left out."""
        from cadrender.store.manifest import read_lines

        records = {}
        for line in read_lines(self.file):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and record.keys() >= _KEYS and isinstance(record["path"], str):
                records[bool(record["listener"]), record["path"]] = record
        return records


def identity(sample: str, target: MixTarget) -> dict:
    """What makes a finished target the one that is asked for now, beside its length, rate and format."""
    listener = target.listener
    return {
        "scene": target.scene,
        "listener": listener.id if listener else "",
        "sample": sample,
        "gain": target.gain,
        "gains_db": dict(zip(VDBO, target.gains_db, strict=True)),
        "audiogram": [list(listener.cfs), list(listener.levels_left), list(listener.levels_right)]
        if listener
        else None,
    }


_KEYS = {
    *("path", "frames", "samplerate", "container", "subtype"),
    *("scene", "listener", "sample", "gain", "gains_db", "audiogram"),
    *("loudness_before", "loudness_after", "loudness_mixture", "scale_db", "clipped"),
    *("blake3", "inputs"),
}


def record_of(job: MixJob, mixed: Mixed, inputs: dict) -> dict:
    """The journal's line of a finished target; `inputs` are size and time of each at-mic file, None if rendered."""
    target = mixed.target
    amplified, path = job.journal.key(target)
    return {
        "path": path,
        "frames": output_frames(job.frames, job.samplerate, job.output_rate, amplified),
        "samplerate": job.output_rate,
        "container": target.audio_format.container,
        "subtype": target.audio_format.subtype,
        **identity(job.sample, target),
        "loudness_before": _number(mixed.before),
        "loudness_after": _number(mixed.before + mixed.gain_db),
        "loudness_mixture": _number(mixed.mixture),
        "scale_db": mixed.gain_db,
        "clipped": mixed.clipped,
        "blake3": mixed.digest,
        "inputs": inputs,
    }


def _number(lufs):
    return lufs if math.isfinite(lufs) else None
