"""Validation and evaluation excerpts: drawn from songs, listed, and cut into their own stems.

A cut excerpt is a small song: at-mic music is rendered from it as from any other.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.output import CONTAINERS, Batch, Output
from cadrender.catalogue.songs import Song, song_of
from cadrender.config import Settings
from cadrender.errors import AudioError, MetadataError, UsageError
from cadrender.metadata.excerpts import (
    SEED,
    Draw,
    Excerpt,
    cut_excerpts,
    draw_excerpts,
    excerpt_samples,
    excerpt_scenes,
    excerpts_json,
    read_excerpts,
)
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import read_listeners
from cadrender.metadata.music import read_track_lists
from cadrender.metadata.positions import read_positions
from cadrender.metadata.samples import Sample
from cadrender.metadata.scenes import generate_scene_listeners, read_scenes, scene_listeners_json, scenes_json
from cadrender.signals.base import Signal
from cadrender.signals.excerpt import ExcerptStem, excerpt_format
from cadrender.stems import MIXTURE
from cadrender.store import read_header, read_stem
from cadrender.store.manifest import Manifest
from cadrender.wording import plural

_SHORTEST = 0.4  # seconds needed to measure loudness


@dataclass(frozen=True)
class Recipe:
    """Which excerpts to draw.

    Attributes
    ----------
    seconds : float
        Length of an excerpt.
    per_song : int
        Excerpts drawn from each song; 0 cuts songs from end to end.
    seed : str
        Part of the text that seeds the draws.
    min_loudness : float, optional
        Minimum LUFS of the mixture.
    """

    seconds: float = 10.0
    per_song: int = 2
    seed: str = SEED
    min_loudness: float | None = None


class ExcerptCatalogue(Catalogue):
    """The stems of a split's excerpts.

    Parameters
    ----------
    settings : Settings
    samples : sequence of Sample
        The excerpts as rendered.
    songs : mapping of str to Song
        The songs they are cut from, by track name.

    Attributes
    ----------
    excerpts : list of Excerpt
        The drawn excerpts, if any were drawn.
    remarks : list of str
        Songs that gave fewer excerpts than requested, and other remarks.
    metadata : dict
        The metadata files of the draw and their contents.
    """

    unit = "excerpts"
    made = "cut"
    proven_by_contents = True

    def __init__(self, settings: Settings, samples: Sequence[Sample], songs: Mapping[str, Song]) -> None:
        self.settings = settings
        self.manifest = Manifest.beside(settings.excerpts_file, settings.root)
        self.list_file = settings.excerpts_file
        self.folders = (settings.excerpts_dir,)
        self.failures = {}
        self.samples = list(samples)
        self.excerpts: list[Excerpt] = []
        self.remarks: list[str] = []
        self.metadata: dict[Path, str] = {}
        self._songs = songs
        self._subtypes: dict[Path, str] = {}
        self._listed = {sample.name for sample in samples}

    @classmethod
    def of_list(cls, settings: Settings, samples: Sequence[Sample]) -> "ExcerptCatalogue":
        """The stems of excerpts drawn earlier, where their songs exist."""
        songs: dict[str, Song] = {}
        for sample in samples:
            if sample.frames and sample.track.name not in songs:
                with contextlib.suppress(AudioError):
                    songs[sample.track.name] = song_of(settings, sample.track)
        fitting = [
            sample
            for sample in samples
            if sample.track.name in songs
            and sample.frames
            and sample.start + sample.frames <= songs[sample.track.name].frames
        ]
        catalogue = cls(settings, fitting, songs)
        catalogue._listed = {sample.name for sample in samples if sample.frames}
        return catalogue

    def batches(self) -> list[Batch]:
        """One batch per song: all stems of its excerpts, so that neighbours in the song are read together."""
        by_song: dict[str, list[Sample]] = {}
        for sample in self.samples:
            by_song.setdefault(sample.track.name, []).append(sample)
        return [
            Batch(name, tuple(self._outputs(samples)), self.manifest) for name, samples in by_song.items()
        ]

    def _outputs(self, samples: Iterable[Sample]) -> Iterator[Output[ExcerptStem]]:
        for sample in samples:
            for stem, source in self._songs[sample.track.name].files.items():
                audio_format = excerpt_format(self._subtype(source))
                signal = ExcerptStem(
                    stem, source, sample.start, sample.frames, self.settings.sample_rate, audio_format.subtype
                )
                name = f"{sample.path}/{stem}.wav"
                yield Output(signal, self.settings.excerpts_dir, name, "wav", sample.name)

    def _subtype(self, source: Path) -> str:
        """The subtype of a song's file, whose header is read only once."""
        if source not in self._subtypes:
            self._subtypes[source] = read_header(source).subtype
        return self._subtypes[source]

    def orphans(self) -> list[tuple[Path, tuple[str, str]]]:
        """The recorded stems of excerpts whose songs are missing."""
        usable = {sample.name for sample in self.samples}
        return [
            (self.settings.excerpts_dir / record.path, key)
            for key, record in self.records.items()
            if Path(record.path).parent.name in self._listed - usable
        ]

    def mismatch(self, outputs: Sequence[Output[Signal]]) -> str:
        """Where in the song the samples should be, and how to cut them."""
        stems = ", ".join(output.file.stem for output in outputs)
        (sample,) = (sample for sample in self.samples if sample.name == outputs[0].unit)
        return (
            f"not what {self.settings.music_dir / sample.track.path} holds from frame {sample.start} on ({stems}): "
            f"cadrender excerpts --split {self.settings.split} cuts it anew"
        )

    def describe(self) -> list[str]:
        """The number of excerpts drawn, and their length."""
        if not self.excerpts:
            return []
        songs = plural(len({excerpt.track.name for excerpt in self.excerpts}), "song")
        seconds = self.excerpts[0].frames / self.settings.sample_rate
        return [f"{plural(len(self.excerpts), 'excerpt')} of {songs}, {seconds:g} s each"]

    @property
    def lists(self) -> tuple[Path, ...]:
        """None: the metadata are written before anything is cut."""
        return ()

    def text(self, place: Path) -> str:
        """What a metadata file of the draw should contain."""
        return self.metadata[place]

    def at_mic_files(self, name: str) -> list[Path]:
        """Possible at-mic files of an excerpt's stem, given the `name` of the stem's output."""
        folder = (self.settings.output_music_dir / name).parent
        return [folder / f"{Path(name).stem}.{container}" for container in CONTAINERS]

    def of_unknown_origin(self, *, force: bool = False) -> list[Path]:
        """Existing at-mic files named after excerpts that, according to the list, were not rendered from them.

        Raises
        ------
        MetadataError
            If the list of excerpts exists but cannot be read, unless `force`.
        """
        known = set()
        if self.list_file.exists():
            with contextlib.suppress(MetadataError) if force else contextlib.nullcontext():
                known = {_origin(excerpt) for excerpt in read_excerpts(self.list_file)}
        listed = {excerpt.name for excerpt in self.excerpts if _origin(excerpt) in known}
        return [
            file
            for output in self.outputs()
            if output.unit not in listed and not output.file.exists()
            for file in self.at_mic_files(output.name)
            if file.exists()
        ]


def _origin(excerpt: Excerpt) -> tuple[str, str, int, int]:
    return excerpt.name, excerpt.track.path, excerpt.start, excerpt.frames


def draw(settings: Settings, recipe: Recipe) -> ExcerptCatalogue:
    """Draw the excerpts of a split as specified in section 8 of ``docs/contract.md``; nothing is written.

    Parameters
    ----------
    settings : Settings
        Of the split that the excerpts are for; its music list names the songs.
    recipe : Recipe

    Raises
    ------
    UsageError
        If the recipe cannot be followed: too few positions or gains, or excerpts too short.
    MetadataError
        If a metadata file breaks its contract.
    """
    rate = settings.sample_rate
    frames = round(recipe.seconds * rate)
    if frames < _SHORTEST * rate:
        raise UsageError(f"excerpts of {recipe.seconds:g} s are too short: a loudness needs {_SHORTEST} s")
    tracks = read_track_lists(settings.music_files or (settings.music_file,))
    if not tracks:
        raise UsageError(f"{settings.music_file}: no songs to draw excerpts from")
    positions = read_positions(settings.head_loudspeaker_positions_file)
    gains = list(read_gains(settings.gains_file))
    trained = _training_positions(settings)
    draws: list[Draw] = []
    songs: dict[str, Song] = {}
    remarks: list[str] = []
    failures: dict[str, str] = {}
    for track in tracks:
        try:
            song = song_of(settings, track)
            accept = _loud_enough(song, frames, rate, recipe.min_loudness)
            if recipe.per_song:
                drawn = draw_excerpts(
                    track,
                    song.frames,
                    frames,
                    recipe.per_song,
                    settings.split,
                    gains,
                    list(positions),
                    seed=recipe.seed,
                    avoid=trained.get(track.name, ()),
                    accept=accept,
                )
            else:
                drawn = cut_excerpts(
                    track,
                    song.frames,
                    frames,
                    settings.split,
                    gains,
                    list(positions),
                    seed=recipe.seed,
                    accept=accept,
                )
        except AudioError as error:
            failures[track.name] = str(error)
            continue
        songs[track.name] = song
        draws.append(drawn)
        if drawn.remark:
            remarks.append(drawn.remark)
        again = {excerpt.position for excerpt in drawn.excerpts} & trained.get(track.name, set())
        if again and recipe.per_song:
            have = f"{plural(len(again), 'excerpt')} {'has' if len(again) == 1 else 'have'}"
            remarks.append(
                f"{track.name}: {have} head positions of its training scenes: there are no others left"
            )
    scenes = excerpt_scenes(draws)
    excerpts = [excerpt for each in draws for excerpt in each.excerpts]
    _check_names(excerpts)
    catalogue = ExcerptCatalogue(settings, excerpt_samples(scenes, excerpts, positions), songs)
    catalogue.excerpts, catalogue.remarks, catalogue.failures = excerpts, remarks, failures
    catalogue.metadata = {
        settings.scene_file: scenes_json(scenes),
        settings.excerpts_file: excerpts_json(excerpts),
    }
    if settings.listeners_file.exists():
        listeners = list(read_listeners(settings.listeners_file))
        text = f"{recipe.seed} {settings.split}"
        heard = generate_scene_listeners(
            [scene.id for scene in scenes], listeners, settings.number_listeners_per_scene, text
        )
        catalogue.metadata[settings.scene_listeners_file] = scene_listeners_json(heard)
    else:
        remarks.append(
            f"{settings.listeners_file}: no such file: {settings.scene_listeners_file} is not made"
        )
    return catalogue


def _training_positions(settings: Settings) -> dict[str, set[str]]:
    """The positions of each song's training scenes; none without such scenes."""
    file = settings.metadata_dir / "scenes.train.json"
    used: dict[str, set[str]] = {}
    if file.exists():
        for scene in read_scenes(file):
            used.setdefault(scene.music, set()).add(scene.position)
    return used


def _loud_enough(
    song: Song, frames: int, samplerate: int, least: float | None
) -> Callable[[int], bool] | None:
    """A function that decides whether the excerpt starting at a frame is loud enough; None if all are."""
    if least is None:
        return None
    from cadrender.dsp.loudness import integrated_loudness

    def tell(start: int) -> bool:
        mixture = read_stem(song.files[MIXTURE], samplerate, start, frames)
        return integrated_loudness(mixture, samplerate) >= least

    return tell


def _check_names(excerpts: Iterable[Excerpt]) -> None:
    names = Counter(excerpt.name for excerpt in excerpts)
    for name, count in names.items():
        if count > 1:
            raise UsageError(f"{name!r} would be the name of {count} excerpts: rename a song or a position")
