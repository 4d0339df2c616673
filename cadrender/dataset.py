"""Training items: random parts of a root's at-mic music, rendered when they are asked for."""

from __future__ import annotations

import math
import numbers
import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import PCG64, SeedSequence

from cadrender.catalogue.songs import check_hrirs
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.gains import read_gains
from cadrender.metadata.positions import HeadPosition
from cadrender.metadata.samples import Sample, sample_name
from cadrender.signals.at_mic import AtMic
from cadrender.stems import MIXTURE, STEMS, VDBO
from cadrender.wording import plural

if TYPE_CHECKING:
    from cadrender.root import Root

# What tells the random streams of one epoch apart; a voice's is _VOICES plus its number.
_ITEM, _ORDER, _VOICES = 0, 1, 2

# With minimum_lufs: places drawn at most, and after how many the next song's turn comes.
_ATTEMPTS, _ATTEMPTS_PER_SONG = 64, 8

_LARGEST = 2**32 - 1


class Dataset:
    """Random parts of a root's at-mic music, each rendered when it is asked for; nothing need be on disk.

    A map-style dataset: ``len(dataset)`` and ``dataset[index]`` are all that PyTorch's ``DataLoader`` and its like
    need. No framework is imported. An item depends on the options, the epoch and its index, on nothing else: not on
    the worker, the number of workers, the order, or earlier items.

    Parameters
    ----------
    root : str, pathlib.Path or Root
        A root's folder, or what :func:`cadrender.open_root` gives.
    seconds : float
        Length of an item. Songs that are shorter are left out, with a warning that names them.
    stems : sequence of str
        What an item holds of ``mixture``, ``vocals``, ``drums``, ``bass`` and ``other``. Songs that lack one are left
        out, with a warning that names them.
    heads : {"scenes", "any"}
        Whether song, head position and gains of an item are those of one of the root's scenes, or the position is any
        of the root's and the gains are any of its gains file, both drawn anew for each item.
    mixture : {"file", "sum"}
        Whether the mixture is the challenge's, which has a loudness of its own and is not the sum of its stems, or the
        sum of vocals, drums, bass and other as the item has them (or would have them, were they among `stems`).
    songs : {"one", "mixed"}
        Whether all stems are of one song, from one place; or each of another song, from a place of its own, all at one
        head position. The mixture can only be their sum then.
    length : int, optional
        Items of an epoch. Default: the number of scenes, or with ``heads="any"`` as many as a draw of scenes
        (``number_scenes_per_song``, four by default) would give.
    seed : int
        From 0 to 2**32 - 1.
    dtype : {"float32", "float64"}
        Of the stems; full scale is 1.
    split : {"train", "valid", "test"}, optional
        Of the root. Default: ``train``, or that of the `Root` given.
    gain_db : (float, float), optional
        Change each stem's level by a random number of dB between these two. Needs ``mixture="sum"``, or no mixture.
    swap_channels : bool
        Mirror half of the items: the stems' channels are swapped, and so are the places of the loudspeakers. What came
        from 37.5 degrees on the left comes from 37.5 degrees on the right, to the same head. (Swapping the two
        microphones instead would swap the wearer's ears, too.)
    minimum_lufs : float or mapping of str to float, optional
        Draw another place while a stem of the item is less loud than this (LUFS, BS.1770, of the part alone); for all
        that `stems` names, or for some by name. After eight places the next song's turn comes.

    Attributes
    ----------
    seconds, stems, heads, mixture, songs, seed, dtype, gain_db, swap_channels, minimum_lufs
        As given.
    frames, samplerate : int
        Length of an item, and its rate in hertz.
    epoch : int
        See :meth:`set_epoch`.

    Raises
    ------
    ValueError
        If an option is not one of these, does not go with another, or leaves no song.
    UsageError
        If the root cannot be used, or for `swap_channels` an HRIR is missing.

    See Also
    --------
    cadrender.open_root : whole songs, any part of them, and scenes by name.

    Notes
    -----
    An item is a dict of plain values and arrays, which default collation takes:

    * each of `stems`: (2, frames), C-contiguous, left microphone first;
    * ``gains``: (4,) float32, in dB, of vocals, drums, bass and other: those by which the scene's listener wants the
      stems rebalanced. They are not applied to anything here.
    * ``song``, ``sample``, ``scene``: names; an empty ``scene`` with ``heads="any"``.
    * ``start``: the frame of the song (or excerpt) at which the item begins.
    * With ``songs="mixed"`` the songs' and the samples' names are joined by `` / ``, which no name holds, and ``start``
      is an (n,) int64 array, both in the order vocals, drums, bass, other as far as they are needed.
    * With `gain_db` also ``gain_db``: (4,) float32, the changes of vocals, drums, bass and other; with `swap_channels`
      also ``swapped``: bool.

    With ``heads="scenes"``, ``mixture="file"`` and ``songs="one"`` the stems are, sample for sample, those of the
    files that ``cadrender generate`` writes.

    **Which song.** Scenes (songs, with ``heads="any"``) are dealt like cards: every run of as many items as there are
    scenes holds each of them once, in an order drawn for the epoch and the run. With ``songs="mixed"`` that decides on
    the first stem's song, and the others are drawn from the other songs.

    **Random numbers** are the raw output of NumPy's PCG64, seeded by ``SeedSequence([seed, epoch, index, stream])``.
    NumPy keeps both as they are for good, which it does not promise for ``Generator``'s methods. Options that are
    switched on do not change what else is drawn.

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
    ) -> None:
        self.heads = _one_of("heads", heads, ("scenes", "any"))
        self.mixture = _one_of("mixture", mixture, ("file", "sum"))
        self.songs = _one_of("songs", songs, ("one", "mixed"))
        self.dtype = _one_of("dtype", _name_of(dtype), ("float32", "float64"))
        self.swap_channels = _one_of("swap_channels", swap_channels, (False, True))
        self.stems = _checked_stems(stems)
        self.seed = _whole("seed", seed, 0)
        self.gain_db = _checked_range(gain_db)
        root = _opened(root, split)
        self._settings = settings = root.settings
        self.samplerate = settings.sample_rate
        self.seconds = _positive("seconds", seconds)
        self.frames = round(self.seconds * self.samplerate)
        if self.frames < 1:
            raise ValueError(f"seconds={seconds!r}: less than one frame at {self.samplerate} Hz")
        self.minimum_lufs = minimum_lufs
        self._check_together()
        self._minima = self._checked_minima()

        # Excerpts are listed by their scenes only.
        of_scenes = heads == "scenes" or settings.excerpts_file.exists()
        self._catalogue = root.catalogue("at-mic", heads="scenes" if of_scenes else "all")
        self._positions = list(root.positions.values())
        scenes = self._scenes_of(root)
        self._check_hrirs(scenes)
        self._scenes = self._usable(scenes)
        self._sources = list({scene.sample.source: scene.sample for scene in self._scenes}.values())
        if len(self._voices) > len(self._sources):
            raise ValueError(
                f"songs='mixed': {len(self._voices)} stems of as many songs, and only "
                f"{plural(len(self._sources), 'song')} can be used"
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
        """The epoch whose items are given."""
        return self._epoch.value

    def set_epoch(self, epoch: int) -> None:
        """Give the items of another epoch from now on; they are those of epoch 0 at first.

        Call it before each pass over a loader. The loader's worker processes see it, forked or spawned, persistent or
        not. Items that were fetched ahead are of the epoch that was set when they were made. Processes that train
        together each call it for their own dataset, as with a distributed sampler. A copy that was pickled by other
        means than starting a process begins with the same epoch and goes its own way.

        Parameters
        ----------
        epoch : int
            From 0 to 2**32 - 1.

        Raises
        ------
        ValueError
            If it is another number.
        """
        self._epoch.value = _whole("epoch", epoch, 0)

    def __getitem__(self, index: int) -> dict:
        """One item; negative numbers count from the end.

        Raises
        ------
        IndexError
            If there is no such item.
        AudioError
            If a song or HRIR that it needs cannot be used.
        CadrenderError
            If none of the places drawn is as loud as `minimum_lufs` asks.
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
            changes = np.float32(low + (high - low) * changes)
        scene, parts = self._draw(key, chance, dict(zip(VDBO, changes, strict=True)))
        stems = {stem: array for part in parts for stem, array in part.stems.items()}
        if self._sums and MIXTURE not in stems:
            stems[MIXTURE] = _sum(stems)
        mixed = self.songs == "mixed"
        item = {stem: stems[stem] for stem in self.stems}
        item |= {
            "gains": np.array(scene.gains, np.float32),
            "song": " / ".join(part.sample.source for part in parts),
            "sample": " / ".join(part.name for part in parts),
            "scene": scene.id,
            "start": np.array([part.start for part in parts], np.int64) if mixed else parts[0].start,
        }
        if self.gain_db:
            item["gain_db"] = changes
        if self.swap_channels:
            item["swapped"] = chance.swapped
        return item

    # How an item is drawn

    def _draw(self, key, chance, changes):
        """The scene of an item and its parts: one of one song, or one a stem."""
        scene, parts = None, []
        for voice, stems in enumerate(self._voices):
            draws = _Draws(*key, _VOICES + voice)
            for attempt in range(_ATTEMPTS):
                if attempt % _ATTEMPTS_PER_SONG == 0:
                    if voice == 0:
                        scene = self._scene(key, attempt // _ATTEMPTS_PER_SONG, chance)
                        sample = scene.sample
                    else:
                        taken = [part.sample.source for part in parts]
                        sample = self._other_song(draws, taken, scene.sample.position)
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

    def _scene(self, key, later, chance):
        """The scene whose turn it is, or one of those that come later."""
        seed, epoch, number = key
        run, place = divmod(number, len(self._scenes))
        order = _Draws(seed, epoch, run, _ORDER).order(len(self._scenes))
        scene = self._scenes[order[(place + later) % len(order)]]
        if self.heads == "scenes":
            return scene
        moved = _moved(scene.sample, self._positions[chance.position])
        return _Scene("", moved, self._gains[chance.gains])

    def _other_song(self, draws, taken, position):
        others = [sample for sample in self._sources if sample.source not in taken]
        return _moved(others[draws.below(len(others))], position)

    def _part(self, sample, stems, start, swapped, changes):
        signals = [self._signal(sample, stem, swapped) for stem in stems]
        arrays = dict(zip(stems, _read_stems(signals, start, self.frames, self.dtype), strict=True))
        if self.gain_db:
            for stem, array in arrays.items():
                array *= np.dtype(self.dtype).type(10 ** (float(changes[stem]) / 20))
        if self._sums and self.songs == "one":
            arrays[MIXTURE] = _sum(arrays)
        return _Part(sample, start, arrays)

    def _signal(self, sample, stem, swapped):
        signal = self._catalogue.output(sample, stem).signal
        if not swapped:
            return signal
        left, right = self._mirrored[sample.position.id]
        # The left channel is played from the right, and the other way round.
        return replace(signal, left_hrir=right, right_hrir=left)

    def _is_loud_enough(self, arrays):
        from cadrender.dsp.loudness import integrated_loudness

        return all(
            integrated_loudness(arrays[stem].T, self.samplerate) >= minimum
            for stem, minimum in self._minima.items()
            if stem in arrays
        )

    # What there is to draw from

    @property
    def _sums(self):
        return self.mixture == "sum" and MIXTURE in self.stems

    @property
    def _voices(self):
        """The stems that are read, those of one song together."""
        needed = VDBO if self._sums else self.stems
        return [(stem,) for stem in VDBO if stem in needed] if self.songs == "mixed" else [tuple(needed)]

    def _check_together(self) -> None:
        if MIXTURE in self.stems and self.mixture == "file":
            either = "say mixture='sum', or leave the mixture out of stems"
            if self.songs == "mixed":
                raise ValueError(f"songs='mixed' with mixture='file': no song has such a mixture: {either}")
            if self.gain_db:
                raise ValueError(
                    f"gain_db={self.gain_db!r} with mixture='file': the mixture does not follow its stems: {either}"
                )

    def _checked_minima(self):
        """The least loudness by stem; of the stems that are drawn together with others, not of their sum."""
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
                raise ValueError(f"minimum_lufs of {stem!r}: known here are {', '.join(known)}")
            if not _is_number(minimum):
                raise ValueError(f"minimum_lufs={minimum!r}: a number of LUFS is needed, such as -50")
        return dict(asked)

    def _scenes_of(self, root):
        self._gains = []
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
            raise UsageError(f"{where}: empty, there is nothing to draw items from")
        return scenes

    def _check_hrirs(self, scenes) -> None:
        samples = [scene.sample for scene in scenes]
        if self.heads == "any":
            samples = [_moved(samples[0], position) for position in self._positions]
        check_hrirs(self._settings, samples)
        self._mirrored = {}
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

    def _usable(self, scenes):
        """Leave out what is too short or lacks stems, and say so; damaged songs stay, and fail when they are needed."""
        short, lacking = {}, {}
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
    """A scene, or a song that waits for a head; its id, and the gains in dB of vocals, drums, bass and other."""

    id: str
    sample: Sample
    gains: tuple[float, ...]


@dataclass(frozen=True)
class _Chance:
    """What is drawn once an item: numbers of a position and of gains, and whether it is mirrored."""

    position: int
    gains: int
    swapped: bool


@dataclass(frozen=True)
class _Part:
    """Stems from one place of one song at one head position."""

    sample: Sample
    start: int
    stems: dict[str, np.ndarray]

    @property
    def name(self):
        return self.sample.path.rpartition("/")[2]


class _Draws:
    """Random numbers that follow from a few whole numbers, on every machine and with every NumPy."""

    def __init__(self, *key) -> None:
        self._raw = PCG64(SeedSequence(key)).random_raw

    def below(self, count):
        """A whole number from 0 to ``count - 1``."""
        return int(self._raw()) * count >> 64

    def fraction(self):
        """A number from 0 on, below 1."""
        return (int(self._raw()) >> 11) * 2.0**-53

    def order(self, count):
        """The numbers from 0 to ``count - 1`` in random order."""
        return np.argsort(self._raw(count), kind="stable")


class _SharedNumber:
    """A number that processes started by :mod:`multiprocessing` share; other copies go their own way."""

    def __init__(self, start=0) -> None:
        self._memory = RawValue("Q", start) if isinstance(start, int) else start

    @property
    def value(self):
        return self._memory.value

    @value.setter
    def value(self, value) -> None:
        self._memory.value = value

    def __reduce__(self):
        return _SharedNumber, (self.value if get_spawning_popen() is None else self._memory,)


def _read_stems(signals: Sequence[AtMic], start: int, frames: int, dtype: str) -> np.ndarray:
    """Read the same part of several stems of one sample.

    Returns
    -------
    ndarray
        (stems, channels, frames), C-contiguous.
    """
    if len({signal.subtype for signal in signals}) == 1:
        parts = AtMic.read_together(signals, start, frames, dtype)
    else:
        parts = np.stack([signal.read(start, frames, dtype) for signal in signals])
    return np.ascontiguousarray(parts.transpose(0, 2, 1))


def _sum(stems):
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
    # An excerpt keeps its name, by which its stems are found.
    own_name = sample.name if sample.frames else name
    return replace(sample, name=own_name, path=f"{sample.split}/{name}", position=position)


def _mirror(position: HeadPosition, folder: Path) -> HeadPosition:
    """The position with its loudspeakers in each other's mirrored places, angles spelled as the files have them."""

    def spelled(angle, name):
        ways = [angle, float(angle)] + ([int(angle)] if angle == int(angle) else [])
        return next((way for way in ways if (folder / name(way)).exists()), angle)

    left = spelled(position.right_angle, lambda angle: replace(position, left_angle=angle).left_hrir)
    right = spelled(position.left_angle, lambda angle: replace(position, right_angle=angle).right_hrir)
    return replace(position, id=f"{position.id}, mirrored", left_angle=left, right_angle=right)


def _gains(gains, where):
    if set(gains) != set(VDBO):
        raise MetadataError(
            f"{where}: gains of {', '.join(gains) or 'nothing'}; needed are {', '.join(VDBO)}"
        )
    return tuple(gains[stem] for stem in VDBO)


def _opened(root, split):
    from cadrender.root import Root, open_root

    if not isinstance(root, Root):
        return open_root(root, split=split or "train")
    if split not in (None, root.settings.split):
        raise ValueError(f"split={split!r}, but the root given is opened for {root.settings.split!r}")
    return root


def _some(names):
    shown = list(names.values())
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


# Checks of single options


def _one_of(option, value, accepted):
    if not any(value is each or (isinstance(value, str) and value == each) for each in accepted):
        raise ValueError(f"{option}={value!r}: accepted are {', '.join(map(repr, accepted))}")
    return value


def _name_of(dtype):
    try:
        return np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        return dtype


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _positive(option, value):
    if not _is_number(value) or value <= 0:
        raise ValueError(f"{option}={value!r}: a number greater than 0 is needed")
    return float(value)


def _whole(option, value, least):
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, bool) or not least <= number <= _LARGEST:
        raise ValueError(f"{option}={value!r}: a whole number from {least} to {_LARGEST} is needed")
    return number


def _checked_stems(stems):
    chosen = () if isinstance(stems, str) else tuple(stems)
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(STEMS):
        raise ValueError(f"stems={stems!r}: a sequence of some of {', '.join(STEMS)} is needed, each once")
    return chosen


def _checked_range(gain_db):
    if gain_db is None:
        return None
    ends = tuple(gain_db) if isinstance(gain_db, Sequence) and not isinstance(gain_db, str) else ()
    if len(ends) != 2 or not all(map(_is_number, ends)) or ends[0] > ends[1]:
        raise ValueError(
            f"gain_db={gain_db!r}: two numbers of dB are needed, such as (-6, 6), the lower one first"
        )
    return ends
