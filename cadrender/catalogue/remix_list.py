"""``remix.<split>.json``: the existing targets, and what they were made from."""

import json
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from cadrender.config import Settings
from cadrender.metadata.samples import sample_name
from cadrender.metadata.scenes import SceneRecord
from cadrender.signals.target import Amplified, Target
from cadrender.store import AudioFormat, is_complete
from cadrender.store.manifest import Contents, Record


def remix_json(
    settings: Settings,
    scenes: Sequence[SceneRecord],
    recorded: Contents,
    audio_format: AudioFormat,
    settled: Collection[Path] = frozenset(),
) -> str:
    """The list as JSON text: an entry per scene whose target exists, in scene order.

    Parameters
    ----------
    settings : Settings
    scenes : sequence of SceneRecord
    recorded : Contents
        The targets' manifest.
    audio_format : AudioFormat
        Which target is listed if a scene has several.
    settled : collection of pathlib.Path
        Files known to be right.
    """
    plain: dict[Any, Record] = {}
    amplified: dict[Any, dict[Any, Record]] = {}
    for record in recorded.records.values():
        if not _is_there(settings, recorded, record, settled):
            continue
        scene = record.parameters.get("scene")
        if record.product == Amplified.product:
            amplified.setdefault(scene, {})[record.parameters.get("listener")] = record
        elif record.container == audio_format.container or scene not in plain:
            plain[scene] = record
    out = {}
    for scene in scenes:
        name = sample_name(scene.music, scene.position)
        target = plain.get(scene.id)
        if target is None or (target.parameters["sample"], target.parameters["gain"]) != (name, scene.gain):
            continue
        out[scene.id] = {
            "scene": scene.id,
            "split": settings.split,
            **_file(target),
            "sample": name,
            "music": scene.music,
            "head_loudspeaker_positions": scene.position,
            "gain": target.parameters["gain"],
            "gains_db": target.parameters["gains_db"],
            **{name: _number(target.levels.get(name)) for name in _LEVELS},
            "listeners": {
                listener: _file(record)
                for listener, record in amplified.get(scene.id, {}).items()
                if all(record.parameters[key] == target.parameters[key] for key in ("sample", "gains_db"))
            },
        }
    return json.dumps(out, indent=4)


_LEVELS = ("loudness_before", "loudness_after", "loudness_mixture", "scale_db")


def _file(record: Record) -> dict[str, object]:
    return {
        "path": record.path,
        "frames": record.frames,
        "samplerate": record.samplerate,
        "subtype": record.subtype,
        "clipped": record.levels.get("clipped", 0),
        "blake3": record.digest,
    }


def _number(lufs: float | None) -> float | None:
    return lufs if lufs is not None and math.isfinite(lufs) else None


def _is_there(settings: Settings, recorded: Contents, record: Record, settled: Collection[Path]) -> bool:
    """Whether a record's file still exists as made, and cannot have been damaged by a power cut."""
    folders = {
        Target.product: settings.output_remix_dir,
        Amplified.product: settings.output_remix_listeners_dir,
    }
    if (
        record.product not in folders
        or not {"scene", "sample", "gain", "gains_db"} <= record.parameters.keys()
    ):
        return False
    kind = AudioFormat(record.container, record.subtype)
    file = folders[record.product] / record.path
    return is_complete(file, record.frames, record.samplerate, kind) and (
        file in settled or recorded.vouches_for(record, file)
    )
