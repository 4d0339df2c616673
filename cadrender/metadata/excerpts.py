"""Excerpts of songs, drawn for validation and evaluation (``excerpts.<split>.json``).

See section 8 of ``docs/contract.md``.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cadrender.errors import MetadataError, UsageError
from cadrender.metadata.contract import (
    check_list,
    check_name,
    check_object,
    check_path,
    check_text,
    collecting,
    field,
    kind_of,
    near,
    read_json,
    shown,
)
from cadrender.metadata.music import Track, read_track_lists
from cadrender.metadata.positions import HeadPosition, read_positions
from cadrender.metadata.samples import Sample, sample_name, samples_of
from cadrender.metadata.scenes import FIRST_ID, SceneRecord, read_scenes, text_seed

if TYPE_CHECKING:
    from numpy.random import RandomState

SEED = "icassp2024"
_MOST_DRAWS = 100


@dataclass(frozen=True)
class Excerpt:
    """A piece of a song at one head position.

    Attributes
    ----------
    name : str
        Of its sample: ``<song>-<position>``.
    split : str
        ``valid`` or ``test``.
    track : Track
        The song.
    position : str
        Id of the head position.
    start, frames : int
        Where in the song it begins, and its length, at the song's sampling rate.
    """

    name: str
    split: str
    track: Track
    position: str
    start: int
    frames: int

    @property
    def path(self) -> str:
        """Its folder, both under the at-mic music's and under the excerpts' folder."""
        return f"{self.split}/{self.name}"


@dataclass(frozen=True)
class Draw:
    """The excerpts drawn from one song.

    Attributes
    ----------
    excerpts : tuple of Excerpt
    gains : tuple of str
        The gain id of each.
    remark : str
        Why there are fewer than requested, on one line; else empty.
    """

    excerpts: tuple[Excerpt, ...] = ()
    gains: tuple[str, ...] = ()
    remark: str = ""


def draw_excerpts(
    track: Track,
    song_frames: int,
    frames: int,
    count: int,
    split: str,
    gain_ids: Sequence[str],
    position_ids: Sequence[str],
    *,
    seed: str = SEED,
    avoid: Collection[str] = (),
    accept: Callable[[int], bool] | None = None,
) -> Draw:
    """Draw excerpts at random places of a song, each with its own gain and head position.

    Excerpts do not overlap as long as the song has room; two never begin at the same frame. The first ones stay the
    same when more are drawn, and they do not depend on other songs.

    Parameters
    ----------
    track : Track
    song_frames, frames : int
        Length of the song and of an excerpt.
    count : int
        How many to draw.
    split : str
        Of the excerpts.
    gain_ids, position_ids : sequence of str
        What is drawn from, in file order.
    seed : str
        Part of the text that seeds the song's random sequence.
    avoid : collection of str
        Positions that are taken only when all others are used up.
    accept : callable, optional
        Called with a place's first frame; returns whether to use it. If not, another place is drawn, at most a
        hundred times.

    Raises
    ------
    UsageError
        If there are fewer gains or positions than excerpts.

    Notes
    -----
    NumPy's legacy ``RandomState``, whose stream never changes, is seeded with the MD5 of
    ``"<seed> <split> <track name>"`` modulo 10**8. It gives a permutation of the positions, a permutation of the
    gains, and then for each place ``randint(n)``: the index among the `n` frames at which the excerpt may begin.
    """
    if song_frames < frames:
        return Draw(remark=_too_short(track, song_frames, frames))
    random, positions, gains = _shuffled(track, count, split, gain_ids, position_ids, seed)
    positions.sort(key=lambda position: position in avoid)
    starts: list[int] = []
    remark = ""
    while len(starts) < count and not remark:
        for _ in range(_MOST_DRAWS):
            start = _draw_start(random, song_frames - frames, frames, starts)
            if start is None:
                remark = f"{track.name}: too short for {count} different excerpts: {len(starts)} drawn"
                break
            if accept is None or accept(start):
                starts.append(start)
                break
        else:
            remark = (
                f"{track.name}: {_MOST_DRAWS} places are too quiet: {len(starts)} of {count} excerpts drawn"
            )
    return _drawn(track, split, frames, zip(starts, positions, gains, strict=False), remark)


def cut_excerpts(
    track: Track,
    song_frames: int,
    frames: int,
    split: str,
    gain_ids: Sequence[str],
    position_ids: Sequence[str],
    *,
    seed: str = SEED,
    accept: Callable[[int], bool] | None = None,
) -> Draw:
    """Cut a song into consecutive excerpts, each with its own random gain and head position.

    A shorter rest at the end is dropped, and so are excerpts that `accept` refuses. Parameters, random sequence and
    errors as in `draw_excerpts`.
    """
    count = song_frames // frames
    if not count:
        return Draw(remark=_too_short(track, song_frames, frames))
    _, positions, gains = _shuffled(track, count, split, gain_ids, position_ids, seed)
    pieces = [
        (start, position, gain)
        for start, position, gain in zip(range(0, count * frames, frames), positions, gains, strict=False)
        if accept is None or accept(start)
    ]
    remark = ""
    if len(pieces) < count:
        remark = f"{track.name}: {count - len(pieces)} of {count} excerpts are too quiet and left out"
    return _drawn(track, split, frames, pieces, remark)


def _too_short(track: Track, song_frames: int, frames: int) -> str:
    return f"{track.name}: shorter than an excerpt: {song_frames} frames of the {frames} needed"


def _shuffled(
    track: Track, count: int, split: str, gain_ids: Sequence[str], position_ids: Sequence[str], seed: str
) -> tuple["RandomState", list[str], list[str]]:
    """The song's random sequence, and the positions and gains in its order."""
    from numpy.random import RandomState

    for ids, what in ((position_ids, "head positions"), (gain_ids, "gains")):
        if count > len(ids):
            raise UsageError(
                f"{track.name}: {count} excerpts need as many {what}, since none is used twice in a song, "
                f"but there are {len(ids)}"
            )
    random = RandomState(text_seed(f"{seed} {split} {track.name}"))
    positions = [position_ids[k] for k in random.permutation(len(position_ids))]
    gains = [gain_ids[k] for k in random.permutation(len(gain_ids))]
    return random, positions, gains


def _draw_start(random: "RandomState", last: int, frames: int, taken: Iterable[int]) -> int | None:
    """Draw a first frame up to `last`; None if all are `taken`."""
    from numpy import int64

    for distance in (frames, 1):
        ranges = _free_ranges(last, distance, taken)
        if count := sum(map(len, ranges)):
            index = int(random.randint(count, dtype=int64))
            for free in ranges:
                if index < len(free):
                    return free[index]
                index -= len(free)
    return None


def _free_ranges(last: int, distance: int, taken: Iterable[int]) -> list[range]:
    """The numbers from 0 to `last` that are at least `distance` from all `taken`, as ranges."""
    ranges, low = [], 0
    for start in sorted(taken):
        ranges.append(range(low, min(start - distance, last) + 1))
        low = max(low, start + distance)
    return [*ranges, range(low, last + 1)]


def _drawn(
    track: Track, split: str, frames: int, pieces: Iterable[tuple[int, str, str]], remark: str
) -> Draw:
    excerpts, gains = [], []
    for start, position, gain in pieces:
        name = check_name(sample_name(track.name, position), f"track {shown(track.name)}", "sample name")
        excerpts.append(Excerpt(name, split, track, position, start, frames))
        gains.append(gain)
    return Draw(tuple(excerpts), tuple(gains), remark)


def excerpt_scenes(draws: Iterable[Draw]) -> list[SceneRecord]:
    """Make a scene of every excerpt; ids count from ``scene_10001`` over all songs."""
    drawn = [pair for draw in draws for pair in zip(draw.excerpts, draw.gains, strict=True)]
    return [
        SceneRecord(f"scene_{number}", excerpt.track.name, gain, excerpt.position)
        for number, (excerpt, gain) in enumerate(drawn, FIRST_ID)
    ]


def excerpts_json(excerpts: Iterable[Excerpt]) -> str:
    """Write excerpts as JSON text: a music list of them, with the origin of each."""
    entries = [
        {
            "Track Name": excerpt.name,
            "Genre": excerpt.track.genre,
            "Source": excerpt.track.source,
            "License": excerpt.track.license,
            "Split": excerpt.split,
            "Path": excerpt.path,
            "Original Track Name": excerpt.track.name,
            "Original Split": excerpt.track.split,
            "Original Path": excerpt.track.path,
            "Head Position": excerpt.position,
            "Start": excerpt.start,
            "Frames": excerpt.frames,
        }
        for excerpt in excerpts
    ]
    return json.dumps(entries, indent=4)


def read_excerpts(file: Path, problems: list[str] | None = None) -> list[Excerpt]:
    """Read a list of excerpts.

    Raises
    ------
    MetadataError
        If the file breaks its contract: wrong structure, an unsafe name or path, an excerpt whose name is not made of
        its song and position, a duplicate excerpt.
    """
    excerpts: dict[str, Excerpt] = {}
    for number, item in enumerate(check_list(read_json(file, problems), file, "the list of excerpts"), 1):
        with collecting(problems):
            excerpt = _excerpt(item, file, f"item {number}")
            if excerpt.name in excerpts:
                raise MetadataError(f"{file}: item {number}: duplicate excerpt {shown(excerpt.name)}")
            excerpts[excerpt.name] = excerpt
    return list(excerpts.values())


def _excerpt(entry: object, file: Path, what: str) -> Excerpt:
    item = check_object(entry, file, what)
    name = check_name(field(item, "Track Name", file, what), file, f"{what}: Track Name")
    what = f"excerpt {shown(name)}"
    split, song, song_split, position = (
        check_name(field(item, key, file, what), file, f"{what}: {key}")
        for key in ("Split", "Original Track Name", "Original Split", "Head Position")
    )
    genre, source, license = (
        check_text(item.get(key, ""), file, f"{what}: {key}") for key in ("Genre", "Source", "License")
    )
    song_path = check_path(item.get("Original Path", f"{song_split}/{song}"), file, f"{what}: Original Path")
    start, frames = (_count(item, key, least, file, what) for key, least in (("Start", 0), ("Frames", 1)))
    track = Track(song, genre, source, license, song_split, song_path)
    excerpt = Excerpt(name, split, track, position, start, frames)
    if name != sample_name(song, position):
        raise MetadataError(f"{file}: {what}: its name is not {shown(sample_name(song, position))}")
    if (path := item.get("Path", excerpt.path)) != excerpt.path:
        raise MetadataError(f"{file}: {what}: Path is {kind_of(path)}, not {shown(excerpt.path)}")
    return excerpt


def _count(item: dict[str, object], key: str, least: int, file: Path, what: str) -> int:
    value = field(item, key, file, what)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**53:
        raise MetadataError(
            f"{file}: {what}: {key} is {kind_of(value)}, not a number of frames from {least} on"
        )
    return value


def excerpt_samples(
    scenes: Iterable[SceneRecord],
    excerpts: Iterable[Excerpt],
    positions: Mapping[str, HeadPosition],
) -> list[Sample]:
    """List the samples that `scenes` name, each once, in the order in which they first appear.

    As `cadrender.metadata.samples_of`, for scenes of excerpts.

    Raises
    ------
    MetadataError
        If a scene names a song and a position of which there is no excerpt, or an unknown position.
    """
    by_name = {excerpt.name: excerpt for excerpt in excerpts}
    samples = {}
    for scene in scenes:
        what = f"scene {shown(scene.id)}"
        name = sample_name(scene.music, scene.position)
        excerpt = by_name.get(name)
        if excerpt is None or excerpt.track.name != scene.music:
            raise MetadataError(f"{what}: there is no excerpt {shown(name)}{near(name, by_name)}")
        if scene.position not in positions:
            known = near(scene.position, positions)
            raise MetadataError(f"{what}: unknown head_loudspeaker_positions {shown(scene.position)}{known}")
        samples[name] = Sample(
            name,
            excerpt.split,
            excerpt.path,
            excerpt.track,
            positions[excerpt.position],
            excerpt.start,
            excerpt.frames,
        )
    return list(samples.values())


def read_samples(
    scene_file: Path, music_files: Iterable[Path], positions_file: Path, excerpts_file: Path
) -> list[Sample]:
    """Read the samples of the scenes: excerpts if there is a list of them, else whole songs.

    Raises
    ------
    MetadataError
        If a file breaks its contract, or names what another does not have.
    """
    scenes = read_scenes(scene_file)
    if excerpts_file.exists():
        excerpts = read_excerpts(excerpts_file)
        return excerpt_samples(scenes, excerpts, read_positions(positions_file))
    return samples_of(scenes, read_track_lists(music_files), read_positions(positions_file))
