"""HRIR files of another rate than the root's."""

from collections.abc import Iterable
from pathlib import Path

from cadrender.errors import AudioError, MetadataError
from cadrender.heads.impulse import resampled, wav_bytes
from cadrender.metadata.writing import write_all
from cadrender.store import read_header, read_hrir


def wrong_rates(files: Iterable[Path], samplerate: int) -> dict[Path, int]:
    """Find the HRIR files that have another rate.

    Returns
    -------
    dict of pathlib.Path to int
        Each such file's own rate in hertz.

    Raises
    ------
    MetadataError
        If a file cannot be read.
    """
    try:
        rates = {file: read_header(file).samplerate for file in files}
    except AudioError as error:
        raise MetadataError(str(error)) from error
    return {file: rate for file, rate in rates.items() if rate != samplerate}


def resample_files(rates: dict[Path, int], samplerate: int) -> dict[Path, Path]:
    """Replace HRIR files by resampled ones, 32-bit float WAV; all of them or none.

    Parameters
    ----------
    rates : dict of pathlib.Path to int
        The files and their rates (see `wrong_rates`).
    samplerate : int
        Their new rate, in hertz (see `cadrender.heads.resampled`).

    Returns
    -------
    dict of pathlib.Path to pathlib.Path
        Each file's backup, ``<file>.1`` or the next free number.

    Raises
    ------
    MetadataError
        If a file cannot be read; then nothing has been written.
    CadrenderError
        If one cannot be written.
    """
    try:
        contents = {
            file: wav_bytes(resampled(read_hrir(file, rate), rate, samplerate), samplerate)
            for file, rate in rates.items()
        }
    except AudioError as error:
        raise MetadataError(str(error)) from error
    return write_all(contents, keep=True)
