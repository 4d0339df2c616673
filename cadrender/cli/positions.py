"""``cadrender positions``: rebuild the head and loudspeaker positions from the HRIR files."""

import click

from cadrender.cli.settings import Given, angle_list, pairs_option, settings_options
from cadrender.errors import UsageError
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
    from cadrender.heads.resample import resample_files, wrong_rates
    from cadrender.metadata.positions import build_positions, hrir_names, positions_json
    from cadrender.metadata.writing import needs_writing, write_unless_different

    settings = given.settings()
    names = hrir_names(settings.hrtf_dir)
    positions = build_positions(names, mics=mics, subjects=subjects, angles=angles or (), pairs=pairs)
    used = {hrir for position in positions.values() for hrir in position.hrir_files(settings.hrtf_dir)}
    rates = wrong_rates(sorted(used), settings.sample_rate)
    if rates and not resample:
        file, rate = next(iter(rates.items()))
        raise UsageError(
            f"{file}: {rate} Hz; {settings.sample_rate} Hz is needed (1 of {plural(len(rates), 'such file')}): "
            "--resample converts them and keeps the former ones as numbered backups"
        )
    file = settings.head_loudspeaker_positions_file
    text = positions_json(positions)
    needs_writing(file, text, force=force)  # refuses before any HRIR file is touched
    backups = resample_files(rates, settings.sample_rate)
    written = write_unless_different(file, text, force=force)
    if backups:
        sources = ", ".join(f"{rate} Hz" for rate in sorted(set(rates.values())))
        first, backup = next(iter(backups.items()))
        click.echo(
            f"{settings.hrtf_dir}: {plural(len(backups), 'HRIR file')} resampled from {sources} to "
            f"{settings.sample_rate} Hz; the former ones are kept, such as {first.name} as {backup.name}"
        )
    heads = {(position.mic, position.subject) for position in positions.values()}
    news = "written" if written else "unchanged"
    click.echo(f"{file}: {plural(len(positions), 'position')} of {plural(len(heads), 'head')}, {news}")
    unused = sorted(set(names) - {hrir.name for hrir in used})
    if unused:
        click.echo(
            f"{settings.hrtf_dir}: {plural(len(unused), 'WAV file')} in no position, such as {unused[0]}"
        )
