"""``cadrender mount``: the at-mic music as files, without writing any."""

import contextlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cadrender import startup
from cadrender.cli.settings import (
    Given,
    format_options,
    heads_option,
    quiet_option,
    settings_options,
)
from cadrender.errors import CadrenderError
from cadrender.wording import plural

if TYPE_CHECKING:
    from cadrender.mount import Tree
    from cadrender.store import AudioFormat

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{text!r} is not a size such as 512MB or 2GiB.")
    number, unit, binary = match.groups()
    unit = unit.upper()
    factor = 1024 ** "KMGT".index(unit) * 1024 if binary and unit else _UNITS[unit]
    return int(float(number) * factor)


@click.command()
@click.argument("mountpoint", required=False, metavar="[MOUNTPOINT]")
@settings_options(
    split="The split; repeatable. Default: train.",
    music=True,
    places=("output_music_dir", "output_music_file", "output_remix_dir", "scene_file"),
)
@heads_option
@format_options
@click.option("--remix", is_flag=True, help="Also mount the targets' tree where `remix` writes it.")
@click.option(
    "--cache",
    metavar="SIZE",
    default="512MB",
    show_default=True,
    type=_size,
    help="Memory for blocks that have been rendered, or are rendered ahead.",
)
@click.option(
    "--allow-other", is_flag=True, help="Let other users read (needs user_allow_other in /etc/fuse.conf)."
)
@click.option("--daemon", is_flag=True, help="Go to the background once everything is mounted.")
@click.option(
    "--log-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --daemon: the file for messages about damaged songs; default: none.",
)
@quiet_option
@click.option("-v", "--verbose", is_flag=True, help="Print what was read, at the end.")
def command(
    given: Given,
    mountpoint: str | None,
    heads: str,
    audio_format: "AudioFormat | None",
    remix: bool,
    cache: int,
    allow_other: bool,
    daemon: bool,
    log_file: Path | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show the tree that `generate` would write, complete and read-only, using no disk space.

    Every file is there with its name, size and bytes, and is rendered when it is read. MOUNTPOINT is an empty folder,
    by default the one that `generate` writes to; while it is mounted, at_mic_music.SPLIT.json lists its samples.
    --heads all shows every song at every head position.

    It stays mounted until Ctrl-C, SIGTERM, the end of the program that started it, or `fusermount3 -u MOUNTPOINT`.
    A file whose song is damaged cannot be read (EIO), with one line on standard error; the others can.

    Exit status: 0 unmounted, 2 wrong usage, bad metadata, or a folder that cannot be mounted at.
    """
    if log_file and not daemon:
        raise click.UsageError("--log-file goes with --daemon; without it lines go to standard error.")
    if mountpoint and re.match(r"[+~]{0,2}[\w.]+=", mountpoint):
        given, mountpoint = replace(given, overrides=(mountpoint, *given.overrides)), None
    place = Path(mountpoint).absolute() if mountpoint else None
    settings = [given.settings(split=split) for split in dict.fromkeys(given.splits or (None,))]
    parent = None if daemon else os.getppid()
    ready = _go_to_background(log_file) if daemon else None
    from cadrender.mount import Mount, trees_of

    trees = trees_of(settings, place, heads=heads, audio_format=audio_format, remix=remix)
    try:
        with Mount(trees, cache=cache, allow_other=allow_other, signals=True, say=_say) as mount:
            if not quiet:
                for tree in trees:
                    print(f"{_contents(tree)} mounted at {tree.place}", file=sys.stderr)
                if not daemon:
                    print("Ctrl-C unmounts", file=sys.stderr, flush=True)
            startup.release_collector()
            if ready:
                ready()
            mount.wait(parent)
        if verbose:
            print(mount.describe(), file=sys.stderr)
    except MemoryError as error:
        raise CadrenderError("not enough memory to mount; a smaller --cache may do") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _contents(tree: "Tree") -> str:
    from cadrender.catalogue.at_mic import AtMicCatalogue

    counts: Counter[str] = Counter()
    for catalogue in tree.catalogues:
        units = catalogue.samples if isinstance(catalogue, AtMicCatalogue) else catalogue.scenes
        counts[catalogue.unit] += len(units)
    return " and ".join(plural(count, unit[:-1]) for unit, count in counts.items())


def _go_to_background(log_file: Path | None) -> Callable[[], None]:
    """Continue in a child process; its parent ends when the returned function is called, or with the child."""
    log = os.open(log_file or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    told, teller = os.pipe()
    child = os.fork()
    if child:
        os.close(teller)
        status = 0
        if not os.read(told, 1):
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(status if status >= 0 else 128 - status)
    os.close(told)
    os.setsid()

    def ready() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, number)
        with contextlib.suppress(OSError):
            os.write(teller, b"\0")
        os.close(teller)

    return ready
