"""A root's positions, built from its HRIR files."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import UsageError
from cadrender.heads.resample import resample_files, wrong_rates
from cadrender.metadata.positions import HeadPosition, build_positions, hrir_names, positions_json
from cadrender.metadata.writing import needs_writing, write_unless_different
from cadrender.wording import plural


@dataclass(frozen=True)
class Rebuilt:
    """What was done.

    Attributes
    ----------
    positions : dict of str to HeadPosition
        By id.
    written : bool
        Whether the positions file was written; False if it had the same contents already.
    rates : dict of pathlib.Path to int
        The HRIR files that were resampled, with their former rates in hertz.
    backups : dict of pathlib.Path to pathlib.Path
        Where their former versions are.
    unused : list of str
        HRIR files that are in no position.
    """

    positions: dict[str, HeadPosition]
    written: bool
    rates: dict[Path, int]
    backups: dict[Path, Path]
    unused: list[str]


def rebuild_positions(
    settings: Settings,
    *,
    mics: Collection[str] = (),
    subjects: Collection[str] = (),
    angles: Collection[float] = (),
    pairs: str = "all",
    resample: bool = False,
    force: bool = False,
) -> Rebuilt:
    """Write the positions that a root's HRIR files allow.

    Parameters
    ----------
    settings : Settings
        The root: its HRIR folder, positions file and rate.
    mics, subjects, angles, pairs
        See :func:`cadrender.metadata.positions.build_positions`.
    resample : bool
        Convert HRIR files of another rate to the root's; the former ones are kept as numbered backups.
    force : bool
        Replace a positions file that is different.

    Raises
    ------
    UsageError
        If the positions file is different and not to be replaced, or HRIR files have another rate and are not to be
        converted; then nothing has been written.
    MetadataError
        If the HRIR files allow no such positions, or one cannot be read.
    CadrenderError
        If a file cannot be written.
    """
    names = hrir_names(settings.hrtf_dir)
    positions = build_positions(names, mics=mics, subjects=subjects, angles=angles, pairs=pairs)
    used = {hrir for position in positions.values() for hrir in position.hrir_files(settings.hrtf_dir)}
    rates = wrong_rates(sorted(used), settings.sample_rate)
    if rates and not resample:
        file, rate = next(iter(rates.items()))
        raise UsageError(
            f"{file}: {rate} Hz; {settings.sample_rate} Hz is needed (1 of {plural(len(rates), 'such file')}): "
            "--resample converts them and keeps the former ones as numbered backups"
        )
    file, text = settings.head_loudspeaker_positions_file, positions_json(positions)
    needs_writing(file, text, force=force)  # refuses before any HRIR file is touched
    backups = resample_files(rates, settings.sample_rate)
    written = write_unless_different(file, text, force=force)
    return Rebuilt(positions, written, rates, backups, sorted(set(names) - {hrir.name for hrir in used}))
