"""``ROOT/cadrender.yaml``: settings of a root that every command reads."""

import json
import shutil

import pytest

from cadrender.cli import COMMANDS
from cadrender.config import load_settings
from cadrender.metadata.gains import build_gains, gains_json
from tests.roots import SONGS, invoke, make_root, tree

# What each command needs beside its root to get as far as its settings; demo makes a root of its own.
ARGUMENTS = dict.fromkeys(COMMANDS, ()) | {
    "excerpts": ("--split", "valid"),
    "heads": ("nobody.sofa",),
    "ingest": ("folder", "{root}/audio/music/train"),
}
del ARGUMENTS["demo"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = make_root(tmp_path_factory.mktemp("own") / "root", seconds=(0.7, 0.5))
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def own(root, text):
    (root / "cadrender.yaml").write_text(text)


def succeed(*arguments):
    done = invoke(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def one_line(done, status=2):
    assert (done.returncode, done.stdout) == (status, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("cadrender: ")
    return line


@pytest.mark.parametrize("command", ARGUMENTS)
def test_every_command_reads_it(root, command):
    own(root, "path: {output_music_dri: fast}\n")
    before = tree(root)
    arguments = [argument.format(root=root) for argument in ARGUMENTS[command]]
    line = one_line(invoke(command, *arguments, "--root", root))
    assert f"{root / 'cadrender.yaml'}: unknown key 'path.output_music_dri'; near ones: " in line
    assert tree(root) == before


@pytest.mark.parametrize("text", ["path: {root: /elsewhere}\n", "path:\n  root: ${path.root}\n"])
def test_the_root_cannot_be_set_there(root, text):
    own(root, text)
    line = one_line(invoke("generate", "--root", root))
    assert line == (
        f"cadrender: {root / 'cadrender.yaml'}: path.root cannot be set here: it is this file's folder"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: [", "not valid YAML: "),
        ("- 1\n", "must be a mapping of keys"),
        ("sample_rate: [1]\n", "sample_rate="),
        ("sample_rate: loud\n", "is not a whole number"),
        ("split: dev\n", "is none of train, valid, test"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(root, text, message):
    own(root, text)
    line = one_line(invoke("generate", "--root", root))
    assert line.startswith(f"cadrender: {root / 'cadrender.yaml'}: ")
    assert message in line


def test_options_and_arguments_win(root, tmp_path, monkeypatch):
    """Shipped settings, the root's own, a file, arguments, options: the later wins."""
    monkeypatch.chdir(tmp_path)
    own(root, "split: valid\nsample_rate: 22050\npath: {output_music_dir: fast, output_remix_dir: ~/remix}\n")
    config = tmp_path / "mine.yaml"
    config.write_text("sample_rate: 32000\n")
    alone = load_settings(root=root)
    assert (alone.split, alone.sample_rate) == ("valid", 22050)
    assert alone.output_music_dir == root / "fast"  # relative to the root, wherever one is
    assert alone.output_remix_dir.name == "remix" and not alone.output_remix_dir.is_relative_to(root)
    assert alone.scene_file == root / "metadata/scenes.valid.json"
    assert load_settings(root=root, config=config).sample_rate == 32000
    assert load_settings(["sample_rate=48000"], root=root, config=config).sample_rate == 48000
    assert load_settings(["split=test"], root=root).split == "test"
    assert load_settings(["split=test"], root=root, split="train").split == "train"
    assert load_settings([f"path.root={root}"]).output_music_dir == root / "fast"
    given = load_settings(root=root, output_music_dir=tmp_path / "other")
    assert given.output_music_dir == tmp_path / "other"


def test_a_root_with_its_own_places(root):
    own(root, "path:\n  output_music_dir: fast/at mic\n  output_remix_dir: fast/remix\n")
    succeed("generate", "--root", root, "-j", 1)
    succeed("remix", "--root", root, "-j", 1)
    assert not (root / "audio/at_mic_music").exists() and not (root / "audio/remix").exists()
    assert len(list((root / "fast/at mic").rglob("*.wav"))) == 30
    assert len(list((root / "fast/remix").rglob("*.wav"))) == 7
    assert "0 files to render" in succeed("generate", "--root", root).stderr
    assert "37 files, " in succeed("verify", "--root", root).stderr
    (train,) = json.loads(succeed("info", "--root", root, "--json", "-j", 1).stdout)["splits"]
    assert (train["rendered"], train["missing"]) == (6, 0)
    here = f"path.output_music_dir={root / 'audio/at_mic_music'}"
    assert "30 files to render" in succeed("generate", "--root", root, here, "--dry-run").stderr


def test_a_run_with_other_places_says_how_to_keep_them(root, tmp_path):
    """And the line works as it is."""
    place = tmp_path / "fast disk, \"new\" & 'ünïque' # ${x}"
    done = succeed("generate", "--root", root, "-j", 1, "--songs", SONGS[1], "--output-music-dir", place)
    *_, last = done.stderr.splitlines()
    start = f"to make every command look there, put into {root / 'cadrender.yaml'}:  "
    assert last.startswith(start)
    assert len(list(place.rglob("*.wav"))) == 15
    own(root, last.removeprefix(start) + "\n")
    assert load_settings(root=root).output_music_dir == place
    done = succeed("generate", "--root", root, "-j", 1, "--songs", SONGS[1])
    assert "3 samples complete; 0 files to render" in done.stderr
    assert "cadrender.yaml" not in done.stderr
    succeed("generate", "--root", root, "-j", 1)
    succeed("verify", "--root", root)


def test_quiet_runs_and_usual_places_say_nothing_of_it(root, tmp_path):
    options = ("--root", root, "-j", 1, "--songs", SONGS[1])
    assert succeed("generate", *options, "-q", "--output-music-dir", tmp_path / "x").stderr == ""
    assert "cadrender.yaml" not in succeed("generate", *options).stderr
