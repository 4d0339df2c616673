"""``cadrender excerpts``: validation and evaluation excerpts."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from cadrender.cli.settings import (
    check_number,
    format_options,
    jobs_option,
    settings_from,
    settings_options,
    stems_option,
)
from cadrender.errors import CadrenderError


@click.command()
@settings_options(music=True)
@click.option("--split", type=click.Choice(["valid", "test"]), help="Which excerpts; must be said.")
@click.option("--duration", type=float, default=10.0, show_default=True, help="Seconds of an excerpt.")
@click.option("--per-song", type=int, help="Excerpts of each song, with --split valid; 2 if not said.")
@click.option("--seed", default="icassp2024", show_default=True, help="The text that seeds the draws.")
@click.option(
    "--min-loudness",
    type=float,
    callback=check_number,
    metavar="LUFS",
    help="How loud an excerpt's mixture must be.",
)
@click.option(
    "--listeners-per-scene",
    "number_listeners_per_scene",
    type=int,
    help="Listeners per scene; 2 if not said.",
)
@jobs_option
@click.option("--output-music-dir", type=click.Path(path_type=Path), help="Where the at-mic music goes.")
@click.option("--output-music-file", type=click.Path(path_type=Path), help="Where its list goes.")
@click.option("--excerpts-dir", type=click.Path(path_type=Path), help="Where the excerpts' own stems go.")
@click.option(
    "--songs", multiple=True, metavar="PATTERN", help="Render only these tracks' excerpts; repeatable."
)
@stems_option
@format_options
@click.option(
    "--force",
    is_flag=True,
    help="Replace what is there without a backup; go on although the disk seems too small.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what went wrong.")
@click.option("-v", "--verbose", is_flag=True, help="Name every clipped and silent file.")
def command(
    duration,
    per_song,
    seed,
    min_loudness,
    jobs,
    songs,
    stems,
    container,
    subtype,
    force,
    dry_run,
    quiet,
    verbose,
    **options,
):
    """Cut excerpts of songs, draw their scenes, and render them.

    With --split valid, excerpts are taken at random places of the songs of musdb18.train.json, each with
    another head position than its siblings and, as long as there are enough, than the song's training scenes.
    With --split test, the songs of musdb18.test.json are cut from end to end, and no position comes twice in a
    song. The draws depend on the seed, the split and the song's name alone.

    Written are the split's scenes and scene-listeners, excerpts.<split>.json (what each excerpt was cut from),
    the excerpts' own stems, and the at-mic files with their list. Only what is missing is made: run it again
    after an interruption. Metadata that change are kept as numbered backups.

    Exit status: 0 all is complete, 1 something failed, 2 wrong usage or bad metadata, 130 interrupted.
    """
    settings = _settings(options)
    if per_song is not None and settings.split != "valid":
        raise click.UsageError("--per-song goes with --split valid: test songs are cut from end to end.")
    if per_song is not None and per_song < 1:
        raise click.UsageError(f"--per-song {per_song} is not a number from 1 on.")
    if not 0 < duration < 1e6:
        raise click.UsageError(f"--duration {duration:g} is not a number of seconds.")
    from cadrender.cli.running import resumable, run_plan
    from cadrender.jobs.excerpts import Recipe, draw, find_stale, write_excerpts
    from cadrender.jobs.plan import check_hrirs, make_plan, select_songs
    from cadrender.jobs.pool import usable_cpus
    from cadrender.jobs.progress import RunProgress
    from cadrender.store import AudioFormat

    n_jobs = usable_cpus() if jobs in (None, -1) else jobs
    audio_format = AudioFormat(container, subtype)
    per_song = 0 if settings.split == "test" else per_song or 2
    drawn = draw(settings, Recipe(duration, per_song, seed, min_loudness))
    if drawn.excerpts:
        select_songs({excerpt.track.name for excerpt in drawn.excerpts}, songs)
    check_hrirs(settings, drawn.samples)
    stale = find_stale(drawn, n_jobs, force=force)

    def say(line):
        print(line, file=sys.stderr)

    for line in drawn.remarks if not quiet else ():
        say(line)
    for line in drawn.failures:
        say(f"failed: {line}")
    if not quiet:
        cuts, files, size = drawn.missing(audio_format, stale)
        other = f" ({len(stale)} hold something else now)" if stale else ""
        say(
            f"{len(drawn.excerpts)} excerpts of {drawn.songs} songs, {duration:g} s each; {cuts} stems to cut{other}, "
            f"{files} at-mic files to render: {size / 1e9:.2f} GB"
        )
    if not drawn.excerpts:
        raise CadrenderError("no song gave an excerpt: nothing is written")
    if not force:
        drawn.check_space(audio_format, stale)
    if dry_run:
        sys.exit(1 if drawn.failures else 0)

    replaced = set(stale)
    cuts = [cut for cut in drawn.cuts if cut in replaced or not cut.file.exists()]
    begun = len({cut.sample.name for cut in cuts})
    progress = RunProgress(begun, drawn.frames * len(cuts), settings.sample_rate, 4, quiet, "excerpts")
    with resumable(), progress:
        backups, failures = write_excerpts(drawn, stale, n_jobs, force=force, advance=progress.advance)
    for file, backup in backups.items() if not quiet else ():
        say(f"{file}: written; the former file is kept as {backup.name}")
    for line in failures.values():
        say(f"failed: {line}")
    plan = make_plan(settings, audio_format=audio_format, songs=songs, stems=stems)
    for name in failures:
        plan.failures.pop(name, None)
    status = run_plan(plan, jobs, force=force, quiet=quiet, verbose=verbose)
    sys.exit(status or (1 if drawn.failures or failures else 0))


def _settings(options):
    """The settings of the split; valid excerpts are of the training songs unless another list is named."""
    settings = settings_from(**options)
    if settings.split == "train":
        raise click.UsageError("say --split valid or --split test.")
    named = options["music_file"] or any(text.startswith("path.music_file=") for text in options["overrides"])
    usual = settings.music_file == settings.metadata_dir / "musdb18.valid.json"
    if settings.split == "valid" and usual and not named:
        file = settings.metadata_dir / "musdb18.train.json"
        settings = replace(settings, music_file=file, music_files=(file,))
    return settings
