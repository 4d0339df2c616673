"""What rebalanced targets a root asks for, which of them are done, and the jobs that make the rest."""

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cadrender.config import Settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.jobs.mix import Journal, MixJob, MixTarget, Part, find_stored, identity, output_frames
from cadrender.jobs.plan import Plan, check_hrirs, free_space, look_at_song, source_folder
from cadrender.metadata import (
    Listener,
    Sample,
    SceneRecord,
    check_name,
    read_at_mic,
    read_gains,
    read_listeners,
    read_samples,
    read_scene_listeners,
    read_scenes,
    sample_name,
)
from cadrender.stems import MIXTURE, VDBO
from cadrender.store import AudioFormat, is_complete, read_header

# Files that one job writes at the same time, at most.
_MOST_FILES = 64

_CONTAINERS = ("wav", "flac")


@dataclass(frozen=True)
class Heard:
    """A sample as far as it matters here.

    Attributes
    ----------
    name, song : str
        Of the sample and of its track.
    parts : tuple of Part
        Its at-mic signals: vocals, drums, bass, other and the mixture; none where the song has no stems.
    frames : int
        Their length.
    """

    name: str
    song: str
    parts: tuple[Part, ...]
    frames: int


@dataclass
class RemixPlan:
    """The work of one run.

    Attributes
    ----------
    settings : Settings
    audio_format, listener_format : AudioFormat
        Of the targets, and of those amplified for listeners.
    output_rate : int
        Of both, in hertz.
    scenes : list of SceneRecord
        All of the scenes file.
    selected : list of SceneRecord
        Those of this run.
    heard : dict
        Sample name to Heard, for the samples that can be mixed.
    targets : dict
        Scene id to the MixTargets of this run.
    failures : list of str
        What is wrong with the other samples, one line each.
    stemless : list of str
        Songs without stems: there is nothing to rebalance.
    jobs : list of MixJob
        What is missing, the most expensive first.
    skipped : int
        Targets that are done already.
    """

    settings: Settings
    audio_format: AudioFormat
    listener_format: AudioFormat
    output_rate: int
    scenes: list[SceneRecord]
    selected: list[SceneRecord]
    heard: dict[str, Heard] = field(default_factory=dict)
    targets: dict[str, list[MixTarget]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    stemless: list[str] = field(default_factory=list)
    jobs: list[MixJob] = field(default_factory=list)
    skipped: int = 0

    @property
    def journal(self) -> Journal:
        """Where finished targets are entered."""
        settings = self.settings
        file = settings.output_remix_file
        return Journal(
            file.with_name(f"{file.name.removesuffix('.json')}.journal.jsonl"),
            (settings.output_remix_dir, settings.output_remix_listeners_dir),
        )

    @property
    def files(self) -> int:
        """Files to write."""
        return sum(len(job.targets) for job in self.jobs)

    @property
    def frames(self) -> int:
        """Frames to write."""
        return sum(self.length(job.frames, target) for job in self.jobs for target in job.targets)

    @property
    def bytes(self) -> int:
        """Bytes to write; an upper bound for FLAC."""
        return sum(
            self.length(job.frames, target) * target.audio_format.bytes_per_frame + 64
            for job in self.jobs
            for target in job.targets
        )

    @property
    def unstored(self) -> int:
        """At-mic signals that are not on disk and will be rendered on the way."""
        samples = {job.sample: job for job in self.jobs if job.render}.values()
        rate = self.settings.sample_rate
        return sum(find_stored(part, job.frames, rate) is None for job in samples for part in job.parts)

    def length(self, frames: int, target: MixTarget) -> int:
        """Frames of a target of a sample of that many."""
        return output_frames(frames, self.settings.sample_rate, self.output_rate, target.listener is not None)

    def folders(self) -> dict[Path, Path]:
        """The folder that the jobs write to under each output folder."""
        amplified = {target.listener is not None for job in self.jobs for target in job.targets}
        bases = [self.journal.folders[kind] for kind in sorted(amplified)]
        return {base: base / self.settings.split for base in bases}

    def is_done(self, sample: str, target: MixTarget, records: dict) -> bool:
        """Whether a target is there, made from what the scene says now."""
        record = records.get(self.journal.key(target))
        heard = self.heard[sample]
        if record is None or any(record.get(k) != v for k, v in identity(sample, target).items()):
            return False
        length = self.length(heard.frames, target)
        if not is_complete(target.file, length, self.output_rate, target.audio_format):
            return False
        return not any(_has_changed(part, record.get("inputs")) for part in heard.parts)


def _has_changed(part, inputs):
    """Whether an at-mic file that a target was made from is another one now; one that is gone has not changed."""
    stamp = inputs.get(part.stem) if isinstance(inputs, dict) else None
    if stamp is None:  # it was rendered on the way, to the same samples
        return False
    states = []
    for file in part.stored:
        try:
            status = file.stat()
        except OSError:
            continue
        states.append([status.st_size, status.st_mtime_ns])
    return bool(states) and stamp not in states


def make_remix_plan(
    settings: Settings,
    *,
    audio_format: AudioFormat | None = None,
    listener_format: AudioFormat | None = None,
    output_rate: int | None = None,
    listeners: bool = False,
    scenes: Sequence[str] = (),
    songs: Sequence[str] = (),
    after: Plan | None = None,
) -> RemixPlan:
    """Read the metadata, look at the at-mic files and, where they are missing, at the songs.

    Nothing is written.

    Parameters
    ----------
    settings : Settings
        Of the root.
    audio_format : AudioFormat, optional
        Of the targets: WAV, PCM_16 by default.
    listener_format : AudioFormat, optional
        Of the targets amplified for listeners: WAV, FLOAT by default, for they exceed full scale.
    output_rate : int, optional
        Of both, in hertz; that of the at-mic files by default.
    listeners : bool
        Whether to make, for each scene and listener, the target amplified for the listener.
    scenes, songs : sequence of str
        Shell patterns of scene ids and of track names; all by default.
    after : Plan, optional
        A plan of ``generate`` that renders the at-mic files in the same run.

    Raises
    ------
    MetadataError
        If a metadata file breaks its contract, or an HRIR that is needed cannot be used.
    UsageError
        If a pattern matches nothing, or a rate or format cannot be had.
    """
    records = read_scenes(settings.scene_file)
    output_rate = output_rate or settings.sample_rate
    if not 4000 <= output_rate <= 384_000:
        raise UsageError(f"a sample rate of {output_rate} Hz: 4000 to 384000 can be had")
    if listeners and settings.sample_rate < 12_000:
        raise UsageError(
            f"sample_rate={settings.sample_rate}: a prescription reaches to 6000 Hz and needs 12000"
        )
    plan = RemixPlan(
        settings,
        audio_format or AudioFormat(),
        listener_format or AudioFormat("wav", "FLOAT"),
        output_rate,
        records,
        _select(records, scenes, songs),
    )
    gains = _gains(settings, records)
    hearing = _hearing(settings, records) if listeners else {}
    _look_at_samples(plan, after)
    _add_targets(plan, gains, hearing)
    _add_jobs(plan, after)
    return plan


def _select(records, scenes, songs):
    """The scenes that match the patterns."""
    for option, patterns, names in (
        ("--scenes", scenes, [record.id for record in records]),
        ("--songs", songs, [record.music for record in records]),
    ):
        for pattern in patterns:
            if not any(_matches(name, [pattern]) for name in names):
                what = "scene" if option == "--scenes" else "song of the scenes"
                raise UsageError(f"{option} {pattern!r}: no {what} has such a name")
    return [r for r in records if _matches(r.id, scenes) and _matches(r.music, songs)]


def _matches(name, patterns):
    return not patterns or any(name == p or fnmatch.fnmatchcase(name, p) for p in patterns)


def _gains(settings, records):
    """Gains in dB of vocals, drums, bass and other, by scene."""
    known = read_gains(settings.gains_file)
    out = {}
    for record in records:
        if record.gain not in known:
            raise MetadataError(
                f"{settings.scene_file}: scene {record.id!r}: the gain {record.gain!r} is not in "
                f"{settings.gains_file}"
            )
        gain = known[record.gain]
        if set(gain) != set(VDBO):
            raise MetadataError(
                f"{settings.gains_file}: gain {record.gain!r} is of {', '.join(gain) or 'nothing'}; "
                f"needed are {', '.join(VDBO)}"
            )
        out[record.id] = tuple(gain[stem] for stem in VDBO)
    return out


def _hearing(settings, records) -> dict[str, list[Listener]]:
    """Who listens to each scene."""
    known = read_listeners(settings.listeners_file)
    pairs = read_scene_listeners(settings.scene_listeners_file)
    for record in records:
        if record.id not in pairs:
            raise MetadataError(f"{settings.scene_listeners_file}: nobody listens to scene {record.id!r}")
        for listener in pairs[record.id]:
            if listener not in known:
                raise MetadataError(
                    f"{settings.scene_listeners_file}: scene {record.id!r}: the listener {listener!r} is not "
                    f"in {settings.listeners_file}"
                )
    return {record.id: [known[listener] for listener in pairs[record.id]] for record in records}


def _look_at_samples(plan, after):
    """Fill in what can be heard and why the rest cannot; failures are told of selected scenes only."""
    wanted = {sample_name(record.music, record.position) for record in plan.selected}
    told = set(after.failures.values()) if after else set()
    unstored = []
    songs = {}
    for name, (song, path, sample) in _samples(plan).items():
        try:
            heard = _look_at_sample(plan, name, song, path, sample, after, songs)
        except AudioError as error:
            # generate tells of its own failures, and a song that is damaged is told of once.
            if name in wanted and str(error) not in (*told, *plan.failures):
                plan.failures.append(str(error))
            continue
        plan.heard[name] = heard
        if not heard.parts:
            if name in wanted and song not in plan.stemless:
                plan.stemless.append(song)
        elif (
            name in wanted
            and after is None
            and any(_stored(plan, heard, part) is None for part in heard.parts)
        ):
            unstored.append(sample)
    check_hrirs(plan.settings, unstored)
    if (
        plan.selected
        and after is None
        and wanted <= {name for name, heard in plan.heard.items() if not heard.parts}
    ):
        raise CadrenderError(
            f"{plan.settings.scene_file}: none of the songs has stems: there is nothing to rebalance"
        )


def _samples(plan) -> dict[str, tuple[str, str, Sample | None]]:
    """Sample name to its song, its folder's path, and all that is known of it."""
    settings = plan.settings
    files = (*(settings.music_files or (settings.music_file,)), settings.excerpts_file)
    if not any(file.exists() for file in files) and settings.output_music_file.exists():
        # The at-mic music alone is there, as the validation set is distributed.
        listed = read_at_mic(settings.output_music_file)
        out = {}
        for record in plan.scenes:
            name = sample_name(record.music, record.position)
            if name not in listed:
                raise MetadataError(
                    f"{settings.scene_file}: scene {record.id!r}: {name!r} is not in {settings.output_music_file}"
                )
            out[name] = (record.music, listed[name].path, None)
        return out
    samples = read_samples(
        settings.scene_file,
        settings.music_files or (settings.music_file,),
        settings.head_loudspeaker_positions_file,
        settings.excerpts_file,
    )
    return {sample.name: (sample.track.name, sample.path, sample) for sample in samples}


def _look_at_sample(plan, name, song, path, sample, after, songs):
    """Find a sample's at-mic files, and what those that are missing can be rendered from."""
    settings = plan.settings
    folder = settings.output_music_dir / path
    containers = _CONTAINERS if after is None else (after.audio_format.container,)
    subtype = "" if after is None else after.audio_format.subtype
    parts = tuple(
        Part(stem, tuple(folder / f"{stem}.{container}" for container in containers), subtype)
        for stem in (*VDBO, MIXTURE)
    )
    cause = None
    if sample is not None:
        try:
            source = _song(settings, sample, after, songs)
        except AudioError as error:
            cause = error
        else:
            if len(source.files) == 1:
                return Heard(name, song, (), source.frames)
            if lacking := [stem for stem in VDBO if stem not in source.files]:
                raise AudioError(f"{song}: has no {', '.join(lacking)}: a target needs {', '.join(VDBO)}")
            left, right = sample.position.hrir_files(settings.hrtf_dir)
            parts = tuple(
                replace(
                    part,
                    source=source.files[part.stem],
                    start=source.start,
                    left_hrir=left,
                    right_hrir=right,
                )
                for part in parts
            )
            return Heard(name, song, parts, source.frames)
    frames = _stored_frames(parts[-1], settings.sample_rate, cause)
    for part in parts:
        if find_stored(part, frames, settings.sample_rate) is None:
            raise AudioError(
                f"{part.stored[0]}: not a stereo file of {frames} frames at {settings.sample_rate} Hz, "
                f"and it cannot be rendered: {cause or 'there is no music list'}"
            )
    return Heard(name, song, parts, frames)


def _song(settings, sample, after, songs):
    """A sample's song; `songs` are those that were looked at before."""
    name = sample.source
    if after is not None:
        if name not in after.songs:
            raise AudioError(after.failures.get(name, f"{name}: cannot be rendered"))
        return after.songs[name]
    if name not in songs:
        try:
            songs[name] = look_at_song(name, source_folder(settings, sample), settings.sample_rate)
        except AudioError as error:
            songs[name] = error
    if isinstance(songs[name], AudioError):
        raise songs[name]
    if sample.frames not in (0, songs[name].frames):
        raise AudioError(
            f"{songs[name].files[MIXTURE]}: {songs[name].frames} frames, not the excerpt's {sample.frames}"
        )
    return songs[name]


def _stored_frames(mixture, samplerate, cause):
    """Length of an at-mic mixture."""
    for file in mixture.stored:
        try:
            frames = read_header(file).frames
        except AudioError as error:
            if file.exists():
                raise error from cause
        else:
            if frames < 0.4 * samplerate:
                raise AudioError(
                    f"{file}: {1000 * frames / samplerate:.0f} ms long; a loudness needs at least 400 ms"
                )
            return frames
    raise AudioError(
        f"{mixture.stored[0]}: no such file, and it cannot be rendered: {cause or 'there is no music list'}"
    ) from cause


def _stored(plan, heard, part):
    return find_stored(part, heard.frames, plan.settings.sample_rate)


def _add_targets(plan, gains, hearing):
    settings = plan.settings
    places = set()
    for record in plan.selected:
        heard = plan.heard.get(sample_name(record.music, record.position))
        if heard is None or not heard.parts:
            continue
        suffix = plan.audio_format.container
        targets = [
            MixTarget(
                record.id,
                record.gain,
                gains[record.id],
                _place(settings, settings.output_remix_dir, f"{record.id}.{suffix}"),
                plan.audio_format,
            )
        ]
        suffix = plan.listener_format.container
        for listener in hearing.get(record.id, ()):
            name = f"{record.id}_{listener.id}.{suffix}"
            file = _place(settings, settings.output_remix_listeners_dir, name)
            targets.append(
                replace(targets[0], file=file, audio_format=plan.listener_format, listener=listener)
            )
        for target in targets:
            if target.file in places:
                raise MetadataError(
                    f"{settings.scene_file}: two targets would be called {target.file.name!r}"
                )
            places.add(target.file)
        plan.targets[record.id] = targets


def _place(settings, folder, name):
    return folder / settings.split / check_name(name, settings.scene_file, "target file")


def _add_jobs(plan, after):
    """Jobs for the targets that are not done, a sample's scenes together; the most expensive first."""
    renewed = {target.sample for job in after.jobs for target in job.targets} if after else set()
    records = plan.journal.read()
    missing = {}
    for record in plan.selected:
        name = sample_name(record.music, record.position)
        for target in plan.targets.get(record.id, ()):
            if name not in renewed and plan.is_done(name, target, records):
                plan.skipped += 1
            else:
                missing.setdefault(name, []).append(target)
    for name, targets in missing.items():
        heard = plan.heard[name]
        plan.jobs += [
            MixJob(
                heard.song,
                name,
                heard.parts,
                heard.frames,
                plan.settings.sample_rate,
                plan.output_rate,
                tuple(targets[first : first + _MOST_FILES]),
                after is None,
                plan.journal,
            )
            for first in range(0, len(targets), _MOST_FILES)
        ]
    plan.jobs.sort(key=lambda job: -job.frame_scenes)


def missing_of(job: MixJob, targets: Iterable[MixTarget], plan: RemixPlan) -> tuple[MixTarget, ...]:
    """Those of a job's targets that nobody has made meanwhile."""
    records = plan.journal.read()
    return tuple(target for target in targets if not plan.is_done(job.sample, target, records))


def check_remix_space(plan: RemixPlan, n_jobs: int, others: int = 0) -> None:
    """Compare what will be written, and `others` beside it, with the free space of the disk.

    Raises
    ------
    CadrenderError
        If it does not fit.
    """
    folder = plan.settings.output_remix_dir
    # What is rendered on the way lies beside the targets while it is needed.
    longest = sorted((job.frames for job in plan.jobs), reverse=True)[:n_jobs]
    needed = others + plan.bytes + (20 * sum(longest) if plan.unstored else 0)
    free = free_space(folder)
    if needed > free:
        raise CadrenderError(
            f"{folder}: {needed / 1e9:.2f} GB will be written, and {free / 1e9:.2f} GB are free "
            "(--force to try all the same)"
        )
