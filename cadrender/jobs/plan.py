"""What a root asks for, what of it is on disk already, and the jobs that make the rest."""

import fnmatch
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.jobs.changes import Inputs, compare_inputs
from cadrender.jobs.shards import Shard
from cadrender.jobs.stem import StemJob, Target
from cadrender.metadata import Sample, read_samples
from cadrender.stems import MIXTURE, STEMS
from cadrender.store import AudioFormat, is_complete, read_header, read_hrir, remove_leftovers
from cadrender.store.audio import check_stem_header
from cadrender.store.manifest import Entry, Manifest, append_entries, compact, manifest_file, read_manifest
from cadrender.store.names import check_distinct

# The record that `cadrender ingest` leaves in the folder of a song when it is complete.
INGESTED = ".ingest.json"


@dataclass(frozen=True)
class Song:
    """The source files of one track or excerpt, all of one length.

    Attributes
    ----------
    name : str
        The track's or the excerpt's name.
    files : dict
        Stem to path; all five, or those that a corpus has.
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
        Song by name of the track or excerpt, for those whose headers are in order.
    failures : dict
        The one line that says what is wrong with the others, by the same name.
    selected : set of str
        Track names to render now.
    jobs : list of StemJob
        What is missing of them, the most expensive songs first.
    skipped : int
        Selected samples that are complete already.
    changed : dict
        Complete files that are rendered again, and their state when the plan was made.
    causes : list of pathlib.Path
        The sources and HRIRs that have changed since.
    touched : list of Entry
        New lines for the manifest, of files whose inputs changed in nothing but their time.
    shard : Shard, optional
        The part of the work that is this run's.
    """

    settings: Settings
    audio_format: AudioFormat
    samples: list[Sample]
    songs: dict[str, Song]
    failures: dict[str, str]
    selected: set[str]
    jobs: list[StemJob] = field(default_factory=list)
    skipped: int = 0
    changed: dict[Path, os.stat_result] = field(default_factory=dict)
    causes: list[Path] = field(default_factory=list)
    touched: list[Entry] = field(default_factory=list)
    shard: Shard | None = None

    @property
    def manifest(self) -> Manifest:
        """Where the files are entered."""
        settings = self.settings
        return Manifest(
            manifest_file(settings.output_music_file),
            settings.output_music_dir,
            settings.music_dir,
            settings.hrtf_dir,
        )

    @property
    def files(self) -> int:
        """At-mic files to write."""
        return sum(len(job.targets) for job in self.jobs)

    @property
    def bytes(self) -> int:
        """Bytes to write; an upper bound for FLAC."""
        frame_scenes = sum(job.frame_scenes for job in self.jobs)
        return frame_scenes * self.audio_format.bytes_per_frame + 44 * self.files

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
        song = self.songs.get(sample.source)
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
    compare: bool = True,
    again: Collection[Path] = (),
    shard: Shard | None = None,
) -> Plan:
    """Read the metadata, check every HRIR and every song's headers, and find what is missing or out of date.

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
    compare : bool
        Whether files that are there are compared with the manifest, to render those again whose sources have
        changed.
    again : collection of pathlib.Path
        At-mic files to render again whatever they hold.
    shard : Shard, optional
        Plan only this part of the work; all by default.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract, or an HRIR cannot be used.
    UsageError
        If a pattern matches no song.
    """
    audio_format = audio_format or AudioFormat()
    samples = read_samples(
        settings.scene_file,
        settings.music_files or (settings.music_file,),
        settings.head_loudspeaker_positions_file,
        settings.excerpts_file,
    )
    check_hrirs(settings, samples)

    selected = select_songs({sample.track.name for sample in samples}, songs)
    found, failures = {}, {}
    for name, sample in {sample.source: sample for sample in samples}.items():
        try:
            song = look_at_song(name, source_folder(settings, sample), settings.sample_rate)
            if sample.frames not in (0, song.frames):
                raise AudioError(
                    f"{song.files[MIXTURE]}: {song.frames} frames; the excerpt has {sample.frames}: "
                    "cadrender excerpts cuts it anew"
                )
            found[name] = song
        except AudioError as error:
            if sample.track.name in selected:
                failures[name] = str(error)
    plan = Plan(settings, audio_format, samples, found, failures, selected, shard=shard)
    check_distinct(map(plan.folder, samples))
    jobs = all_jobs(plan, stems)
    if shard:
        jobs = shard.of(jobs)
    entries = read_manifest(plan.manifest.file) if compare else {}
    _keep_missing(plan, jobs, entries, set(again))
    return plan


def select_songs(names: Collection[str], patterns: Sequence[str]) -> set[str]:
    """Names that match one of the shell patterns, case and all, or as they stand; all without a pattern.

    Raises
    ------
    UsageError
        If a pattern matches none.
    """
    if not patterns:
        return set(names)
    selected = set()
    for pattern in patterns:
        matching = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not matching:
            raise UsageError(f"--songs {pattern!r}: no song of the scenes has such a name")
        selected |= matching
    return selected


def source_folder(settings: Settings, sample: Sample) -> Path:
    """Where the stems are that a sample is rendered from: a song's, or an excerpt's own."""
    if sample.frames:
        return settings.excerpts_dir / sample.path
    return settings.music_dir / sample.track.path


def check_hrirs(settings: Settings, samples: Iterable[Sample]) -> None:
    """Read every HRIR that samples need.

    Raises
    ------
    MetadataError
        If one cannot be used.
    """
    files = {}
    for sample in samples:
        for file in sample.position.hrir_files(settings.hrtf_dir):
            files.setdefault(file, sample.position.id)
    for file, position in files.items():
        try:
            read_hrir(file, settings.sample_rate)
        except AudioError as error:
            raise MetadataError(f"{error} (needed by head position {position})") from error


def look_at_song(name: str, folder: Path, samplerate: int) -> Song:
    """Check the headers of a song's files.

    All five must be there. A folder whose only file of the five is the mixture is a song without stems, as FMA's
    are; a song that ``cadrender ingest`` made has the stems that its corpus has.

    Raises
    ------
    AudioError
        If a file is missing, unreadable, not stereo, of another rate, too short, or of another length than
        the mixture.
    """
    files = {stem: folder / f"{stem}.wav" for stem in STEMS}
    present = {stem: file for stem, file in files.items() if file.exists()}
    if MIXTURE in present and (len(present) == 1 or (folder / INGESTED).exists()):
        files = present
    frames = None
    for file in files.values():
        header = read_header(file)
        check_stem_header(file, header, samplerate)
        if frames is None:
            frames = header.frames
        elif header.frames != frames:
            raise AudioError(f"{file}: {header.frames} frames, but the mixture has {frames}")
    return Song(name, files, 0, frames)


def all_jobs(plan: Plan, stems: Sequence[str] = STEMS) -> list[StemJob]:
    """One job a stem and selected song, for all its heads, whether they are complete or not."""
    by_song = {}
    for sample in plan.samples:
        if sample.track.name in plan.selected and sample.source in plan.songs:
            by_song.setdefault(sample.source, []).append(sample)
    return [
        StemJob(
            name,
            stem,
            plan.songs[name].files[stem],
            plan.songs[name].start,
            plan.songs[name].frames,
            plan.settings.sample_rate,
            plan.audio_format,
            tuple(_target(plan, sample, stem) for sample in samples),
            plan.manifest,
        )
        for name, samples in by_song.items()
        for stem in plan.songs[name].files
        if stem in stems
    ]


def _keep_missing(plan, jobs, entries, again):
    """Put into the plan what the jobs lack, the most expensive songs first."""
    inputs = Inputs()
    lacking = dict.fromkeys(target.sample for job in jobs for target in job.targets)
    causes = {}
    for job in jobs:
        complete = [
            target
            for target in job.targets
            if is_complete(target.file, job.frames, job.samplerate, job.audio_format)
        ]
        changed, touched = compare_inputs(job, complete, entries, inputs)
        plan.touched += touched
        causes |= dict.fromkeys(cause for _, cause in changed)
        redone = {target for target, _ in changed} | {target for target in complete if target.file in again}
        for target in redone:
            plan.changed[target.file] = target.file.lstat()
        wanted = tuple(target for target in job.targets if target not in complete or target in redone)
        if wanted:
            plan.jobs.append(replace(job, targets=wanted))
        lacking |= dict.fromkeys((target.sample for target in wanted), True)
    plan.causes = list(causes)
    plan.skipped = sum(not lacks for lacks in lacking.values())
    cost = {}
    for job in plan.jobs:
        cost[job.song] = max(cost.get(job.song, 0), job.frame_scenes)
    plan.jobs.sort(key=lambda job: -cost[job.song])


def _target(plan, sample, stem):
    hrirs = sample.position.hrir_files(plan.settings.hrtf_dir)
    return Target(sample.name, plan.file(sample, stem), *hrirs)


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
    """Make the samples' folders, and remove the temporary files of killed runs; see `make_folders_under`."""
    folders = dict.fromkeys(target.file.parent for job in plan.jobs for target in job.targets)
    removed = make_folders_under(plan.settings.output_music_dir, folders)
    check_distinct(map(plan.folder, plan.samples))
    complete = {plan.folder(sample) for sample in plan.samples} - folders.keys()
    return removed + sum(map(remove_leftovers, complete))


def make_folders_under(base: Path, folders: Iterable[Path]) -> int:
    """Make folders, and remove the temporary files of killed runs in them.

    Returns
    -------
    int
        Temporary files removed.

    Raises
    ------
    CadrenderError
        If a folder cannot be made, or leads elsewhere through a symbolic link under `base`.
    """
    removed = 0
    try:
        base.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            for step in reversed([folder, *folder.parents]):
                if step.is_relative_to(base) and step != base and step.is_symlink():
                    raise CadrenderError(f"{step}: a symbolic link; files are never written through one")
            folder.mkdir(parents=True, exist_ok=True)
            removed += remove_leftovers(folder)
    except OSError as error:
        raise CadrenderError(
            f"{error.filename or base}: cannot be made: {error.strerror or error}"
        ) from error
    if not os.access(base, os.W_OK | os.X_OK):
        raise CadrenderError(f"{base}: this user may not write there")
    return removed


def sweep(plan: Plan) -> None:
    """Remove the temporary files of workers that were ended, on a full disk for instance."""
    for folder in {target.file.parent for job in plan.jobs for target in job.targets}:
        remove_leftovers(folder)


def make_manifest(plan: Plan) -> None:
    """Start the manifest, or bring it up to date with inputs that were only touched.

    Raises
    ------
    CadrenderError
        If it cannot be written.
    """
    file = plan.manifest.file
    if not (plan.jobs or plan.touched):
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        append_entries(file, plan.touched)
    except OSError as error:
        raise CadrenderError(f"{file}: cannot be written: {error.strerror or error}") from error
    compact(file)


def remove_changed(plan: Plan) -> int:
    """Remove the files that are to be rendered again, unless another process has put new ones there already.

    From here on a file in its place is a good one, as far as its header tells.

    Returns
    -------
    int
        Files removed.

    Raises
    ------
    CadrenderError
        If one cannot be removed.
    """
    removed = 0
    for file, seen in plan.changed.items():
        try:
            now = file.lstat()
            if (now.st_ino, now.st_mtime_ns, now.st_size) == (seen.st_ino, seen.st_mtime_ns, seen.st_size):
                file.unlink()
                removed += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CadrenderError(f"{file}: cannot be removed: {error.strerror or error}") from error
    return removed
