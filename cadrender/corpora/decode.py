"""Audio files of any format as stereo blocks at one rate."""

import contextlib
import io
import os
import re
import stat
import threading
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from cadrender.corpora.layout import one_line
from cadrender.errors import AudioError
from cadrender.startup import silent_stderr

Block = npt.NDArray[np.float64]

SAMPLERATE = 44100
BLOCK = 1 << 16
# Plausible rates; a damaged header may hold anything.
_SLOWEST, _FASTEST = 8000, 384_000
# An MP3 header counts frames that decoders may omit at either end.
_MP3_TOLERANCE = 0.01
# Frames of an MP3 read at once: one of its own frames, as an error loses everything read with it.
_MP3_BLOCK = 1152
# Length in seconds from which a second stream is an error; shorter ones may be the end of the first.
_SECOND_STREAM = 0.5
# The silent frame that most encoders write first: header, checksum, side information, and how much follows.
_MP3_BEGINNING = re.compile(
    rb"\xff[\xe2-\xff]..(?:..)?\0{9}(?:\0{8})?(?:\0{15})?(?:Xing|Info)\0\0\0", re.DOTALL
)
_MP3_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_MP3_ATTEMPTS = 16


class _Forwards(soundfile.SoundFile):
    """An audio file read from start to end.

    After each block, `soundfile.SoundFile` seeks to its current position if the file is seekable: libsndfile then
    loses some 20 ms of an MP3 file, and fails in a pipe.
    """

    def seekable(self) -> bool:
        """Prevent seeking."""
        return False


def sum_blocks(
    paths: Sequence[Path], lengths: dict[Path, int], block: int = BLOCK, samplerate: int = SAMPLERATE
) -> Iterator[Block]:
    """Yield the sum of audio files in blocks; it is as long as the longest file.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        If empty, nothing is yielded.
    lengths : dict
        Receives the frames of each file at `samplerate`, once it has been read.
    block : int
        Frames per block.
    samplerate : int
        In hertz.

    Yields
    ------
    numpy.ndarray, shape (frames, 2), float64
        `block` frames, fewer at the end.

    Raises
    ------
    AudioError
        If a file is missing, damaged, or neither mono nor stereo.
    """
    for blocks in zip_longest(*(_even(read_blocks(path, lengths, samplerate), block) for path in paths)):
        present = [part for part in blocks if part is not None]
        total = np.zeros((max(map(len, present)), 2))
        for part in present:
            total[: len(part)] += part
        yield total


def read_blocks(path: Path, lengths: dict[Path, int], samplerate: int = SAMPLERATE) -> Iterator[Block]:
    """Yield an audio file as stereo blocks at one rate.

    Mono becomes two equal channels; other rates are resampled by soxr (VHQ). The encoder's delay and padding in an
    MP3 file are removed if a LAME header gives them, as ffmpeg does.

    Parameters
    ----------
    path : pathlib.Path
        WAV, FLAC, MP3, Ogg: any format libsndfile decodes.
    lengths : dict
        Receives the file's frames at `samplerate`, once it has been read.
    samplerate : int
        In hertz.

    Yields
    ------
    numpy.ndarray, shape (frames, 2), float64
        Blocks of any length.

    Raises
    ------
    AudioError
        If the file is missing, damaged, or neither mono nor stereo.
    """
    _require_file(path)
    frames = 0
    with contextlib.closing(_decode(path, samplerate)) as blocks:
        for block in blocks:
            frames += len(block)
            yield np.repeat(block, 2, axis=1) if block.shape[1] == 1 else block
    lengths[path] = frames


def quiet_stderr() -> contextlib.AbstractContextManager[None]:
    """Keep libmpg123, which writes straight to file descriptor 2, off the screen.

    This affects the whole process, so it belongs in a worker, or around a caller that prints elsewhere.
    """
    return silent_stderr()


def _require_file(path: Path) -> None:
    """Reject unreadable files, and pipes and devices, which never end."""
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(f"{path}: {one_line(error)}; expected an audio file") from error
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: is not a regular file; expected an audio file")
    if not status.st_size:
        raise AudioError(f"{path}: is empty; expected an audio file")


def _decode(path: Path, samplerate: int) -> Generator[Block]:
    """Yield the file's own channels at `samplerate`; raise AudioError if the file is incomplete."""
    with _open(path) as file:
        if file.channels not in (1, 2):
            raise AudioError(f"{path}: has {file.channels} channels; expected 1 or 2")
        if not _SLOWEST <= file.samplerate <= _FASTEST:
            raise AudioError(f"{path}: has {file.samplerate} Hz; expected {_SLOWEST} to {_FASTEST} Hz")
        blocks = _own_blocks(file, path)
        yield from (
            blocks
            if file.samplerate == samplerate
            else _resample(blocks, file.samplerate, samplerate, file.channels)
        )


@contextlib.contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    try:
        file = _Forwards(os.fsencode(path))
        content = path.read_bytes() if file.format == "MP3" else None
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot be decoded; expected WAV, FLAC, MP3 or Ogg") from error
    except OSError as error:
        raise AudioError(f"{path}: {one_line(error)}; expected an audio file") from error
    with file:
        if content is None:
            yield file
            return
    with _through_pipe(path, content) as file:
        yield file


@contextlib.contextmanager
def _through_pipe(path: Path, content: bytes) -> Iterator[soundfile.SoundFile]:
    """Open an MP3 file as a stream; raise AudioError if audio is left over after reading it.

    If no header gives the length, libsndfile estimates it for a file, and so cuts off most of a variable-bit-rate
    one. From a pipe it reads to the end.
    """
    source, sink = os.pipe()
    feeder = threading.Thread(target=_feed, args=(sink, content), daemon=True)
    feeder.start()
    try:
        with _Forwards(os.dup(source)) as file:
            beginnings = [found.start() for found in _MP3_BEGINNING.finditer(content)]
            if not _promised_frames(file):  # no header of its own: any found is another stream's
                beginnings.insert(0, 0)
            if len(beginnings) > 1:
                raise AudioError(
                    f"{path}: holds a second MP3 stream, which begins at byte {beginnings[1]}; expected one"
                )
            yield file
            rest = b"".join(iter(lambda: os.read(source, BLOCK), b""))
        if _mp3_seconds(rest) > _SECOND_STREAM:
            raise AudioError(
                f"{path}: is damaged, or holds a second stream: more audio follows where it ends, at byte "
                f"{len(content) - len(rest)}"
            )
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: cannot be decoded; expected WAV, FLAC, MP3 or Ogg") from error
    finally:
        os.close(source)
        feeder.join()


def _feed(sink: int, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(sink, "wb") as pipe:
        pipe.write(content)


def _mp3_seconds(data: bytes) -> float:
    """Approximate length of the MP3 stream near the start of `data`; 0 if there is none."""
    for start, _ in zip(_MP3_SYNC.finditer(data), range(_MP3_ATTEMPTS), strict=False):
        with contextlib.suppress(soundfile.LibsndfileError):
            info = soundfile.info(io.BytesIO(data[start.start() :]))
            if info.format == "MP3":
                return float(info.duration)
    return 0.0


def _own_blocks(file: soundfile.SoundFile, path: Path) -> Iterator[Block]:
    frames, promised = 0, _promised_frames(file)
    is_mp3 = file.format == "MP3"
    while True:
        try:
            block = file.read(_MP3_BLOCK if is_mp3 else BLOCK, dtype="float64", always_2d=True)
        except soundfile.LibsndfileError as error:
            if is_mp3:  # trailing tags, half a frame, or damage: the header and the rest will tell
                break
            raise AudioError(
                f"{path}: is damaged after {frames / file.samplerate:.1f} s ({_reason(error)})"
            ) from error
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds NaN or infinite samples")
        frames += len(block)
        yield block
    missing = promised - frames
    if missing > (_MP3_TOLERANCE * promised if is_mp3 else 0):
        seconds, expected = frames / file.samplerate, promised / file.samplerate
        raise AudioError(f"{path}: is damaged: {seconds:.1f} s of {expected:.1f} s can be decoded")


def _promised_frames(file: soundfile.SoundFile) -> int:
    """The number of frames according to the header; 0 if unknown.

    libsndfile takes a truncated WAV file for a short one; only its log gives the intended length.
    """
    cut = re.search(r"^data : (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if cut and (declared := int(cut[1])) < 0x7FFFFFFF:  # writers that do not know the length store more
        return round(int(file.frames) * declared / max(int(cut[2]), 1))
    return int(file.frames) if file.frames < 1 << 60 else 0


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ").rstrip(".")


def _resample(blocks: Iterator[Block], samplerate: int, wanted: int, channels: int) -> Iterator[Block]:
    stream = soxr.ResampleStream(samplerate, wanted, channels, dtype="float64", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros((0, channels)), last=True)


def _even(blocks: Iterator[Block], frames: int) -> Iterator[Block]:
    """Cut and join `blocks` into blocks of `frames` frames; the last one may be shorter."""
    waiting: list[Block] = []
    held = 0
    for block in blocks:
        waiting.append(block)
        held += len(block)
        while held >= frames:
            joined = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            yield joined[:frames]
            waiting, held = [joined[frames:]], held - frames
    if held:
        yield np.concatenate(waiting)
