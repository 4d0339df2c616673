"""Training items: random parts of a root's at-mic music, rendered on demand."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.random import PCG64, SeedSequence

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.songs import check_hrirs
from cadrender.dsp.arrays import is_finite
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.samples import Sample, sample_name
from cadrender.signals.at_mic import AtMic
from cadrender.stems import MIXTURE, STEMS, VDBO
from cadrender.wording import plural

if TYPE_CHECKING:
    from cadrender.root import Root

_Value = TypeVar("_Value")

# Seed, epoch and number of an item.
_Key = tuple[int, int, int]

# Numbers of the random streams of one epoch; a voice's is _VOICES plus its number.
_ITEM, _ORDER, _VOICES = 0, 1, 2

# With minimum_lufs: places drawn at most, and places in one song before the next one is tried.
_ATTEMPTS, _ATTEMPTS_PER_SONG = 64, 8

_LARGEST = 2**32 - 1


class Dataset:
    """Random parts of a root's at-mic music, rendered on demand; no at-mic file is needed.

    A map-style dataset: ``len(dataset)`` and ``dataset[index]`` are all that PyTorch's ``DataLoader`` and similar
    loaders need. No framework is imported. An item depends only on the options, the epoch and its index: not on the
    worker, the number of workers, the order, or earlier items.

    Parameters
    ----------
    root : str, pathlib.Path or Root
        A root's folder, or the result of :func:`cadrender.open_root`.
    seconds : float
        Length of an item. Shorter songs are left out, with a warning that names them.
    stems : sequence of str
        The stems of an item: some of ``mixture``, ``vocals``, ``drums``, ``bass`` and ``other``. Songs that lack one
        are left out, with a warning that names them.
    heads : {"scenes", "any"}
        ``scenes``: song, head position and gains of an item are those of one of the root's scenes. ``any``: position
        and gains are drawn for each item from all of the root's.
    mixture : {"file", "sum"}
        ``file``: the challenge's mixture, which has its own loudness and is not the sum of its stems. ``sum``: the sum
        of vocals, drums, bass and other as they are in the item (or would be, if they were among `stems`).
    songs : {"one", "mixed"}
        ``one``: all stems are of one song, from one place. ``mixed``: each stem is of another song, from its own place,
        all at one head position; the mixture can then only be their sum.
    length : int, optional
        Items of an epoch. Default: the number of scenes, or with ``heads="any"`` ``number_scenes_per_song`` (four by
        default) for each song.
    seed : int
        From 0 to 2**32 - 1.
    dtype : {"float32", "float64"}
        Of the stems; full scale is 1.
    split : {"train", "valid", "test"}, optional
        Of the root. Default: ``train``, or that of the given `Root`.
    gain_db : (float, float), optional
        Change each stem's level by a random number of dB between these two. Needs ``mixture="sum"``, or no mixture.
    swap_channels : bool
        Mirror half of the items: the stems' channels are swapped, and so are the loudspeakers. What came from 37.5
        degrees on the left comes from 37.5 degrees on the right, to the same head. (Swapping the two microphones would
        also swap the wearer's ears.)
    minimum_lufs : float or mapping of str to float, optional
        Draw another place while a stem of the item is quieter than this (LUFS, BS.1770, of the part alone); for all
        of `stems`, or for some by name. After eight places the next song is tried.
    precision : {"double", "single"}
        Of the arithmetic. ``double`` gives the samples of ``cadrender generate``. ``single`` is quicker; about one
        sample in some thousands then differs from those by one step of 16 bits.

    Attributes
    ----------
    seconds, stems, heads, mixture, songs, seed, dtype, gain_db, swap_channels, minimum_lufs, precision
        As given.
    frames, samplerate : int
        Length of an item, and its rate in hertz.
    epoch : int
        See :meth:`set_epoch`.

    Raises
    ------
    ValueError
        If an option is invalid, does not go with another, or leaves no song.
    UsageError
        If the root cannot be used, or an HRIR for `swap_channels` is missing.

    See Also
    --------
    cadrender.open_root : whole songs, any part of them, and scenes by name.

    Notes
    -----
    An item is a dict of plain values and arrays, which default collation accepts:

    * each of `stems`: (2, frames), C-contiguous, left microphone first;
    * ``gains``: (4,) float32, in dB, of vocals, drums, bass and other: those of the scene, by which its listener wants
      the stems rebalanced. They are not applied here.
    * ``song``, ``sample``, ``scene``: names; ``scene`` is empty with ``heads="any"``.
    * ``start``: the frame of the song (or excerpt) at which the item begins.
    * With ``songs="mixed"`` the songs' and the samples' names are joined by `` / ``, which no name contains, and
      ``start`` is an (n,) int64 array, all in the order vocals, drums, bass, other, without stems that are not needed.
    * With `gain_db` also ``gain_db``: (4,) float32, the changes of vocals, drums, bass and other; with `swap_channels`
      also ``swapped``: bool.

    With ``heads="scenes"``, ``mixture="file"`` and ``songs="one"`` the stems are, value for value, those of the files
    that ``cadrender generate`` writes.

    **Which song.** Scenes (songs, with ``heads="any"``) are dealt like cards: each run of as many items as there are
    scenes contains each of them once, in an order drawn for the epoch and the run. With ``songs="mixed"`` this gives
    the first stem's song, and the others are drawn from the other songs.

    **Random numbers** are the raw output of NumPy's PCG64, seeded by ``SeedSequence([seed, epoch, index, stream])``.
    NumPy guarantees that both stay the same, which it does not for ``Generator``'s methods. Switching on an option does
    not change what else is drawn.

    **Errors.** A song that is damaged, or changes while it is read, raises `AudioError` when an item needs it.

    Examples
    --------
    >>> import cadrender
    >>> dataset = cadrender.Dataset("/data/icassp_2024", heads="any", mixture="sum")  # doctest: +SKIP
    >>> dataset[0]["vocals"].shape  # doctest: +SKIP
    (2, 264600)
    """

    def __init__(
        self,
        root: str | Path | Root,
        seconds: float = 6.0,
        stems: Sequence[str] = STEMS,
        heads: str = "scenes",
        mixture: str = "file",
        songs: str = "one",
        length: int | None = None,
        seed: int = 0,
        dtype: str = "float32",
        *,
        split: str | None = None,
        gain_db: tuple[float, float] | None = None,
        swap_channels: bool = False,
        minimum_lufs: float | Mapping[str, float] | None = None,
        precision: str = "double",
    ) -> None:
        self.heads = _one_of("heads", heads, ("scenes", "any"))
        self.mixture = _one_of("mixture", mixture, ("file", "sum"))
        self.songs = _one_of("songs", songs, ("one", "mixed"))
        self.dtype = _one_of("dtype", _name_of(dtype), ("float32", "float64"))
        self.precision = _one_of("precision", precision, ("double", "single"))
        self.swap_channels = _one_of("swap_channels", swap_channels, (False, True))
        self.stems = _checked_stems(stems)
        self.seed = _whole("seed", seed, 0)
        self.gain_db = _checked_range(gain_db)
        opened = _opened(root, split)
        self._settings = settings = opened.settings
        self.samplerate = settings.sample_rate
        self.seconds = _positive("seconds", seconds)
        self.frames = round(self.seconds * self.samplerate)
        if self.frames < 1:
            raise ValueError(f"seconds={seconds!r}: less than one frame at {self.samplerate} Hz")
        self.minimum_lufs = minimum_lufs
        self._check_together()
        self._minima = self._checked_minima()

        # Excerpts are listed only by their scenes.
        of_scenes = heads == "scenes" or settings.excerpts_file.exists()
        self._catalogue = AtMicCatalogue(settings, heads="scenes" if of_scenes else "all")
        self._positions = list(opened.positions.values())
        self._gains: list[tuple[float, ...]] = []
        scenes = self._scenes_of(opened)
        self._mirrored: dict[str, tuple[Path, Path]] = {}
        self._check_hrirs(scenes)
        self._scenes = self._usable(scenes)
        self._sources = list({scene.sample.source: scene.sample for scene in self._scenes}.values())
        songs_there = len({sample.track.name for sample in self._sources})
        if len(self._voices) > songs_there:
            raise ValueError(
                f"songs='mixed': {len(self._voices)} stems of as many songs, and only "
                f"{plural(songs_there, 'song')} can be used"
            )
        usual = len(self._scenes) * (1 if heads == "scenes" else settings.number_scenes_per_song)
        self._length = usual if length is None else _whole("length", length, 1)
        self._epoch = _SharedNumber()

    def __repr__(self) -> str:
        root, split = str(self._settings.root), self._settings.split
        return f"<Dataset {root!r}, {split}: {plural(len(self), 'item')} of {self.seconds:g} s>"

    def __len__(self) -> int:
        return self._length

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return self._epoch.value

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which is 0 at first.

        Call it before each pass over a loader. The loader's worker processes see it, forked or spawned, persistent or
        not. Items fetched ahead are of the epoch that was set when they were made. Processes that train together each
        call it for their own dataset, as with a distributed sampler. A copy that was pickled other than to start a
        process begins with the same epoch and is then independent.

        Parameters
        ----------
        epoch : int
            From 0 to 2**32 - 1.

        Raises
        ------
        ValueError
            If it is out of range.
        """
        self._epoch.value = _whole("epoch", epoch, 0)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item; negative numbers count from the end.

        Raises
        ------
        IndexError
            If there is no such item.
        AudioError
            If a song or HRIR that it needs cannot be used.
        CadrenderError
            If none of the places drawn is as loud as `minimum_lufs`.
        """
        number = operator.index(index)
        number += len(self) if number < 0 else 0
        if not 0 <= number < len(self):
            raise IndexError(f"index {index}: there are {plural(len(self), 'item')}")
        key = self.seed, self.epoch, number
        draws = _Draws(*key, _ITEM)
        position, gains, swapped = (
            draws.below(count) for count in (len(self._positions), len(self._gains), 2)
        )
        chance = _Chance(position, gains, bool(swapped) and self.swap_channels)
        changes = np.array([draws.fraction() for _ in VDBO])
        if self.gain_db:
            low, high = self.gain_db
            changes = low + (high - low) * changes
        gain_db = changes.astype(np.float32)
        scene, parts = self._draw(key, chance, dict(zip(VDBO, map(float, gain_db), strict=True)))
        stems = {stem: array for part in parts for stem, array in part.stems.items()}
        if self._sums and MIXTURE not in stems:
            stems[MIXTURE] = _sum(stems)
        mixed = self.songs == "mixed"
        item: dict[str, Any] = {stem: stems[stem] for stem in self.stems}
        item |= {
            "gains": np.array(scene.gains, np.float32),
            "song": " / ".join(part.sample.source for part in parts),
            "sample": " / ".join(part.name for part in parts),
            "scene": scene.id,
            "start": np.array([part.start for part in parts], np.int64) if mixed else parts[0].start,
        }
        if self.gain_db:
            item["gain_db"] = gain_db
        if self.swap_channels:
            item["swapped"] = chance.swapped
        return item

    # How an item is drawn

    def _draw(self, key: _Key, chance: _Chance, changes: Mapping[str, float]) -> tuple[_Scene, list[_Part]]:
        """The scene of an item and its parts: one of one song, or one for each stem."""
        scene = self._scene(key, 0, chance)
        sample = scene.sample
        parts: list[_Part] = []
        for voice, stems in enumerate(self._voices):
            draws = _Draws(*key, _VOICES + voice)
            for attempt in range(_ATTEMPTS):
                if attempt % _ATTEMPTS_PER_SONG == 0:
                    if voice:
                        taken = [part.sample.track.name for part in parts]
                        sample = self._other_song(draws, taken, scene.sample.position)
                    elif attempt:
                        scene = self._scene(key, attempt // _ATTEMPTS_PER_SONG, chance)
                        sample = scene.sample
                start = draws.below(self._catalogue.song(sample).frames - self.frames + 1)
                part = self._part(sample, stems, start, chance.swapped, changes)
                if self._is_loud_enough(part.stems):
                    break
            else:
                asked = ", ".join(f"{stem} {minimum:g}" for stem, minimum in self._minima.items())
                raise CadrenderError(
                    f"minimum_lufs ({asked}): none of {_ATTEMPTS} parts of {self.seconds:g} s that were drawn for "
                    f"item {key[2]} of epoch {key[1]} is as loud; the last was of {sample.source!r}"
                )
            parts.append(part)
        return scene, parts

    def _scene(self, key: _Key, later: int, chance: _Chance) -> _Scene:
        """The scene of an item, or one that comes `later` scenes after it."""
        seed, epoch, number = key
        run, place = divmod(number, len(self._scenes))
        order = _Draws(seed, epoch, run, _ORDER).order(len(self._scenes))
        scene = self._scenes[order[(place + later) % len(order)]]
        if self.heads == "scenes":
            return scene
        moved = _moved(scene.sample, self._positions[chance.position])
        return _Scene("", moved, self._gains[chance.gains])

    def _other_song(self, draws: _Draws, taken: Sequence[str], position: HeadPosition) -> Sample:
        others = [sample for sample in self._sources if sample.track.name not in taken]
        return _moved(others[draws.below(len(others))], position)

    def _part(
        self, sample: Sample, stems: Sequence[str], start: int, swapped: bool, changes: Mapping[str, float]
    ) -> _Part:
        signals = [self._signal(sample, stem, swapped) for stem in stems]
        arrays = dict(zip(stems, self._read(signals, start), strict=True))
        if self.gain_db:
            for stem, array in arrays.items():
                array *= np.dtype(self.dtype).type(10 ** (changes[stem] / 20))
        if self._sums and self.songs == "one":
            arrays[MIXTURE] = _sum(arrays)
        return _Part(sample, start, arrays)

    def _read(self, signals: Sequence[AtMic], start: int) -> npt.NDArray[Any]:
        """Read the same part of several stems of one sample.

        Returns
        -------
        ndarray
            (stems, channels, frames), C-contiguous.
        """
        alike = len({signal.subtype for signal in signals}) == 1
        parts = [
            AtMic.read_together(some, start, self.frames, self.dtype, precision=self.precision)
            for some in ([signals] if alike else [[one] for one in signals])
        ]
        stems = parts[0] if alike else np.concatenate(parts)
        return np.ascontiguousarray(stems.transpose(0, 2, 1))

    def _signal(self, sample: Sample, stem: str, swapped: bool) -> AtMic:
        signal = self._catalogue.output(sample, stem).signal
        assert isinstance(signal, AtMic)
        if not swapped:
            return signal
        left, right = self._mirrored[sample.position.id]
        # The left channel is played from the right, and vice versa.
        return replace(signal, left_hrir=right, right_hrir=left)

    def _is_loud_enough(self, arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
        from cadrender.dsp.loudness import integrated_loudness

        return all(
            integrated_loudness(arrays[stem].T, self.samplerate) >= minimum
            for stem, minimum in self._minima.items()
            if stem in arrays
        )

    # What items are drawn from

    @property
    def _sums(self) -> bool:
        return self.mixture == "sum" and MIXTURE in self.stems

    @property
    def _voices(self) -> list[tuple[str, ...]]:
        """The stems to read, those of one song together."""
        needed = VDBO if self._sums else self.stems
        return [(stem,) for stem in VDBO if stem in needed] if self.songs == "mixed" else [tuple(needed)]

    def _check_together(self) -> None:
        if MIXTURE in self.stems and self.mixture == "file":
            either = "set mixture='sum', or leave the mixture out of stems"
            if self.songs == "mixed":
                raise ValueError(f"songs='mixed' with mixture='file': no song has such a mixture: {either}")
            if self.gain_db:
                raise ValueError(
                    f"gain_db={self.gain_db!r} with mixture='file': the mixture does not follow its stems: {either}"
                )

    def _checked_minima(self) -> dict[str, float]:
        """The lowest loudness by stem; a sum of stems of several songs has none."""
        asked = self.minimum_lufs
        if asked is None:
            return {}
        if self.seconds < 0.4:
            raise ValueError(f"minimum_lufs with seconds={self.seconds!r}: loudness is defined from 0.4 s on")
        known = [stem for stem in self.stems if stem != MIXTURE or self.songs == "one"]
        if not isinstance(asked, Mapping):
            asked = dict.fromkeys(known, asked)
        for stem, minimum in asked.items():
            if stem not in known:
                raise ValueError(f"minimum_lufs of {stem!r}: it can be set for {', '.join(known)}")
            if not is_finite(minimum):
                raise ValueError(f"minimum_lufs={minimum!r}: a number of LUFS is needed, such as -50")
        return dict(asked)

    def _scenes_of(self, root: Root) -> list[_Scene]:
        if self.heads == "scenes":
            scenes = [_Scene(scene.id, scene.sample, _gains(scene.gains, scene.id)) for scene in root.scenes]
            where = self._settings.scene_file
        else:
            songs = {sample.source: sample for sample in self._catalogue.samples}.values()
            scenes = [_Scene("", sample, ()) for sample in songs]
            where = self._settings.music_file
            gains_file = self._settings.gains_file
            self._gains = [
                _gains(gains, f"{gains_file}: {name}") for name, gains in read_gains(gains_file).items()
            ]
        if not scenes:
            raise UsageError(f"{where}: empty: there is nothing to draw items from")
        return scenes

    def _check_hrirs(self, scenes: Sequence[_Scene]) -> None:
        samples = [scene.sample for scene in scenes]
        if self.heads == "any":
            samples = [_moved(samples[0], position) for position in self._positions]
        check_hrirs(self._settings, samples)
        if self.swap_channels:
            positions = {
                sample.position.id: _mirror(sample.position, self._settings.hrtf_dir) for sample in samples
            }
            check_hrirs(
                self._settings,
                [replace(samples[0], position=position) for position in positions.values()],
            )
            self._mirrored = {
                name: (self._settings.hrtf_dir / each.left_hrir, self._settings.hrtf_dir / each.right_hrir)
                for name, each in positions.items()
            }

    def _usable(self, scenes: Sequence[_Scene]) -> list[_Scene]:
        """Leave out songs that are too short or lack stems, with a warning; damaged ones fail when they are needed."""
        short: dict[str, str] = {}
        lacking: dict[str, str] = {}
        needed = [stem for voice in self._voices for stem in voice]
        for sample in {scene.sample.source: scene.sample for scene in scenes}.values():
            try:
                song = self._catalogue.song(sample)
            except AudioError:
                continue
            missing = [stem for stem in needed if stem not in song.files]
            if missing:
                lacking[sample.source] = f"{sample.source!r} (no {', '.join(missing)})"
            elif song.frames < self.frames:
                short[sample.source] = f"{sample.source!r} ({song.frames / self.samplerate:.3g} s)"
        usable = [scene for scene in scenes if scene.sample.source not in {**short, **lacking}]
        complaints = [
            (short, f"shorter than seconds={self.seconds:g}"),
            (lacking, f"without stems that are needed ({', '.join(needed)})"),
        ]
        texts = [
            f"{plural(len(songs), 'song')} {what}: {_some(songs)}" for songs, what in complaints if songs
        ]
        if not usable:
            raise ValueError(f"{self._settings.root}: no song can be used: {'; '.join(texts)}")
        for text in texts:
            warnings.warn(f"{self._settings.root}: left out {text}", stacklevel=3)
        return usable


@dataclass(frozen=True)
class _Scene:
    """A scene, or a song without a head yet; `gains` in dB, of vocals, drums, bass and other."""

    id: str
    sample: Sample
    gains: tuple[float, ...]


@dataclass(frozen=True)
class _Chance:
    """What is drawn once for an item: numbers of a position and of gains, and whether it is mirrored."""

    position: int
    gains: int
    swapped: bool


@dataclass(frozen=True)
class _Part:
    """Stems from one place of one song at one head position."""

    sample: Sample
    start: int
    stems: dict[str, npt.NDArray[Any]]

    @property
    def name(self) -> str:
        return self.sample.path.rpartition("/")[2]


class _Draws:
    """Random numbers seeded by integers, the same on every machine and with every NumPy."""

    def __init__(self, *key: int) -> None:
        self._raw = PCG64(SeedSequence(key)).random_raw

    def below(self, count: int) -> int:
        """A whole number from 0 to ``count - 1``."""
        return int(self._raw()) * count >> 64

    def fraction(self) -> float:
        """A number from 0 to below 1."""
        return (int(self._raw()) >> 11) * 2.0**-53

    def order(self, count: int) -> npt.NDArray[np.intp]:
        """The numbers from 0 to ``count - 1`` in random order."""
        return np.argsort(self._raw(count), kind="stable")


class _SharedNumber:
    """A number that processes started by :mod:`multiprocessing` share; other copies are independent."""

    def __init__(self, start: Any = 0) -> None:
        self._memory = RawValue("Q", start) if isinstance(start, int) else start

    @property
    def value(self) -> int:
        return int(self._memory.value)

    @value.setter
    def value(self, value: int) -> None:
        self._memory.value = value

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return _SharedNumber, (self.value if get_spawning_popen() is None else self._memory,)


def _sum(stems: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    first, *others = (stems[stem] for stem in VDBO)
    total = first.copy()
    for other in others:
        total += other
    return total


def _moved(sample: Sample, position: HeadPosition) -> Sample:
    """The same song or excerpt at another head position."""
    if sample.position == position:
        return sample
    name = sample_name(sample.source, position.id)
    # An excerpt's stems are found by its name.
    own_name = sample.name if sample.frames else name
    return replace(sample, name=own_name, path=f"{sample.split}/{name}", position=position)


def _mirror(position: HeadPosition, folder: Path) -> HeadPosition:
    """The position with its loudspeakers mirrored, angles spelled as in the files' names."""

    def spelled(angle: float, name: Callable[[float], str]) -> float:
        ways = [angle, float(angle)] + ([int(angle)] if angle == int(angle) else [])
        return next((way for way in ways if (folder / name(way)).exists()), angle)

    left = spelled(position.right_angle, lambda angle: replace(position, left_angle=angle).left_hrir)
    right = spelled(position.left_angle, lambda angle: replace(position, right_angle=angle).right_hrir)
    return replace(position, id=f"{position.id}, mirrored", left_angle=left, right_angle=right)


def _gains(gains: Mapping[str, float], where: object) -> tuple[float, ...]:
    if set(gains) != set(VDBO):
        raise MetadataError(f"{where}: gains of {', '.join(gains) or 'nothing'}; expected {', '.join(VDBO)}")
    return tuple(gains[stem] for stem in VDBO)


def _opened(root: str | Path | Root, split: str | None) -> Root:
    from cadrender.root import Root, open_root

    if not isinstance(root, Root):
        return open_root(root, split=split or "train")
    if split not in (None, root.settings.split):
        raise ValueError(f"split={split!r}, but the given root is opened for {root.settings.split!r}")
    return root


def _some(names: Mapping[str, str]) -> str:
    shown = list(names.values())
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


# Checks of single options


def _one_of(option: str, value: object, accepted: Sequence[_Value]) -> _Value:
    for each in accepted:
        if value is each or (isinstance(value, str) and value == each):
            return each
    raise ValueError(f"{option}={value!r}: expected {', '.join(map(repr, accepted))}")


def _name_of(dtype: npt.DTypeLike) -> object:
    try:
        return np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        return dtype


def _positive(option: str, value: float) -> float:
    if not is_finite(value) or value <= 0:
        raise ValueError(f"{option}={value!r}: a number greater than 0 is needed")
    return float(value)


def _whole(option: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not least <= number <= _LARGEST:
        raise ValueError(f"{option}={value!r}: a whole number from {least} to {_LARGEST} is needed")
    return number


def _checked_stems(stems: Sequence[str]) -> tuple[str, ...]:
    chosen = () if isinstance(stems, str) else tuple(stems)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(STEMS):
        raise ValueError(f"stems={stems!r}: a sequence of some of {', '.join(STEMS)} is needed, each once")
    return chosen


def _checked_range(gain_db: tuple[float, float] | None) -> tuple[float, float] | None:
    if gain_db is None:
        return None
    ends: tuple[Any, ...] = (
        tuple(gain_db) if isinstance(gain_db, Sequence) and not isinstance(gain_db, str) else ()
    )
    if len(ends) != 2 or not all(map(is_finite, ends)) or ends[0] > ends[1]:
        raise ValueError(
            f"gain_db={gain_db!r}: two numbers of dB are needed, such as (-6, 6), the lower one first"
        )
    return ends
