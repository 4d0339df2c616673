"""The JSON contracts: music, positions, gains, scenes, listeners; read, checked, written and generated."""

from cadrender.metadata.contract import check_name, check_path
from cadrender.metadata.gains import read_gains
from cadrender.metadata.listeners import Listener, listeners_json, read_listeners
from cadrender.metadata.music import Track, read_track_lists, read_tracks, tracks_json
from cadrender.metadata.positions import HeadPosition, read_positions
from cadrender.metadata.samples import AtMicTrack, Sample, at_mic_json, read_at_mic, sample_name, samples_of
from cadrender.metadata.scenes import SceneRecord, read_scene_listeners, read_scenes
from cadrender.metadata.writing import back_up, write_json

__all__ = [
    "AtMicTrack",
    "HeadPosition",
    "Listener",
    "Sample",
    "SceneRecord",
    "Track",
    "at_mic_json",
    "back_up",
    "check_name",
    "check_path",
    "listeners_json",
    "read_at_mic",
    "read_gains",
    "read_listeners",
    "read_positions",
    "read_scene_listeners",
    "read_scenes",
    "read_track_lists",
    "read_tracks",
    "sample_name",
    "samples_of",
    "tracks_json",
    "write_json",
]
