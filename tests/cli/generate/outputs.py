"""Where generate writes, and what it is to write."""

import json
import shutil

import soundfile

from tests import reference
from tests.roots import (
    POSITIONS,
    SAMPLERATE,
    SONGS,
    tree,
)

OUT = "audio/at_mic_music"
LIST = "metadata/at_mic_music.train.json"
SAMPLES = [(song, position) for song in SONGS for position in POSITIONS]


def at_mic(root, song, position, stem, suffix="wav"):
    return root / OUT / "train" / f"{song}-{position.id}" / f"{stem}.{suffix}"


def hrirs(root, position):
    return [
        soundfile.read(root / "audio/hrtf" / name)[0] for name in (position.left_hrir, position.right_hrir)
    ]


def source(root, song, stem):
    return root / "audio/music/train" / song / f"{stem}.wav"


def by_reference(root, song, position, stem):
    pcm = soundfile.read(source(root, song, stem), dtype="int16")[0]
    left, right = hrirs(root, position)
    return reference.render(pcm, left, right, SAMPLERATE)


def list_text(samples, split="train"):
    """The list of samples, letter by letter."""

    def text(words):
        return '"' + "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in words) + '"'

    entries = []
    for song, position in samples:
        name = f"{song}-{position.id}"
        lines = [
            f'"Track Name": {text(name)}',
            f'"Split": "{split}"',
            f'"Path": {text(f"{split}/{name}")}',
            f'"Original Track Name": {text(song)}',
            f'"Head Position": "{position.id}"',
        ]
        entries.append(f"    {text(name)}: {{\n        " + ",\n        ".join(lines) + "\n    }")
    return "{\n" + ",\n".join(entries) + "\n}" if entries else "{}"


def listed(root):
    return list(json.loads((root / LIST).read_text()))


def inputs_of(root, copy):
    """Copy what generate reads of a root."""
    for name in ("audio/music", "audio/hrtf", "metadata"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("at_mic_music*"))
    return copy


def same_as_fresh(root, fresh):
    return (
        tree(root / OUT) == tree(fresh[0] / OUT)
        and (root / LIST).read_bytes() == (fresh[0] / LIST).read_bytes()
    )
