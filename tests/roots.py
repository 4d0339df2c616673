"""Tiny roots, and the command line run on them: in this process, or in its own as a user would."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cadrender.cli import main
from cadrender.metadata.positions import HeadPosition, positions_json
from cadrender.stems import STEMS, VDBO

SAMPLERATE = 44100
REPOSITORY = Path(__file__).resolve().parents[1]

# Spaces, an apostrophe, an ampersand, dots, non-ASCII letters.
SONGS = ("Señor Ñandú - What's Up & Away", "The Dots... - Vol. 2")
POSITIONS = (
    HeadPosition("hlp_0001", "VP_E1", -37.5, 22.5, "BTE_fr"),
    HeadPosition("hlp_0002", "VP_E1", -30, 22.5, "BTE_fr"),
    HeadPosition("hlp_0003", "VP_N2", -30.0, 30.0, "ITE"),
)


def music(seconds, seed, level=0.2):
    """Something like music, (frames, 2) float64: decaying tones that come and go, a little noise, different
    channels."""
    random = np.random.default_rng(seed)
    frames = round(seconds * SAMPLERATE)
    out = 1e-3 * random.standard_normal((frames, 2))
    t = np.arange(SAMPLERATE) / SAMPLERATE
    for onset in range(0, frames, SAMPLERATE // 7):
        tone = np.exp(-6 * t) * np.sin(2 * np.pi * 55 * 2 ** random.uniform(0, 6) * t)
        out[onset : onset + len(t)] += tone[: frames - onset, None] * random.uniform(0, 1, 2)
    return level * out / np.abs(out).max()


def pcm16(signal):
    """Round to int16."""
    return np.clip(np.rint(signal * 32768), -32768, 32767).astype(np.int16)


def head_response(taps, delay, seed):
    """An HRIR like a measured one, (taps, 2) float64: a delay and a decay, the right ear slightly later."""
    random = np.random.default_rng(seed)
    out = np.zeros((taps, 2))
    for ear, late in enumerate((delay, delay + 9)):
        n = taps - late
        out[late:, ear] = random.standard_normal(n) * np.exp(-np.arange(n) / 25) * (0.5 - 0.15 * ear)
    return out


def write_wav(file, samples, samplerate=SAMPLERATE, subtype="PCM_16"):
    """Write an audio file and the folders it needs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, samples, samplerate, subtype=subtype, format="WAV")


def make_song(root, name, seconds, seed, split="train"):
    """Write a song's five files; its vocals are silent for the first half."""
    folder = root / "audio/music" / split / name
    stems = {stem: pcm16(music(seconds, seed + k)) for k, stem in enumerate(VDBO)}
    stems["vocals"][: len(stems["vocals"]) // 2] = 0
    stems["mixture"] = (
        sum(stem.astype(np.int32) for stem in stems.values()).clip(-32768, 32767).astype(np.int16)
    )
    for stem in STEMS:
        write_wav(folder / f"{stem}.wav", stems[stem])


def make_root(root, *, songs=SONGS, seconds=(2.1, 1.3), positions=POSITIONS):
    """Make a small complete root: every song at every position, the first of these in two scenes.

    The HRIRs differ in length, delay and subtype. Returns ``root``.
    """
    for k, (name, length) in enumerate(zip(songs, seconds, strict=True)):
        make_song(root, name, length, 100 * k)
    files = [file for position in positions for file in (position.left_hrir, position.right_hrir)]
    for k, file in enumerate(dict.fromkeys(files)):
        response = head_response(200 + 37 * k, 20 + 3 * k, 1000 + k)
        write_wav(root / "audio/hrtf" / file, response, subtype=("PCM_24", "PCM_16", "FLOAT")[k % 3])
    scenes = [(song, position.id) for song in songs for position in positions]
    scenes.append(scenes[0])
    write_metadata(root, songs, positions, scenes)
    return root


def write_metadata(root, songs, positions, scenes):
    """Write what generate reads: the music list (the second song without a Path), positions, scenes."""
    folder = root / "metadata"
    folder.mkdir(exist_ok=True, parents=True)
    tracks = [
        {"Track Name": song, "Genre": "Any", "Source": "Test", "License": "CC0", "Split": "train"}
        | ({"Path": f"train/{song}"} if k != 1 else {})
        for k, song in enumerate(songs)
    ]
    (folder / "musdb18.train.json").write_text(json.dumps(tracks))
    (folder / "head_loudspeaker_positions.json").write_text(
        positions_json({position.id: position for position in positions})
    )
    entries = {
        f"scene_{10001 + k}": {
            "music": song,
            "gain": f"gain_{k + 1:04d}",
            "head_loudspeaker_positions": position,
        }
        for k, (song, position) in enumerate(scenes)
    }
    (folder / "scenes.train.json").write_text(json.dumps(entries))


def edit_json(file, change):
    """Read a JSON file, let ``change`` modify the content, write it back."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def command(*arguments):
    """The command line that runs cadrender from this checkout."""
    return [sys.executable, "-m", "cadrender", *map(str, arguments)]


def environment(**extra):
    """The environment for running it; ``None`` removes a variable."""
    everything = os.environ | {"PYTHONPATH": str(REPOSITORY)} | extra
    return {name: value for name, value in everything.items() if value is not None}


def invoke(*arguments, cwd="."):
    """Run cadrender in this process, which saves starting Python; exit status and output as from :func:`run`.

    Not for tests of processes themselves: their environment, signals, file descriptors and deaths.
    """
    words = [str(argument) for argument in arguments]
    with contextlib.chdir(cwd), _captured() as (out, err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cadrender", *words])
        # pytest's own handlers would keep warnings off standard error.
        logger = logging.getLogger("cadrender")
        patch.setattr(logger, "handlers", [*logger.handlers, logging.lastResort])
        with pytest.raises(SystemExit) as exit:
            main(words)
        assert isinstance(exit.value.code, int)
        return subprocess.CompletedProcess(words, exit.value.code, _text(out), _text(err))


@contextlib.contextmanager
def _captured():
    """Redirect output to two files, including that of libraries and workers."""
    with contextlib.ExitStack() as stack:
        files = []
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            file = stack.enter_context(tempfile.TemporaryFile())
            stream = stack.enter_context(open(descriptor, "w", encoding="utf-8", closefd=False))
            kept = os.dup(descriptor)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
            stack.callback(setattr, sys, name, getattr(sys, name))
            setattr(sys, name, stream)
            files.append(file)
        yield files


def _text(file):
    sys.stdout.flush()
    sys.stderr.flush()
    file.seek(0)
    return file.read().decode()


def call(*arguments):
    """Run cadrender in this process with its output captured by pytest; return its exit status."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    return exit.value.code


def one_line(capsys):
    """Cadrender's only error line."""
    error = capsys.readouterr().err
    assert error.startswith("cadrender: ")
    assert error.count("\n") == 1
    return error


def run(*arguments, timeout=600, cwd=None, **extra):
    """Run cadrender to its end in its own process; ``extra`` adds to the environment."""
    return subprocess.run(
        command(*arguments),
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
    )


def start(*arguments, **extra):
    """Start cadrender in its own process group, as a shell does."""
    return subprocess.Popen(
        command(*arguments),
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def tree(folder):
    """The bytes of every file under a folder, hidden ones included, by relative path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def leftovers(folder):
    """Temporary files under a folder."""
    return sorted(file for file in folder.rglob(".*") if file.is_file())
