"""``cadrender gains``: rebuild the gains file."""

import click

from cadrender.cli.settings import Given, settings_options
from cadrender.wording import plural


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _numbers(text: str) -> tuple[float, ...]:
    """Read ``-10,-6.5,3``; whole numbers stay ints, as the gains file writes them."""
    try:
        return tuple(float(word) if set(word) & set(".eE") else int(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as -6,-3,3,6") from None


@click.command()
@settings_options()
@click.option("--stems", type=_words, metavar="NAMES", help="Stems; default: vocals,drums,bass,other.")
@click.option("--steps", type=_numbers, metavar="DB", help="Steps in dB; default: -10,-6,-3,3,6,10.")
@click.option("--force", is_flag=True, help="Replace a file that is different.")
def command(
    given: Given, stems: tuple[str, ...] | None, steps: tuple[float, ...] | None, force: bool
) -> None:
    """Write the gains file: every combination of steps for one stem, for two, and up to all but one.

    Without options these are the challenge's 1105 gains. A different file that exists already is left alone.
    """
    from cadrender.metadata.gains import STEPS, build_gains, gains_json
    from cadrender.metadata.writing import write_unless_different
    from cadrender.stems import VDBO

    settings = given.settings()
    gains = build_gains(stems or VDBO, steps or STEPS)
    written = write_unless_different(settings.gains_file, gains_json(gains), force=force)
    news = "written" if written else "unchanged"
    click.echo(f"{settings.gains_file}: {plural(len(gains), 'gain')}, {news}")
