"""How long people wait before anything happens: ``--help``, the first run on a machine, every later run."""

import os
import subprocess
import sys
import time
from pathlib import Path

# More than a WAV header: samples have arrived.
_HEADER = 128
_LOOK_EVERY = 0.001
_PATIENCE = 300.0


def command(*arguments: str) -> list[str]:
    """The command line of this interpreter's cadrender."""
    return [sys.executable, "-m", "cadrender", *arguments]


def generate_command(root: Path, output: Path, n_jobs: int) -> list[str]:
    """``cadrender generate`` of a root into its own folder."""
    return command(
        *("generate", "--quiet", "--root", str(root), "-j", str(n_jobs)),
        *("--output-music-dir", str(output / "at_mic_music")),
        *("--output-music-file", str(output / "at_mic_music.train.json")),
    )


def run_seconds(arguments: list[str]) -> float:
    """Wall time of a command from start to exit, start-up included.

    Raises
    ------
    RuntimeError
        If it fails; with its output.
    """
    began = time.perf_counter()
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    elapsed = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit status {done.returncode}: {done.stderr.strip()}")
    return elapsed


def help_seconds() -> float:
    """Wall time of ``cadrender --help``."""
    return run_seconds(command("--help"))


def first_block_seconds(root: Path, output: Path, n_jobs: int = 1, cache: Path | None = None) -> float:
    """Time from the command to the first samples in a file; the run is then ended.

    Parameters
    ----------
    root, output : pathlib.Path
        `output` must not exist.
    n_jobs : int
        Processes.
    cache : pathlib.Path, optional
        Where compiled kernels and transform plans are cached; an empty folder makes a cold start. Default: the
        user's cache.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["CADRENDER_CACHE_DIR"] = str(cache)
    began = time.perf_counter()
    with subprocess.Popen(
        generate_command(root, output, n_jobs), env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_for_samples(process, output)
            return time.perf_counter() - began
        finally:
            process.terminate()


def wait_for_samples(process: subprocess.Popen, output: Path) -> None:
    """Wait until a process has written the first samples to a folder.

    Raises
    ------
    RuntimeError
        If it exits first, or takes minutes.
    """
    began = time.perf_counter()
    while time.perf_counter() - began < _PATIENCE:
        if _has_samples(output):
            return
        if process.poll() is not None:
            break
        time.sleep(_LOOK_EVERY)
    raise RuntimeError(f"{output}: no samples arrived: exit status {process.returncode}")


def _has_samples(folder):
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith((".wav", ".part")):
                file = Path(place, name)
                try:
                    if file.stat().st_size > _HEADER:
                        return True
                except FileNotFoundError:  # renamed meanwhile
                    return True
    return False
