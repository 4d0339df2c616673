"""``cadrender positions``: rebuild the head and loudspeaker positions from the HRIR files."""

import click

from cadrender.cli.settings import settings_from, settings_options


@click.command()
@settings_options()
@click.option("--force", is_flag=True, help="Replace a file that is different.")
def command(force, **options):
    """Write the positions file: every head with every pair of a left and a right loudspeaker.

    Heads, microphones and angles are read from the names of the HRIR files. The challenge's 96 files give its
    144 positions. A different file that is there already is left alone.
    """
    from cadrender import metadata

    settings = settings_from(**options)
    names = metadata.hrir_names(settings.hrtf_dir)
    positions = metadata.build_positions(names)
    file = settings.head_loudspeaker_positions_file
    written = metadata.write_unless_different(file, metadata.positions_json(positions), force=force)
    heads = {(position.mic, position.subject) for position in positions.values()}
    used = {hrir for position in positions.values() for hrir in (position.left_hrir, position.right_hrir)}
    news = "written" if written else "as they are there already"
    click.echo(f"{file}: {len(positions)} positions of {len(heads)} heads, {news}")
    unused = [name for name in names if name not in used]
    if unused:
        click.echo(f"{settings.hrtf_dir}: {len(unused)} WAV files belong to no position, such as {unused[0]}")
