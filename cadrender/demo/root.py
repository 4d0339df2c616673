"""Makes a demo root: songs, HRIRs and metadata, each file only if missing or out of date."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import soundfile

from cadrender.demo.arrange import play
from cadrender.demo.head import ANGLES, MIC, SAMPLERATE, SUBJECTS, make_head, make_hrir
from cadrender.demo.listeners import make_listeners
from cadrender.demo.songs import SONGS, DemoSong
from cadrender.errors import CadrenderError, UsageError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import listeners_json
from cadrender.metadata.music import Track, tracks_json
from cadrender.metadata.positions import build_positions, positions_json
from cadrender.metadata.scenes import (
    generate_scene_listeners,
    generate_scenes,
    scene_listeners_json,
    scenes_json,
)
from cadrender.metadata.writing import write_json
from cadrender.stems import STEMS
from cadrender.store import AtomicFile
from cadrender.store.durable import sync_files

MARK = "metadata/demo.json"
"""The file that identifies a demo root."""

_ABOUT = "A demo root made by `cadrender demo`: synthesised songs, spherical heads. Safe to delete."
_SPLIT = "train"


@dataclass(frozen=True)
class DemoRoot:
    """The contents of a demo root.

    Attributes
    ----------
    root : pathlib.Path
    tracks : tuple of Track
        The songs of its music list, in order.
    seconds : float
        Their total length.
    subjects : tuple of str
        The heads, with six HRIR files each.
    positions, gains, scenes, listeners : int
        Their numbers in the metadata.
    written : tuple of str
        Files made by this call, relative to the root; all others already existed.
    changed : tuple of str
        Files modified since they were made; they are left alone.
    """

    root: Path
    tracks: tuple[Track, ...]
    seconds: float
    subjects: tuple[str, ...]
    positions: int
    gains: int
    scenes: int
    listeners: int
    written: tuple[str, ...]
    changed: tuple[str, ...]


def make_root(
    root: Path,
    *,
    songs: int = len(SONGS),
    subjects: int = len(SUBJECTS),
    on_progress: Callable[[int, int, str], None] | None = None,
) -> DemoRoot:
    """Make a small, complete root from scratch: the same files on every run.

    The folder holds ``audio/music/train`` (songs of 32 to 40 s in MUSDB18-HQ's layout; the third has no
    vocals), ``audio/hrtf`` and all the ``metadata`` that rendering needs. In an existing demo root only what is missing
    or was made by another version of cadrender, is made again, so an interrupted call can be repeated. A file modified
    since it was made is left alone; delete it to have it made again.

    Parameters
    ----------
    root : pathlib.Path
        A new or empty folder, or a demo root.
    songs : int
        Number of songs, 1 to 4.
    subjects : int
        Number of heads, up to 16.
    on_progress : callable, optional
        Called as ``on_progress(done, total, what)`` before each step with its name (a song's, or what else is made),
        and once at the end with an empty one.

    Raises
    ------
    UsageError
        If the folder holds anything but a demo root, or a number is out of range.
    CadrenderError
        If a file cannot be written.
    """
    root = Path(root)
    for what, number, most in (("songs", songs, len(SONGS)), ("subjects", subjects, len(SUBJECTS))):
        if not 1 <= number <= most:
            raise UsageError(f"{number} {what} for a demo root: 1 to {most} can be made")
    made = _Made.open(root)
    total = songs + 2
    tell = on_progress or (lambda done, total, what: None)
    frames = 0
    tracks = []
    for done, song in enumerate(SONGS[:songs]):
        tell(done, total, song.name)
        track = Track(song.name, song.genre, "cadrender demo", "CC0", _SPLIT, f"{_SPLIT}/{song.name}")
        frames += _make_song(made, song, f"audio/music/{track.path}")
        tracks.append(track)
    hrirs = []
    tell(songs, total, "head-related impulse responses")
    for subject in SUBJECTS[:subjects]:
        hrirs += _make_hrirs(made, subject)
    made.mark()
    tell(total - 1, total, "metadata")
    gains = build_gains()
    positions = build_positions(hrirs)
    listeners = make_listeners()
    scenes = generate_scenes(tracks, list(gains), list(positions), min(4, len(positions)))
    scene_listeners = generate_scene_listeners(
        [scene.id for scene in scenes], [listener.id for listener in listeners], 2
    )
    for name, text in {
        f"musdb18.{_SPLIT}": tracks_json(tracks),
        "head_loudspeaker_positions": positions_json(positions),
        "gains": gains_json(gains),
        f"listeners.{_SPLIT}": listeners_json(listeners),
        f"scenes.{_SPLIT}": scenes_json(scenes),
        f"scene_listeners.{_SPLIT}": scene_listeners_json(scene_listeners),
    }.items():
        made.put(f"metadata/{name}.json", text.encode())
    made.mark()
    tell(total, total, "")
    return DemoRoot(
        root=root,
        tracks=tuple(tracks),
        seconds=frames / SAMPLERATE,
        subjects=SUBJECTS[:subjects],
        positions=len(positions),
        gains=len(gains),
        scenes=len(scenes),
        listeners=len(listeners),
        written=tuple(made.written),
        changed=tuple(sorted(made.changed)),
    )


def _make_song(made: "_Made", song: DemoSong, folder: str) -> int:
    """Make a song's five files if one is missing or out of date; return its length in frames."""
    names = [f"{folder}/{stem}.wav" for stem in STEMS]
    if not all(made.is_whole(name) for name in names):
        for stem, samples in play(song).items():
            made.put(f"{folder}/{stem}.wav", _wav(samples, "PCM_16"))
        made.mark()
    return soundfile.info(made.root / names[0]).frames


def _make_hrirs(made: "_Made", subject: str) -> list[str]:
    """Make a subject's files if one is missing or out of date; return all their names."""
    head = make_head(subject)
    names = {f"{MIC}-{subject}-{'n' if angle < 0 else 'p'}{abs(angle)}.wav": angle for angle in ANGLES}
    for name, angle in names.items():
        file = f"audio/hrtf/{name}"
        if not made.is_whole(file):
            # 24 bits, as libsndfile writes the date into float files
            made.put(file, _wav(make_hrir(head, angle), "PCM_24"))
    return list(names)


def _wav(samples: npt.NDArray[Any], subtype: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, SAMPLERATE, format="WAV", subtype=subtype)
    return stream.getvalue()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _recipe() -> str:
    """Digest of the code that makes the demo; files of another recipe are made again."""
    sources = sorted(file for file in Path(__file__).parent.iterdir() if file.suffix in (".py", ".yaml"))
    return _digest(b"".join(source.read_bytes() for source in sources))


class _Made:
    """The files of a demo root, and their digests in its marker file."""

    def __init__(self, root: Path, digests: dict[str, str]) -> None:
        self.root = root
        self.written: list[str] = []
        self._synced = 0
        self.changed: set[str] = set()
        self._digests = digests

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open a demo root, or start one in a new or empty folder."""
        try:
            if root.exists() and not root.is_dir():
                raise UsageError(f"{root}: not a folder: give a new or an empty folder")
            # a run killed at its start leaves folders without files, and temporary files
            entries = any(file.is_file() and file.suffix not in (".tmp", ".part") for file in root.rglob("*"))
        except OSError as error:
            raise UsageError(f"{root}: cannot be used for a demo root: {error.strerror}") from error
        if entries and not (root / MARK).is_file():
            raise UsageError(
                f"{root}: not empty and not a demo root (no {MARK}): give a new or an empty folder"
            )
        known: dict[str, str] = {}
        recipe = _recipe()
        if entries:
            try:
                mark = json.loads((root / MARK).read_bytes())
                if mark["about"] != _ABOUT:
                    raise ValueError
                known, recipe = dict(mark["files"]), mark["recipe"]
            except (ValueError, KeyError, TypeError, OSError):
                raise UsageError(
                    f"{root / MARK}: not written by cadrender demo: give a new or an empty folder"
                ) from None
        made = cls(root, known)
        if recipe != _recipe():  # files of another version are made again, unless changed since
            made._digests = {name: digest for name, digest in known.items() if made._is_changed(name)}
        if not entries or recipe != _recipe():
            made.mark()
        return made

    def is_whole(self, name: str) -> bool:
        """Whether a file exists as made, or has been modified since."""
        if self._is_changed(name):
            self.changed.add(name)
            return True
        return name in self._digests and self._on_disk(name) is not None

    def _is_changed(self, name: str) -> bool:
        return name in self._digests and self._on_disk(name) not in (None, self._digests[name])

    def _on_disk(self, name: str) -> str | None:
        try:
            return _digest((self.root / name).read_bytes())
        except OSError:
            return None

    def put(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all, unless it already has that content or has been modified."""
        file = self.root / name
        digest = _digest(content)
        present = self._on_disk(name)
        if present != digest and self._is_changed(name):
            self.changed.add(name)
            return
        self._digests[name] = digest
        if present == digest:
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with AtomicFile(file) as atomic:
                atomic.write(content)
                atomic.commit()
        except OSError as error:
            raise CadrenderError(f"{file}: cannot write the file: {error.strerror or error}") from error
        self.written.append(name)

    def mark(self) -> None:
        """Record what has been made so far: the files reach the disk before the mark."""
        sync_files(self.root / name for name in self.written[self._synced :])
        self._synced = len(self.written)
        mark = {"about": _ABOUT, "recipe": _recipe(), "files": dict(sorted(self._digests.items()))}
        write_json(self.root / MARK, json.dumps(mark, indent=4))
