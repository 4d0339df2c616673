"""A small, faultless root: short songs, heads from the demo's model, all metadata."""

import json
from dataclasses import replace

from cadrender.demo.head import ANGLES, MIC, make_head, make_hrir
from cadrender.demo.listeners import make_listeners
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import listeners_json
from cadrender.metadata.music import read_tracks
from cadrender.metadata.positions import build_positions, hrir_names, positions_json
from cadrender.metadata.scenes import (
    generate_scene_listeners,
    generate_scenes,
    scene_listeners_json,
    scenes_json,
)
from tests.roots import make_song, write_wav

TRAIN = {"Señor Ñandú - What's Up & Away": 2.6, "The Dots... - Vol. 2": 3.2}
TEST = {"Evening Choir - Über": 2.7}
SUBJECTS = ("VP_E1", "VP_N6")


def make_plausible_root(root, *, train=TRAIN, test=TEST, subjects=SUBJECTS):
    """Make songs of both splits, HRIRs, positions, gains, listeners, and two scenes per training song."""
    metadata = root / "metadata"
    metadata.mkdir(parents=True)
    for split, songs in (("train", train), ("test", test)):
        tracks = []
        for k, (name, seconds) in enumerate(songs.items()):
            make_song(root, name, seconds, 10 * k + (split == "test"), split)
            tracks.append(
                {"Track Name": name, "Genre": "Any", "Source": "Test", "License": "CC0", "Split": split}
            )
        (metadata / f"musdb18.{split}.json").write_text(json.dumps(tracks))
    for subject in subjects:
        head = make_head(subject)
        for angle in ANGLES:
            name = f"{MIC}-{subject}-{'n' if angle < 0 else 'p'}{abs(angle)}.wav"
            write_wav(root / "audio/hrtf" / name, make_hrir(head, angle), subtype="PCM_24")
    positions = build_positions(hrir_names(root / "audio/hrtf"))
    gains = build_gains()
    (metadata / "head_loudspeaker_positions.json").write_text(positions_json(positions))
    (metadata / "gains.json").write_text(gains_json(gains))
    listeners = make_listeners(12)
    for k, split in enumerate(("train", "valid", "test")):
        some = [replace(listener, id=f"L{k}{n:03d}") for n, listener in enumerate(listeners[4 * k :][:4])]
        (metadata / f"listeners.{split}.json").write_text(listeners_json(some))
        if split == "train":
            scenes = generate_scenes(
                read_tracks(metadata / "musdb18.train.json"), list(gains), list(positions), 2
            )
            heard = generate_scene_listeners([s.id for s in scenes], [listener.id for listener in some], 2)
            (metadata / "scenes.train.json").write_text(scenes_json(scenes))
            (metadata / "scene_listeners.train.json").write_text(scene_listeners_json(heard))
    return root
