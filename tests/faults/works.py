"""Long-running commands, each on its own root: their output, and how to remove it again."""

import contextlib
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cadrender.metadata.gains import build_gains, gains_json
from cadrender.store.levels import LevelBook, LevelFiles
from tests.roots import leftovers, make_root, make_song, run, tree

SONGS = tuple(f"Song {letter}" for letter in "ABCD")
SECONDS = (3.0, 2.0, 1.5, 1.2)
COMPILING = 5.0  # longer than any command takes for these songs


@dataclass
class Work:
    """A command on a root, and its output: everything not listed in ``sources``."""

    root: Path
    arguments: tuple
    sources: dict = field(default_factory=dict)
    damage: tuple = ()  # sources that it replaces
    expected: dict = field(default_factory=dict)
    seconds: float = 0.0

    def prepare(self):
        """Run it undisturbed, and again if it took so long that it must have compiled kernels."""
        self.sources = tree(self.root) if self.root.exists() else {}
        self.run()
        if self.seconds > COMPILING:
            self.empty()
            self.run()
        self.expected = self.made()
        return self

    def at(self, root):
        """The same work on another root."""
        arguments = tuple(root if each == self.root else each for each in self.arguments)
        return replace(self, root=root, arguments=arguments)

    def run(self):
        began = time.monotonic()
        done = run(*self.arguments, timeout=600)
        assert done.returncode == 0, done.stderr
        self.seconds = time.monotonic() - began

    def empty(self):
        """Remove the output, and restore the damage that is to be repaired."""
        for name in tree(self.root) if self.root.exists() else ():
            if name not in self.sources:
                (self.root / name).unlink()
        for name in self.damage:
            (self.root / name).write_bytes(self.sources[name])
        if levels := self.levels_elsewhere():
            levels.unlink(missing_ok=True)

    def remove_backups(self):
        """Remove numbered copies of replaced metadata."""
        for file in (self.root / "metadata").glob("*.json.[0-9]*"):
            file.unlink()

    def levels_elsewhere(self):
        """Where levels are kept that cannot be written to the root."""
        *_, elsewhere = LevelBook(LevelFiles(self.root / "metadata", self.root)).places
        return elsewhere if elsewhere.parent.name == "levels" else None

    def check(self):
        """Everything is there as from an undisturbed run, and nothing else."""
        made = self.made()
        assert not {name for name in made | self.expected if made.get(name) != self.expected.get(name)}
        assert not leftovers(self.root)

    def verify(self):
        """What was made is proven, in every split."""
        for split in ("train", "valid"):
            if (self.root / f"metadata/at_mic_music.{split}.json").exists():
                proof = run("verify", "--root", self.root, "--split", split, "-j", 1)
                assert proof.returncode == 0, proof.stdout

    def made(self):
        """The output, in a form independent of the order of the work."""
        found: dict[Any, Any] = {}
        for name, content in tree(self.root).items():
            if name.endswith("levels.jsonl"):
                elsewhere = self.levels_elsewhere()
                content = levels_of(
                    content + (elsewhere.read_bytes() if elsewhere and elsewhere.exists() else b"")
                )
            backup = name.rpartition(".")[0] in self.damage  # one for each time that it is replaced
            if not name.endswith(".manifest.jsonl") and not backup:
                found[name] = content
        return found


def levels_of(content):
    """The content of a levels file, regardless of how it is spread over lines."""
    found: dict[Any, Any] = {}
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            fields = json.loads(line)
            found.setdefault(fields["source"]["path"], {}).update(fields["after"])
    return found


def a_root(folder):
    root = make_root(folder / "root", songs=SONGS, seconds=SECONDS)
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    return root


def prepare(name, folder, jobs=2):
    """The work of a command, by its name."""
    if name == "demo":
        return Work(folder / "demo", ("demo", folder / "demo", "-j", jobs))
    if name == "ingest":
        corpus = folder / "corpus"
        for number, song in enumerate(f"Song {k}" for k in range(8)):
            make_song(corpus, song, 8.0, number)
        root = a_root(folder)
        (root / "cadrender.yaml").write_text("scene: {number_scenes_per_song: 2}\n")
        drawn = run("scenes", "--root", root, "--force", "--no-backup", "--without-listeners")
        assert drawn.returncode == 0, drawn.stderr
        arguments = ("ingest", "folder", corpus / "audio/music/train", "--scenes", "--root", root, "-j", jobs)
        return Work(root, arguments, damage=("metadata/scenes.train.json",))
    root = a_root(folder)
    common = ("--root", root, "-j", jobs)
    if name == "index":
        return Work(root, ("index", *common))
    if name == "excerpts":
        return Work(root, ("excerpts", *common, "--split", "valid", "--duration", "0.5", "--per-song", "2"))
    if name == "remix":
        assert run("generate", *common).returncode == 0
    if name == "verify --repair":
        assert run("generate", "--remix", *common).returncode == 0
        files = sorted((root / "audio").rglob("at_mic_music/train/*/bass.wav"))
        for file in files:
            content = bytearray(file.read_bytes())
            content[-100] ^= 1
            file.write_bytes(content)
        damage = tuple(str(file.relative_to(root)) for file in files)
        return Work(root, ("verify", *common, "--repair"), damage=damage)
    return Work(root, (*name.split(), *common))
