"""Validation and evaluation excerpts: drawn from songs, listed, and cut into stems of their own.

What is cut is a small song, so that ``generate`` renders it as it renders every song: there is no other path from
samples to at-mic files.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.jobs.plan import Plan, free_space, look_at_song, make_folders_under, source_folder
from cadrender.metadata import (
    Excerpt,
    Sample,
    cut_excerpts,
    draw_excerpts,
    excerpt_samples,
    excerpt_scenes,
    excerpts_json,
    generate_scene_listeners,
    holds,
    read_excerpts,
    read_gains,
    read_listeners,
    read_positions,
    read_scenes,
    read_track_lists,
    scene_listeners_json,
    scenes_json,
    write_all,
)
from cadrender.metadata.excerpts import SEED
from cadrender.stems import MIXTURE
from cadrender.store import AudioFormat, AudioWriter, ClaimedError, is_complete, read_stem

_PATIENCE = 0.2  # seconds between two looks at a file that another process is writing
_SHORTEST = 0.4  # seconds that a loudness needs


@dataclass(frozen=True)
class Recipe:
    """What excerpts are wanted.

    Attributes
    ----------
    seconds : float
        Length of an excerpt.
    per_song : int
        Excerpts drawn from each song; 0 cuts songs from end to end.
    seed : str
        Part of what seeds the draws.
    min_loudness : float, optional
        LUFS that the mixture must have at least.
    """

    seconds: float = 10.0
    per_song: int = 2
    seed: str = SEED
    min_loudness: float | None = None


@dataclass(frozen=True)
class Cut:
    """One stem of an excerpt: a piece of a song's file, and the file that it becomes.

    Attributes
    ----------
    sample : Sample
    source, file : pathlib.Path
    samplerate : int
    """

    sample: Sample
    source: Path
    file: Path
    samplerate: int


@dataclass(frozen=True)
class Drawn:
    """The excerpts of a split, before anything is written.

    Attributes
    ----------
    settings : Settings
    excerpts : list of Excerpt
    samples : list of Sample
        The same, as they are rendered.
    cuts : list of Cut
        Their stems.
    songs : int
        Songs that excerpts were drawn from.
    frames : int
        Of an excerpt.
    remarks : list of str
        Songs that gave fewer excerpts than wanted, and what else one should know.
    failures : list of str
        What is wrong with the songs that cannot be used.
    texts : dict
        The metadata files and what they will hold.
    """

    settings: Settings
    excerpts: list[Excerpt]
    samples: list[Sample]
    cuts: list[Cut]
    songs: int
    frames: int
    remarks: list[str]
    failures: list[str]
    texts: dict[Path, str]

    def missing(self, audio_format: AudioFormat, stale: Collection[Cut] = ()) -> tuple[int, int, int]:
        """Stems to cut and at-mic files to render, and the bytes of both; only headers are looked at."""
        cuts = files = 0
        stale = set(stale)
        for cut in self.cuts:
            gone = cut in stale
            at_mic = _at_mic_file(self.settings, cut, audio_format)
            cuts += gone or not cut.file.exists()
            files += gone or not is_complete(at_mic, self.frames, cut.samplerate, audio_format)
        size = 44 * (cuts + files) + self.frames * (4 * cuts + audio_format.bytes_per_frame * files)
        return cuts, files, size

    def check_space(self, audio_format: AudioFormat, stale: Collection[Cut] = ()) -> None:
        """Compare what will be written with the free space of the disks.

        Raises
        ------
        CadrenderError
            If it does not fit.
        """
        *_, size = self.missing(audio_format, stale)
        for folder in (self.settings.excerpts_dir, self.settings.output_music_dir):
            if size > (free := free_space(folder)):
                raise CadrenderError(
                    f"{folder}: {size / 1e9:.2f} GB will be written, and {free / 1e9:.2f} GB are free "
                    "(--force to try all the same)"
                )


def _at_mic_file(settings, cut, audio_format):
    return settings.output_music_dir / cut.sample.path / f"{cut.file.stem}.{audio_format.container}"


def draw(settings: Settings, recipe: Recipe) -> Drawn:
    """Draw the excerpts of a split; nothing is written.

    Valid excerpts come from random places, and from head positions that the song's training scenes do not
    have, as long as there are such; test songs (``recipe.per_song`` 0) are cut from end to end.

    Parameters
    ----------
    settings : Settings
        Of the split that the excerpts are for; its music list names the songs.
    recipe : Recipe

    Raises
    ------
    UsageError
        If the recipe cannot be followed: too few positions or gains, too short excerpts.
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
    draws, songs, remarks, failures = [], {}, [], []
    for track in tracks:
        try:
            song = look_at_song(track.name, settings.music_dir / track.path, rate)
            accept = _loud_enough(song, frames, rate, recipe.min_loudness)
            common = {"seed": recipe.seed, "accept": accept}
            if recipe.per_song:
                avoid = trained.get(track.name, ())
                drawn = draw_excerpts(
                    *(track, song.frames, frames, recipe.per_song, settings.split, gains, list(positions)),
                    avoid=avoid,
                    **common,
                )
            else:
                drawn = cut_excerpts(
                    track, song.frames, frames, settings.split, gains, list(positions), **common
                )
        except AudioError as error:
            failures.append(str(error))
            continue
        songs[track.name] = song
        draws.append(drawn)
        if drawn.remark:
            remarks.append(drawn.remark)
        again = {excerpt.position for excerpt in drawn.excerpts} & trained.get(track.name, set())
        if again and recipe.per_song:
            remarks.append(
                f"{track.name}: {len(again)} excerpts have head positions of its training scenes: there are no "
                "others left"
            )
    scenes = excerpt_scenes(draws)
    excerpts = [excerpt for each in draws for excerpt in each.excerpts]
    _check_names(excerpts)
    samples = excerpt_samples(scenes, excerpts, positions)
    texts = {
        settings.scene_file: scenes_json(scenes),
        settings.excerpts_file: excerpts_json(excerpts),
    }
    if settings.listeners_file.exists():
        listeners = list(read_listeners(settings.listeners_file))
        text = f"{recipe.seed} {settings.split}"
        heard = generate_scene_listeners(
            [scene.id for scene in scenes], listeners, settings.number_listeners_per_scene, text
        )
        texts[settings.scene_listeners_file] = scene_listeners_json(heard)
    else:
        remarks.append(
            f"{settings.listeners_file}: no such file: {settings.scene_listeners_file} is not made"
        )
    cuts = [
        Cut(sample, source, source_folder(settings, sample) / source.name, rate)
        for sample in samples
        for source in songs[sample.track.name].files.values()
    ]
    used = len({excerpt.track.name for excerpt in excerpts})
    return Drawn(settings, excerpts, samples, cuts, used, frames, remarks, failures, texts)


def _training_positions(settings):
    """The positions of each song's training scenes; none where there are no training scenes."""
    file = settings.metadata_dir / "scenes.train.json"
    used = {}
    if file.exists():
        for scene in read_scenes(file):
            used.setdefault(scene.music, set()).add(scene.position)
    return used


def _loud_enough(song, frames, samplerate, least):
    """What tells whether the excerpt from a given frame on is loud enough; None if all are."""
    if least is None:
        return None
    from cadrender.dsp.loudness import integrated_loudness

    def tell(start):
        mixture = read_stem(song.files[MIXTURE], samplerate, start, frames)
        return integrated_loudness(mixture, samplerate) >= least

    return tell


def _check_names(excerpts):
    names = Counter(excerpt.name for excerpt in excerpts)
    for name, count in names.items():
        if count > 1:
            raise UsageError(f"{name!r} would be the name of {count} excerpts: rename a song or a position")


def find_stale(drawn: Drawn, n_jobs: int, *, force: bool = False) -> list[Cut]:
    """Compare the stems that are there already with the songs.

    Parameters
    ----------
    drawn : Drawn
    n_jobs : int
        Threads.
    force : bool
        Take at-mic files of unknown origin for stale ones.

    Returns
    -------
    list of Cut
        Those whose file, or at-mic file, is there and holds something else.

    Raises
    ------
    UsageError
        If there are at-mic files under an excerpt's name that this program did not make of it.
    MetadataError
        If there is a list of excerpts that cannot be read, and no `force`.
    """
    settings = drawn.settings
    known = set()
    if settings.excerpts_file.exists():
        with contextlib.suppress(MetadataError) if force else contextlib.nullcontext():
            known = {_origin(excerpt) for excerpt in read_excerpts(settings.excerpts_file)}
    listed = {excerpt.name for excerpt in drawn.excerpts if _origin(excerpt) in known}
    there = [cut for cut in drawn.cuts if cut.file.exists()]
    stale = [cut for cut, same in zip(there, _in_threads(_is_same, there, n_jobs), strict=True) if not same]
    for cut in drawn.cuts:
        if cut.sample.name in listed or cut.file.exists():
            continue
        if files := [file for file in _at_mic_files(settings, cut) if file.exists()]:
            if not force:
                raise UsageError(
                    f"{files[0]}: exists, and {settings.excerpts_file} does not say that it is this excerpt: "
                    "--force replaces it"
                )
            stale.append(cut)
    return stale


def outdated_cuts(plan: Plan, n_jobs: int) -> list[Cut]:
    """Compare the stems of a plan's excerpts with the songs that they were cut from, as far as these are there.

    Returns
    -------
    list of Cut
        Those that hold something else than their song does now.
    """
    settings = plan.settings
    cuts = [
        Cut(sample, settings.music_dir / sample.track.path / file.name, file, settings.sample_rate)
        for sample in plan.samples
        if sample.frames and sample.source in plan.songs
        for file in plan.songs[sample.source].files.values()
    ]
    same = _in_threads(_is_same, cuts, n_jobs)
    return [cut for cut, still in zip(cuts, same, strict=True) if not still]


def _origin(excerpt):
    return excerpt.name, excerpt.track.path, excerpt.start, excerpt.frames


def _at_mic_files(settings, cut):
    folder = settings.output_music_dir / cut.sample.path
    return [folder / f"{cut.file.stem}.{container}" for container in ("wav", "flac")]


def _in_threads(work, items, n_jobs):
    """Map over threads: reading, comparing and writing hold no lock."""
    from joblib import Parallel, delayed

    return Parallel(max(1, n_jobs), prefer="threads", return_as="generator")(
        delayed(work)(item) for item in items
    )


def _is_same(cut):
    """Whether a stem's file holds just what the song has there."""
    try:
        present = read_stem(cut.file, cut.samplerate)
    except AudioError:
        return False
    try:
        wanted, _ = _stem(cut)
    except AudioError:
        return True  # that the song cannot be read is reported where it is cut
    return present.dtype == wanted.dtype and np.array_equal(present, wanted)


def _stem(cut):
    """A stem of an excerpt as its file holds it, and the file's format: that of the song as far as possible."""
    signal = read_stem(cut.source, cut.samplerate, cut.sample.start, cut.sample.frames)
    if signal.dtype == np.int16:
        return signal, AudioFormat("wav", "PCM_16")
    if signal.dtype == np.int32 and not (signal & 0xFF).any():
        return signal, AudioFormat("wav", "PCM_24")
    full_scale = 2.0**31 if signal.dtype == np.int32 else 1.0
    return (signal / full_scale).astype(np.float32), AudioFormat("wav", "FLOAT")


def write_excerpts(
    drawn: Drawn,
    stale: Iterable[Cut],
    n_jobs: int,
    *,
    force: bool = False,
    advance: Callable[[int, int], None] = lambda frames, samples: None,
) -> tuple[dict[Path, Path], dict[str, str]]:
    """Write the metadata and cut the stems that are missing or stale.

    First the stale files go, then the metadata come, then the stems: whenever it ends, no list describes files
    that hold something else.

    Parameters
    ----------
    drawn : Drawn
    stale : iterable of Cut
        As `find_stale` has it.
    n_jobs : int
        Threads.
    force : bool
        Keep no backup of metadata that change.
    advance : callable
        Told the frames cut, and the excerpts begun, since the last call.

    Returns
    -------
    backups : dict
        Metadata file to its backup, for those that were kept.
    failures : dict
        Excerpt to the one line that says why it could not be cut.

    Raises
    ------
    CadrenderError
        If something cannot be written.
    """
    settings = drawn.settings
    for cut in stale:
        for file in (cut.file, *_at_mic_files(settings, cut)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise CadrenderError(f"{file}: cannot be removed: {error.strerror or error}") from error
    changed = {file: text for file, text in drawn.texts.items() if not holds(file, text)}
    backups = write_all(changed, keep=not force)
    cuts = [cut for cut in drawn.cuts if not cut.file.exists()]
    make_folders_under(settings.excerpts_dir, dict.fromkeys(cut.file.parent for cut in cuts))
    failures, seen = {}, set()
    for cut, error in zip(cuts, _in_threads(_cut, cuts, n_jobs), strict=True):
        if error:
            failures.setdefault(cut.sample.name, error)
        advance(drawn.frames, cut.sample.name not in seen)
        seen.add(cut.sample.name)
    return backups, failures


def _cut(cut):
    """Cut one stem; return what went wrong with its song."""
    try:
        signal, audio_format = _stem(cut)
    except AudioError as error:
        return str(error)
    try:
        while True:
            try:
                with AudioWriter(cut.file, len(signal), cut.samplerate, audio_format) as writer:
                    if signal.dtype == np.int32:
                        signal = signal / 2.0**31
                    writer.write(signal)
                    writer.finish()
                    writer.commit()
                return ""
            except ClaimedError:  # another process is cutting it
                time.sleep(_PATIENCE)
                if cut.file.exists() and _is_same(cut):
                    return ""
    except OSError as error:
        raise CadrenderError(f"{cut.file}: cannot be written: {error.strerror or error}") from error
