"""``cadrender positions``: rebuild the head and loudspeaker positions from the HRIR files."""

import click

from cadrender.cli.settings import Given, angle_list, pairs_option, settings_options
from cadrender.wording import plural


@click.command()
@settings_options()
@click.option("--mic", "mics", multiple=True, metavar="NAME", help="Only these microphones; repeatable.")
@click.option("--subject", "subjects", multiple=True, metavar="NAME", help="Only these heads; repeatable.")
@pairs_option
@click.option(
    "--angles",
    metavar="LIST",
    type=angle_list,
    help="Only these azimuths, in degrees: 30 is both sides, -30 left, +30 right; default: all.",
)
@click.option(
    "--resample",
    is_flag=True,
    help="Convert HRIR files of another rate to the root's, and keep the former ones as numbered backups.",
)
@click.option("--force", is_flag=True, help="Replace a file that is different.")
def command(
    given: Given,
    mics: tuple[str, ...],
    subjects: tuple[str, ...],
    pairs: str,
    angles: tuple[float, ...] | None,
    resample: bool,
    force: bool,
) -> None:
    """Write the positions file: every head with every pair of a left and a right loudspeaker.

    Heads, microphones and angles are read from the names of the HRIR files. The challenge's 96 files give its
    144 positions, numbered from hlp_0001. A file at 0 degrees (p0.0) serves both loudspeakers. A different positions
    file that exists already is left alone.
    """
    from cadrender.heads import rebuild_positions

    settings = given.settings()
    done = rebuild_positions(
        settings,
        mics=mics,
        subjects=subjects,
        angles=angles or (),
        pairs=pairs,
        resample=resample,
        force=force,
    )
    if done.backups:
        sources = ", ".join(f"{rate} Hz" for rate in sorted(set(done.rates.values())))
        first, backup = next(iter(done.backups.items()))
        click.echo(
            f"{settings.hrtf_dir}: {plural(len(done.backups), 'HRIR file')} resampled from {sources} to "
            f"{settings.sample_rate} Hz; the former ones are kept, such as {first.name} as {backup.name}"
        )
    heads = {(position.mic, position.subject) for position in done.positions.values()}
    news = "written" if done.written else "unchanged"
    file, count = settings.head_loudspeaker_positions_file, len(done.positions)
    click.echo(f"{file}: {plural(count, 'position')} of {plural(len(heads), 'head')}, {news}")
    if done.unused:
        click.echo(
            f"{settings.hrtf_dir}: {plural(len(done.unused), 'WAV file')} in no position, such as {done.unused[0]}"
        )
