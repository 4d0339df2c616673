"""Songs and at-mic files: headers, lengths, and whether a mixture is the sum of its stems."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from cadrender.errors import AudioError
from cadrender.metadata.samples import AtMicTrack
from cadrender.stems import MIXTURE, STEMS, VDBO
from cadrender.store import Header, read_header
from cadrender.store.audio import check_stem_header, check_values

# Largest difference of the sum of the stems from the mixture without a remark, in dB of the mixture's energy.
# Rounding and dither cause -50 dB or less; a limiter on the mixture up to -10 dB, as in some songs of MUSDB18; a
# stem that is missing, doubled or of another song causes more than -20 dB, unless it is faint.
SUM_TOLERANCE = -20.0

_BLOCK = 1 << 16


@dataclass(frozen=True)
class StemFolder:
    """A folder of stems.

    Attributes
    ----------
    name : str
        Of the song or excerpt.
    folder : pathlib.Path
    frames : int
        The expected length; 0 for any.
    """

    name: str
    folder: Path
    frames: int = 0


def read_headers(source: StemFolder, samplerate: int) -> tuple[dict[Path, Header], list[str]]:
    """Read the headers of a song's files.

    Returns
    -------
    headers : dict
        Of the usable files.
    problems : list of str
        Of the other files, and lengths that differ.
    """
    files = [source.folder / f"{stem}.wav" for stem in STEMS]
    if files[0].exists() and not any(file.exists() for file in files[1:]):
        files = files[:1]  # a corpus without stems
    headers: dict[Path, Header] = {}
    problems: list[str] = []
    for file in files:
        try:
            header = read_header(file)
            check_stem_header(file, header, samplerate)
            headers[file] = header
        except AudioError as error:
            problems.append(str(error))
    frames = source.frames or next((header.frames for header in headers.values()), 0)
    standard = "the excerpt" if source.frames else f"the {next(iter(headers), files[0]).stem}"
    problems += [
        f"{file}: {header.frames} frames, but {standard} has {frames}"
        for file, header in headers.items()
        if header.frames != frames
    ]
    return headers, problems


def compare_sum(
    source: StemFolder,
    headers: dict[Path, Header],
    tolerance: float = SUM_TOLERANCE,
    advance: Callable[[int], None] = lambda frames: None,
) -> tuple[list[str], list[str]]:
    """Read all frames of a song and compare the mixture with the sum of its stems.

    The sum is clipped as a PCM mixture is. A difference that remains gets a remark, as music is often limited after its
    stems have been mixed.

    Parameters
    ----------
    source : StemFolder
    headers : dict
        Of its files, all of one length.
    tolerance : float
        Largest energy of the difference without a remark, in dB of the mixture's.
    advance : callable
        Called with the frames of the mixture read since the last call.

    Returns
    -------
    problems : list of str
        Files that cannot be read to the end, values that are not finite, a silent mixture of stems that are not
        silent. A song without stems is only read.
    remarks : list of str
        A difference above the tolerance.
    """
    plain = all(header.subtype == "PCM_16" for header in headers.values())
    frames = min(header.frames for header in headers.values())
    blocks = {file: _blocks(file, frames, "int16" if plain else "float32") for file in headers}
    mixture, *stems = blocks
    limits: tuple[float, float] = (-math.inf, math.inf)
    if headers[mixture].subtype.startswith("PCM"):
        limits = (-32768, 32767) if plain else (-1.0, 1.0)
    energy = difference = 0.0
    done = 0
    try:
        for whole in blocks[mixture]:
            total: npt.NDArray[Any] = np.zeros(whole.shape, np.int32 if plain else np.float64)
            for stem in stems:
                total += next(blocks[stem])
            energy += _energy(whole)
            difference += _energy(whole - np.clip(total, *limits))
            done += len(whole)
            advance(len(whole))
    except AudioError as error:
        advance(frames - done)
        return [str(error)], []
    if len(stems) < len(VDBO):
        return [], []
    if not energy:
        return [f"{mixture}: digital silence, and its stems are not"] if difference else [], []
    level = 10 * math.log10(difference / energy) if difference else -math.inf
    if level <= tolerance:
        return [], []
    return [], [
        f"{mixture}: differs from the sum of its stems by {level:.1f} dB of its energy, more than {tolerance:g} dB: "
        "limited music, or a stem that does not belong to it"
    ]


def _energy(block: npt.NDArray[Any]) -> float:
    # A dot product would start BLAS's threads, which slow each other down for small blocks.
    return float(np.einsum("ij,ij->", block, block, dtype=np.float64))


def _blocks(file: Path, frames: int, dtype: str) -> Iterator[npt.NDArray[Any]]:
    left = frames
    try:
        with soundfile.SoundFile(str(file)) as sound:
            while left:
                block = sound.read(min(_BLOCK, left), dtype=dtype, always_2d=True)
                if not len(block):
                    raise AudioError(f"{file}: damaged: {frames - left} frames can be read of {frames}")
                check_values(file, block)
                left -= len(block)
                yield block
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise AudioError(f"{file}: cannot be read: {error}") from error


def at_mic_problems(sample: AtMicTrack, folder: Path, samplerate: int, frames: int | None) -> list[str]:
    """Check the headers of a listed sample's files.

    Parameters
    ----------
    sample : AtMicTrack
    folder : pathlib.Path
        Of the at-mic music.
    samplerate : int
        In hertz.
    frames : int or None
        Length of its source, if known.
    """
    place = folder / sample.path
    there = {
        stem: next((path for kind in ("wav", "flac") if (path := place / f"{stem}.{kind}").exists()), None)
        for stem in STEMS
    }
    if there[MIXTURE] and not any(there[stem] for stem in VDBO):
        there = {MIXTURE: there[MIXTURE]}
    problems = []
    for stem, file in there.items():
        if file is None:
            problems.append(f"{place / stem}.wav: no such file")
            continue
        try:
            header = read_header(file)
            check_stem_header(file, header, samplerate)
        except AudioError as error:
            problems.append(str(error))
            continue
        if frames not in (None, header.frames):
            problems.append(f"{file}: {header.frames} frames, but its source has {frames}")
    return problems
