"""What remix reads and writes, and what that is to be."""

import json
import shutil

import soundfile

from benchmarks import reference
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.scenes import scene_listeners_json
from cadrender.stems import STEMS, VDBO
from tests.roots import (
    SAMPLERATE,
    call,
    edit_json,
    tree,
)

AT_MIC = "audio/at_mic_music"
AT_MIC_MANIFEST = "metadata/at_mic_music.train.manifest.jsonl"
OUT = "audio/remix"
AMPLIFIED = "audio/remix_listeners"
LIST = "metadata/remix.train.json"
MANIFEST = "metadata/remix.train.manifest.jsonl"
CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
LISTENERS = [
    Listener("L0001", CFS, (20, 20, 25, 35, 40, 45, 50, 55), (35, 35, 40, 50, 55, 60, 65, 70)),
    Listener("L0002", CFS, (0,) * 8, (20, 20, 25, 55, 75, 95, 95, 100)),
    Listener("L0003", CFS, (75, 80, 85, 90, 95, 100, 100, 105), (10,) * 8),
]
SCENES = [f"scene_{10001 + k}" for k in range(7)]  # the last shares the first one's sample


def add_metadata(root):
    """What remix reads beside what generate reads."""
    folder = root / "metadata"
    folder.joinpath("gains.json").write_text(gains_json(build_gains()))
    # gain_0001 changes nothing, and so on: the gains of the seven scenes are to differ more.
    edit_json(folder / "scenes.train.json", _choose_gains)
    folder.joinpath("listeners.train.json").write_text(listeners_json(LISTENERS))
    pairs = {scene: [LISTENERS[k % 3].id, LISTENERS[(k + 1) % 3].id] for k, scene in enumerate(SCENES)}
    folder.joinpath("scene_listeners.train.json").write_text(scene_listeners_json(pairs))
    return root


def _choose_gains(scenes):
    for scene, number in zip(scenes.values(), (1, 7, 138, 381, 1105, 600, 300), strict=True):
        scene["gain"] = f"gain_{number:04d}"


def sample_of(root, scene):
    entry = json.loads((root / "metadata/scenes.train.json").read_text())[scene]
    return f"{entry['music']}-{entry['head_loudspeaker_positions']}", entry["gain"]


def at_mic(root, sample, stem, dtype="int16"):
    return soundfile.read(root / AT_MIC / "train" / sample / f"{stem}.wav", dtype=dtype)[0]


def gains_of(root, gain):
    return json.loads((root / "metadata/gains.json").read_text())[gain]


def by_reference(root, scene, stored=None):
    """A scene's target by NumPy and pyloudnorm, from the at-mic files of `stored`."""
    sample, gain = sample_of(root, scene)
    signals = {stem: at_mic(stored or root, sample, stem) for stem in STEMS}
    return reference.remix(signals, gains_of(root, gain), signals["mixture"], SAMPLERATE)


def unquantised(root, scene):
    """The same, neither clipped nor truncated."""
    sample, gain = sample_of(root, scene)
    gains = gains_of(root, gain)
    total = sum(at_mic(root, sample, stem) / 32768 * 10 ** (gains[stem] / 20) for stem in VDBO)
    mixture = at_mic(root, sample, "mixture") / 32768
    return total * 10 ** (
        (reference.loudness(mixture, SAMPLERATE) - reference.loudness(total, SAMPLERATE)) / 20
    )


def target(root, scene, suffix="wav"):
    return root / OUT / "train" / f"{scene}.{suffix}"


def amplified(root, scene, listener, suffix="wav"):
    return root / AMPLIFIED / "train" / f"{scene}_{listener}.{suffix}"


def pcm(file):
    return soundfile.read(file, dtype="int16")[0]


def copy_of(fresh, copy, *parts):
    """Some folders of the fresh root; metadata without the lists of what was made."""
    for name in parts:
        ignored = shutil.ignore_patterns("remix.*")
        shutil.copytree(fresh[0] / name, copy / name, ignore=ignored)
    return copy


def listed(root):
    return json.loads((root / LIST).read_text())


def same_targets(root, fresh, *folders):
    return all(tree(root / folder) == tree(fresh[0] / folder) for folder in folders or (OUT, AMPLIFIED))


def remade(root, *arguments):
    """The targets that the next run makes."""
    before = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    assert call("remix", "--root", root, "-j", 1, *arguments) == 0
    after = {file: file.stat().st_ino for file in (root / OUT).rglob("*.wav")}
    return {file.stem for file in after if before.get(file) != after[file]}
