"""The JSON contracts: music, positions, gains, scenes, listeners; read, checked, written and generated."""

from cadrender.metadata.contract import check_name, check_path
from cadrender.metadata.excerpts import (
    Draw,
    Excerpt,
    cut_excerpts,
    draw_excerpts,
    excerpt_samples,
    excerpt_scenes,
    excerpts_json,
    read_excerpts,
    read_samples,
)
from cadrender.metadata.gains import STEPS, build_gains, gains_json, read_gains
from cadrender.metadata.listeners import Listener, listeners_json, read_listeners
from cadrender.metadata.music import Track, read_track_lists, read_tracks, tracks_json
from cadrender.metadata.positions import (
    HeadPosition,
    build_positions,
    hrir_names,
    parse_hrir_name,
    positions_json,
    read_positions,
)
from cadrender.metadata.samples import AtMicTrack, Sample, at_mic_json, read_at_mic, sample_name, samples_of
from cadrender.metadata.scenes import (
    SceneRecord,
    generate_scene_listeners,
    generate_scenes,
    is_own_draw,
    read_scene_listeners,
    read_scenes,
    scene_listeners_json,
    scenes_json,
)
from cadrender.metadata.writing import back_up, holds, write_all, write_json, write_unless_different

__all__ = [
    "STEPS",
    "AtMicTrack",
    "Draw",
    "Excerpt",
    "HeadPosition",
    "Listener",
    "Sample",
    "SceneRecord",
    "Track",
    "at_mic_json",
    "back_up",
    "build_gains",
    "build_positions",
    "check_name",
    "check_path",
    "cut_excerpts",
    "draw_excerpts",
    "excerpt_samples",
    "excerpt_scenes",
    "excerpts_json",
    "gains_json",
    "generate_scene_listeners",
    "generate_scenes",
    "holds",
    "hrir_names",
    "is_own_draw",
    "listeners_json",
    "parse_hrir_name",
    "positions_json",
    "read_at_mic",
    "read_excerpts",
    "read_gains",
    "read_listeners",
    "read_positions",
    "read_samples",
    "read_scene_listeners",
    "read_scenes",
    "read_track_lists",
    "read_tracks",
    "sample_name",
    "samples_of",
    "scene_listeners_json",
    "scenes_json",
    "tracks_json",
    "write_all",
    "write_json",
    "write_unless_different",
]
