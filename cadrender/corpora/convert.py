"""One song of a corpus as the WAV files of a root: stereo, PCM_16, at the root's rate."""

import contextlib
import json
import math
import os
import re
import wave
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from cadrender.corpora.decode import BLOCK, SAMPLERATE, quiet_stderr, sum_blocks
from cadrender.corpora.layout import SourceTrack, one_line
from cadrender.errors import AudioError, CadrenderError
from cadrender.metadata import Track, write_json
from cadrender.stems import MIXTURE, STEMS
from cadrender.store.durable import sync_folder

SUBTYPE = "PCM_16"
RECORD = ".ingest.json"

_FORMAT = 2  # of the record; another number makes every song be converted anew
_FULL_SCALE = 32768
_LOUDEST = (_FULL_SCALE - 1) / _FULL_SCALE
_LONGEST = (2**32 - 256) // 4  # frames of a WAV file
_WORTH_A_REMARK = 0.005  # seconds by which a file's length may differ from its mixture's
_TEMPORARY = re.compile(r"\.(?:cadrender-|.*\.)(\d+)(?:-[0-9a-f]+\.tmp|\.part)")


@dataclass(frozen=True)
class Outcome:
    """What became of a song.

    Attributes
    ----------
    name : str
        The song.
    seconds : float
        Its length; 0 when it failed.
    notes : tuple of str
        What the user should know about it.
    kept : bool
        Whether it was there already.
    problem : str
        Why it failed, in one line; empty when it did not.
    """

    name: str
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    kept: bool = False
    problem: str = ""


@dataclass(frozen=True)
class SongRecord:
    """What the file `RECORD` in a song's folder says: written last, it makes the song complete.

    Attributes
    ----------
    track : cadrender.metadata.Track
        The song's entry in the music list.
    sources : dict of str to list
        Stem -> ``[file, bytes, modification time]`` of each file it was made from.
    notes : tuple of str
        What the corpus says of it.
    frames : int
        The length of each of its files.
    remarks : tuple of str
        What was found when it was converted.
    samplerate : int
        The rate of each of its files, in hertz.
    """

    track: Track
    sources: dict[str, list]
    notes: tuple[str, ...]
    frames: int
    remarks: tuple[str, ...]
    samplerate: int = SAMPLERATE


def convert(
    song: SourceTrack,
    track: Track,
    folder: Path,
    corpus_folder: Path,
    minimum_seconds: float = 0.0,
    samplerate: int = SAMPLERATE,
) -> Outcome:
    """Write a song's WAV files, unless they are there already.

    Several files of a stem are summed. All stems are as long as the mixture. If any file overloads, the whole
    song, the mixture included, is scaled by one factor so that its loudest sample just fits: the stems keep
    their balance and nothing is clipped. Samples are rounded, without dither: a PCM_16 file at `samplerate` that
    is not scaled keeps its samples. All files are written under temporary names and moved into place
    together.

    Parameters
    ----------
    song : SourceTrack
        What to convert.
    track : cadrender.metadata.Track
        Its entry in the music list.
    folder : pathlib.Path
        Where its files go.
    corpus_folder : pathlib.Path
        What the source files' recorded names start from.
    minimum_seconds : float
        A shorter song is refused.
    samplerate : int
        Of the files that are written, in hertz.

    Returns
    -------
    Outcome

    Raises
    ------
    CadrenderError
        If the song cannot be written; a song that cannot be read is an Outcome.
    """
    try:
        sources = _describe(song, corpus_folder)
        found = read_song(folder)
        kept = found is not None and found.sources == sources and found.samplerate == samplerate
        if kept:
            frames, remarks = found.frames, found.remarks
        else:
            with quiet_stderr():
                minimum = math.ceil(minimum_seconds * samplerate)
                frames, remarks = _write_song(song.sources, folder, minimum, samplerate)
        record = SongRecord(track, sources, song.notes, frames, remarks, samplerate)
        if record != found:
            _write_record(folder, record)
        return Outcome(song.name, frames / samplerate, (*song.notes, *remarks), kept)
    except AudioError as error:
        return Outcome(song.name, problem=str(error))
    except OSError as error:
        raise CadrenderError(f"{folder}: cannot be written: {one_line(error)}") from error


def read_song(folder: Path) -> SongRecord | None:
    """Return the record of the song in `folder`, or None if it is not there with all its files whole."""
    try:
        content = json.loads((folder / RECORD).read_bytes())
        if content["format"] != _FORMAT:
            return None
        record = SongRecord(
            track=Track(**content["track"]),
            sources=dict(content["sources"]),
            notes=tuple(content["notes"]),
            frames=int(content["frames"]),
            remarks=tuple(content["remarks"]),
            samplerate=int(content.get("samplerate", SAMPLERATE)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = all(
        _is_whole(folder / f"{stem}.wav", record.frames, record.samplerate) for stem in record.sources
    )
    return record if whole else None


def _is_whole(path: Path, frames: int, samplerate: int) -> bool:
    try:
        info = soundfile.info(os.fsencode(path))
    except soundfile.LibsndfileError:
        return False
    return (info.frames, info.samplerate, info.channels, info.subtype) == (frames, samplerate, 2, SUBTYPE)


def _describe(song: SourceTrack, corpus_folder: Path) -> dict[str, list]:
    """Describe a song's source files, so that a change of them is seen; the decoder reports missing ones."""

    def describe(path: Path) -> list:
        name = os.path.relpath(path, corpus_folder)
        with contextlib.suppress(OSError):
            status = path.stat()
            return [name, status.st_size, status.st_mtime_ns]
        return [name, 0, 0]

    return {stem: [describe(path) for path in paths] for stem, paths in song.sources.items()}


def _write_record(folder: Path, record: SongRecord) -> None:
    write_json(folder / RECORD, json.dumps({"format": _FORMAT, **asdict(record)}, indent=1))


def _write_song(
    sources: Mapping[str, tuple[Path, ...]], folder: Path, minimum: int, samplerate: int
) -> tuple[int, tuple[str, ...]]:
    """Write the files of `sources` to `folder`; return their length and remarks."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    parts = {stem: folder / f".{stem}.wav.{os.getpid()}.part" for stem in STEMS if stem in sources}
    try:
        frames, peaks, lengths = _write_parts(sources, parts, 1.0, minimum, samplerate)
        loudest = max(peaks, key=peaks.get)
        remarks = _length_remarks(lengths, frames, samplerate)
        if peaks[loudest] > 1.0:
            gain = _LOUDEST / peaks[loudest]
            _write_parts(sources, parts, gain, minimum, samplerate)
            change = f"{20 * math.log10(gain):.2f} dB"
            remarks.append(f"all its files are scaled by {change}, since {loudest} overloads")
        _move_into_place(parts, folder)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()  # a song that failed leaves no empty folder
    return frames, tuple(remarks)


def _write_parts(
    sources: Mapping[str, tuple[Path, ...]],
    parts: Mapping[str, Path],
    gain: float,
    minimum: int,
    samplerate: int,
) -> tuple[int, dict[str, float], dict[Path, int]]:
    """Write every stem, times `gain`; return the song's frames, the stems' peaks, the sources' own frames."""
    lengths = {}

    def blocks(stem):
        return sum_blocks(sources[stem], lengths, samplerate=samplerate)

    frames, peak = _write_wav(parts[MIXTURE], blocks(MIXTURE), gain, samplerate)
    if frames < max(minimum, 1):
        seconds, needed = frames / samplerate, minimum / samplerate
        raise AudioError(
            f"{sources[MIXTURE][0]}: is too short: {seconds:.2f} s; expected at least {needed:.4g} s"
        )
    peaks = {MIXTURE: peak}
    for stem, part in parts.items():
        if stem != MIXTURE:
            _, peaks[stem] = _write_wav(part, _fit(blocks(stem), frames), gain, samplerate)
    return frames, peaks, lengths


def _write_wav(path: Path, blocks: Iterable[np.ndarray], gain: float, samplerate: int) -> tuple[int, float]:
    """Write `blocks`, times `gain`, as PCM_16; return the frames and the peak before the gain."""
    frames, peak = 0, 0.0
    with path.open("wb") as file:
        with wave.open(file, "wb") as wav:
            wav.setnchannels(2)
            wav.setsampwidth(2)
            wav.setframerate(samplerate)
            for block in blocks:
                frames += len(block)
                if frames > _LONGEST:
                    raise AudioError(f"{path.parent}: is longer than a WAV file can be")
                if len(block):
                    peak = max(peak, float(np.abs(block).max()))
                wav.writeframesraw(_quantise(block, gain))
        file.flush()
        os.fsync(file.fileno())
    return frames, peak


def _quantise(block: np.ndarray, gain: float) -> bytes:
    samples = np.rint(block * (gain * _FULL_SCALE))
    return np.clip(samples, -_FULL_SCALE, _FULL_SCALE - 1).astype("<i2").tobytes()


def _fit(blocks: Iterator[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """Cut or pad `blocks` to `frames`; all of them are read, so that a damaged end is noticed."""
    left = frames
    for block in blocks:
        yield block[:left]
        left -= len(block[:left])
    while left:
        silence = np.zeros((min(left, BLOCK), 2))
        yield silence
        left -= len(silence)


def _length_remarks(lengths: Mapping[Path, int], frames: int, samplerate: int) -> list[str]:
    remarks = []
    for path, own in lengths.items():
        seconds = (own - frames) / samplerate
        if abs(seconds) > _WORTH_A_REMARK:
            change = "longer than the mixture: cut" if seconds > 0 else "shorter than the mixture: padded"
            remarks.append(f"{path.name} is {abs(seconds):.3f} s {change}")
    return remarks


def _move_into_place(parts: Mapping[str, Path], folder: Path) -> None:
    """Replace the song's files, on the disk; without its record, the song is incomplete meanwhile."""
    if (folder / RECORD).exists():
        (folder / RECORD).unlink()
        sync_folder(folder)
    for stem in STEMS:
        if stem in parts:
            parts[stem].replace(folder / f"{stem}.wav")
        else:
            (folder / f"{stem}.wav").unlink(missing_ok=True)
    sync_folder(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of processes that are no more."""
    for path in folder.iterdir():
        name = _TEMPORARY.fullmatch(path.name)
        if name and not _is_alive(int(name[1])):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    with contextlib.suppress(OSError):  # there is no such place outside Linux
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"  # a killed process stays a zombie while nobody asks for its exit status
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
