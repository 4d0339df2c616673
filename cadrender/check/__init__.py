"""Checking a root without rendering anything; all problems are reported, not only the first one."""

from collections.abc import Callable, Sequence
from pathlib import Path

from cadrender.check.area import Area
from cadrender.check.hrirs import check_hrirs, hrir_problems
from cadrender.check.lists import SplitLists, check_gains, check_positions, check_split, split_files
from cadrender.check.songs import SUM_TOLERANCE, StemFolder, at_mic_problems, compare_sum, read_headers
from cadrender.config import Settings
from cadrender.errors import UsageError
from cadrender.store import Header

__all__ = ["SUM_TOLERANCE", "Area", "check_root", "hrir_problems"]


# A song to read, and where its problems go.
_Song = tuple[Area, StemFolder, dict[Path, Header]]


def check_root(
    splits: Sequence[Settings],
    n_jobs: int = 1,
    *,
    headers_only: bool = False,
    tolerance: float = SUM_TOLERANCE,
    begin: Callable[[int], None] = lambda frames: None,
    advance: Callable[[int], None] = lambda frames: None,
) -> list[Area]:
    """Check the metadata, HRIRs, songs and at-mic files of a root.

    Parameters
    ----------
    splits : sequence of Settings
        One for each split to check; splits without files are skipped.
    n_jobs : int
        Songs read at once.
    headers_only : bool
        Do not read the songs' samples.
    tolerance : float
        See `cadrender.check.songs.compare_sum`.
    begin, advance : callable
        Called with the frames of the mixtures to read, then with those read since the last call.

    Raises
    ------
    UsageError
        If the folder is not a root: it has no metadata folder, or neither metadata files nor HRIRs.
    """
    settings = splits[0]
    if not settings.metadata_dir.is_dir():
        raise UsageError(f"{settings.metadata_dir}: no such folder: a root has audio/ and metadata/")
    present = [each for each in splits if any(file.exists() for file in split_files(each))]
    files = (settings.head_loudspeaker_positions_file, settings.gains_file, settings.hrtf_dir)
    if not present and not any(file.exists() for file in files):
        names = " or ".join(each.music_file.name for each in splits)
        raise UsageError(f"{settings.metadata_dir}: there is nothing to check, such as {names}")
    area, positions = check_positions(settings.head_loudspeaker_positions_file)
    areas = [area]
    area, gains = check_gains(settings.gains_file)
    areas.append(area)
    areas.append(check_hrirs(settings.hrtf_dir, (positions or {}).values(), settings.sample_rate))
    waiting: list[_Song] = []
    for each in present:
        lists = check_split(each, positions, gains)
        areas += lists.areas
        frames: dict[str, int] = {}
        for name, unit, sources in (
            ("songs", "songs", _songs(each, lists)),
            ("excerpts' stems", "excerpts", _excerpts(each, lists)),
        ):
            if sources is None:
                continue
            area = Area(f"{each.split}: {name}", unit, len(sources))
            areas.append(area)
            if len(sources) > 1 and not any(source.folder.exists() for source in sources):
                where = each.excerpts_dir if unit == "excerpts" else each.music_dir
                area.problems.append(f"{where}: has none of the {len(sources)} {name}")
                continue
            for source in sources:
                headers, problems = read_headers(source, each.sample_rate)
                area.problems += problems
                if headers:
                    frames[source.name] = next(iter(headers.values())).frames
                if not problems:
                    waiting.append((area, source, headers))
        if lists.at_mic is not None:
            area = Area(f"{each.split}: at-mic files", "samples", len(lists.at_mic))
            areas.append(area)
            for sample in lists.at_mic.values():
                made_from = sample.name if lists.excerpts is not None else sample.original_track
                area.problems += at_mic_problems(
                    sample, each.output_music_dir, each.sample_rate, frames.get(made_from)
                )
    if not headers_only:
        _check_sums(waiting, n_jobs, tolerance, begin, advance)
    return areas


def _songs(settings: Settings, lists: SplitLists) -> list[StemFolder] | None:
    if lists.tracks is None:
        return None
    return [StemFolder(track.name, settings.music_dir / track.path) for track in lists.tracks.values()]


def _excerpts(settings: Settings, lists: SplitLists) -> list[StemFolder] | None:
    if lists.excerpts is None:
        return None
    return [
        StemFolder(excerpt.name, settings.excerpts_dir / excerpt.path, excerpt.frames)
        for excerpt in lists.excerpts.values()
    ]


def _check_sums(
    waiting: Sequence[_Song],
    n_jobs: int,
    tolerance: float,
    begin: Callable[[int], None],
    advance: Callable[[int], None],
) -> None:
    """Read the songs in threads: reading and summing release the GIL."""
    from joblib import Parallel, delayed

    begin(sum(next(iter(headers.values())).frames for _, _, headers in waiting))
    found = Parallel(max(1, n_jobs), prefer="threads", return_as="generator")(
        delayed(compare_sum)(source, headers, tolerance, advance) for _, source, headers in waiting
    )
    for (area, _, _), (problems, remarks) in zip(waiting, found, strict=True):
        area.problems += problems
        area.remarks += remarks
