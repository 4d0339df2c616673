"""What a root asks for, what of it is on disk already, and the jobs that make the rest."""

import fnmatch
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.jobs.stem import StemJob, Target
from cadrender.metadata import Sample, read_positions, read_scenes, read_track_lists, samples_of
from cadrender.stems import MIXTURE, STEMS
from cadrender.store import AudioFormat, is_complete, read_header, read_hrir, remove_leftovers
from cadrender.store.audio import check_stem_header


@dataclass(frozen=True)
class Song:
    """The source files of one track, all of one length.

    Attributes
    ----------
    name : str
        The track's name.
    files : dict
        Stem to path; all five, or the mixture alone where a corpus has no stems.
    start, frames : int
        What of them is rendered.
    """

    name: str
    files: dict[str, Path]
    start: int
    frames: int


@dataclass
class Plan:
    """The work of one run.

    Attributes
    ----------
    settings : Settings
    audio_format : AudioFormat
    samples : list of Sample
        All that the scenes name, in the order of the list that is written at the end.
    songs : dict
        Track name to Song, for the songs whose headers are in order.
    failures : dict
        Track name to the one line that says what is wrong with its files.
    selected : set of str
        Track names to render now.
    jobs : list of StemJob
        What is missing of them, the most expensive songs first.
    skipped : int
        Selected samples that are complete already.
    """

    settings: Settings
    audio_format: AudioFormat
    samples: list[Sample]
    songs: dict[str, Song]
    failures: dict[str, str]
    selected: set[str]
    jobs: list[StemJob] = field(default_factory=list)
    skipped: int = 0

    @property
    def files(self) -> int:
        """At-mic files to write."""
        return sum(len(job.targets) for job in self.jobs)

    @property
    def bytes(self) -> int:
        """Bytes to write; an upper bound for FLAC."""
        return sum(job.frame_scenes for job in self.jobs) * self.audio_format.bytes_per_frame + 44 * self.files

    @property
    def seconds(self) -> float:
        """Seconds of stereo audio to write."""
        return sum(job.frame_scenes for job in self.jobs) / self.settings.sample_rate

    def folder(self, sample: Sample) -> Path:
        """Where a sample's files go."""
        return self.settings.output_music_dir / sample.path

    def file(self, sample: Sample, stem: str) -> Path:
        """Where one of them goes."""
        return self.folder(sample) / f"{stem}.{self.audio_format.container}"

    def missing(self, sample: Sample) -> list[str]:
        """The stems of a sample that are not complete on disk."""
        song = self.songs.get(sample.track.name)
        if song is None:
            return list(STEMS)
        return [
            stem
            for stem in song.files
            if not is_complete(
                self.file(sample, stem), song.frames, self.settings.sample_rate, self.audio_format
            )
        ]

    def complete_samples(self) -> list[Sample]:
        """The samples that are complete on disk now, in order."""
        return [sample for sample in self.samples if not self.missing(sample)]


def make_plan(
    settings: Settings,
    *,
    audio_format: AudioFormat | None = None,
    songs: Sequence[str] = (),
    stems: Sequence[str] = STEMS,
) -> Plan:
    """Read the metadata, check every HRIR and every song's headers, and find out what is missing.

    Nothing is written.

    Parameters
    ----------
    settings : Settings
        Of the root.
    audio_format : AudioFormat, optional
        WAV, PCM_16 by default.
    songs : sequence of str
        Shell patterns of track names; all by default.
    stems : sequence of str
        Stems to render; all by default.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract, or an HRIR cannot be used.
    UsageError
        If a pattern matches no song.
    """
    audio_format = audio_format or AudioFormat()
    scenes = read_scenes(settings.scene_file)
    tracks = read_track_lists(settings.music_files or (settings.music_file,))
    positions = read_positions(settings.head_loudspeaker_positions_file)
    samples = samples_of(scenes, tracks, positions)
    _check_hrirs(settings, samples)

    needed = {sample.track.name: sample.track for sample in samples}
    selected = _select(needed, songs)
    found, failures = {}, {}
    for name, track in needed.items():
        try:
            found[name] = look_at_song(name, settings.music_dir / track.path, settings.sample_rate)
        except AudioError as error:
            if name in selected:
                failures[name] = str(error)
    plan = Plan(settings, audio_format, samples, found, failures, selected)
    _add_jobs(plan, stems)
    return plan


def _select(names, patterns):
    """Names that match one of the shell patterns, case and all, or as they stand."""
    if not patterns:
        return set(names)
    selected = set()
    for pattern in patterns:
        matching = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not matching:
            raise UsageError(f"--songs {pattern!r}: no song of the scenes has such a name")
        selected |= matching
    return selected


def _check_hrirs(settings, samples):
    names = {}
    for sample in samples:
        for name in (sample.position.left_hrir, sample.position.right_hrir):
            names.setdefault(name, sample.position.id)
    for name, position in names.items():
        try:
            read_hrir(settings.hrtf_dir / name, settings.sample_rate)
        except AudioError as error:
            raise MetadataError(f"{error} (needed by head position {position})") from error


def look_at_song(name: str, folder: Path, samplerate: int) -> Song:
    """Check the headers of a song's files.

    A folder whose only file of the five is the mixture is a song without stems, as FMA's are.

    Raises
    ------
    AudioError
        If a file is missing, unreadable, not stereo, of another rate, too short, or of another length than
        the mixture.
    """
    files = {stem: folder / f"{stem}.wav" for stem in STEMS}
    if files[MIXTURE].exists() and not any(files[stem].exists() for stem in STEMS if stem != MIXTURE):
        files = {MIXTURE: files[MIXTURE]}
    frames = None
    for file in files.values():
        header = read_header(file)
        check_stem_header(file, header, samplerate)
        if frames is None:
            frames = header.frames
        elif header.frames != frames:
            raise AudioError(f"{file}: {header.frames} frames, but the mixture has {frames}")
    return Song(name, files, 0, frames)


def _add_jobs(plan, stems):
    """One job a stem and song, for all heads that miss it; the most expensive songs first."""
    wanted = {}
    for sample in plan.samples:
        name = sample.track.name
        if name not in plan.selected or name not in plan.songs:
            continue
        missing = [stem for stem in plan.missing(sample) if stem in stems]
        plan.skipped += not missing
        for stem in missing:
            wanted.setdefault(name, {}).setdefault(stem, []).append(sample)
    for name, by_stem in wanted.items():
        song = plan.songs[name]
        for stem in song.files:
            if stem in by_stem:
                targets = tuple(_target(plan, sample, stem) for sample in by_stem[stem])
                plan.jobs.append(
                    StemJob(
                        name,
                        stem,
                        song.files[stem],
                        song.start,
                        song.frames,
                        plan.settings.sample_rate,
                        plan.audio_format,
                        targets,
                    )
                )
    cost = {}
    for job in plan.jobs:
        cost[job.song] = max(cost.get(job.song, 0), job.frame_scenes)
    plan.jobs.sort(key=lambda job: -cost[job.song])


def _target(plan, sample, stem):
    folder = plan.settings.hrtf_dir
    return Target(
        sample.name,
        plan.file(sample, stem),
        folder / sample.position.left_hrir,
        folder / sample.position.right_hrir,
    )


def check_space(plan: Plan) -> None:
    """Compare what will be written with the free space of the disk.

    Raises
    ------
    CadrenderError
        If it does not fit.
    """
    free = free_space(plan.settings.output_music_dir)
    if plan.bytes > free:
        raise CadrenderError(
            f"{plan.settings.output_music_dir}: {plan.bytes / 1e9:.2f} GB will be written, "
            f"and {free / 1e9:.2f} GB are free (--force to try all the same)"
        )


def free_space(folder: Path) -> int:
    """Free bytes on the disk that ``folder`` is or will be on."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def make_folders(plan: Plan) -> int:
    """Make the samples' folders, and remove the temporary files of killed runs.

    Returns
    -------
    int
        Temporary files removed.

    Raises
    ------
    CadrenderError
        If a folder cannot be made, or leads elsewhere through a symbolic link.
    """
    removed = 0
    base = plan.settings.output_music_dir
    try:
        base.mkdir(parents=True, exist_ok=True)
        for folder in dict.fromkeys(target.file.parent for job in plan.jobs for target in job.targets):
            for step in reversed([folder, *folder.parents]):
                if step.is_relative_to(base) and step != base and step.is_symlink():
                    raise CadrenderError(f"{step}: a symbolic link; at-mic files are never written through one")
            folder.mkdir(parents=True, exist_ok=True)
            removed += remove_leftovers(folder)
    except OSError as error:
        raise CadrenderError(f"{error.filename or base}: cannot be made: {error.strerror or error}") from error
    if not os.access(base, os.W_OK | os.X_OK):
        raise CadrenderError(f"{base}: this user may not write there")
    return removed
