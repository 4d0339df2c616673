import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cadrender import metadata
from cadrender.cli.scenes import command
from cadrender.errors import CadrenderError

CHECKOUT = Path(metadata.__file__).parents[2]
SONGS = ["A Classic Education - NightOwl", "Café & B's", "Mr. X - ... 音楽"]
LISTENERS = [f"L{n:04d}" for n in range(2, 85)]
AUDIOGRAM = {
    "audiogram_cfs": [250, 500, 1000, 2000, 3000, 4000, 6000, 8000],
    "audiogram_levels_l": [20] * 8,
    "audiogram_levels_r": [30] * 8,
}
SUBJECTS = [f"VP_E{n}" for n in range(1, 17)]
SCENES, SCENE_LISTENERS = "scenes.train.json", "scene_listeners.train.json"


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root é" / "metadata"
    folder.mkdir(parents=True)

    def write(name, tree):
        (folder / name).write_text(json.dumps(tree), encoding="utf-8")

    write("musdb18.train.json", [{"Track Name": song, "Split": "train"} for song in SONGS])
    write("listeners.train.json", {name: {"name": name, **AUDIOGRAM} for name in LISTENERS})
    (folder / "gains.json").write_text(metadata.gains_json(metadata.build_gains()))
    hrirs = (
        f"BTE_fr-{s}-{side}{angle}.wav" for s in SUBJECTS for side in "np" for angle in (22.5, 30.0, 37.5)
    )
    positions = metadata.positions_json(metadata.build_positions(hrirs))
    (folder / "head_loudspeaker_positions.json").write_text(positions)
    return folder.parent


def run(*arguments):
    """Run the command in this process."""
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if isinstance(result.exception, CadrenderError):
        return result.exception.exit_status, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def run_process(*arguments, cwd=None):
    words = [sys.executable, "-m", "cadrender", "scenes", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment)


def snapshot(root):
    return {file.name: file.read_bytes() for file in sorted((root / "metadata").iterdir())}


def draw_by_hand(root, songs, scenes_per_song, listeners_per_scene, text="icassp2024"):
    """Write the two files' bytes the slow way, from the root's own metadata."""

    def seed(text):
        np.random.seed(int.from_bytes(hashlib.md5(text.encode()).digest(), "big") % 100_000_000)

    def ids(name):
        return list(json.loads((root / "metadata" / name).read_text()))

    scenes = []
    for song in songs:
        seed(song)
        gains, positions = ids("gains.json"), ids("head_loudspeaker_positions.json")
        for _ in range(scenes_per_song):
            gain = gains[0] if len(gains) == 1 else str(np.random.choice(gains, 1, replace=False)[0])
            place = (
                positions[0] if len(positions) == 1 else str(np.random.choice(positions, 1, replace=False)[0])
            )
            gains.remove(gain)
            positions.remove(place)
            scenes.append({"music": song, "gain": gain, "head_loudspeaker_positions": place})
    named = {f"scene_{10001 + n}": scene for n, scene in enumerate(scenes)}
    seed(text)
    heard = {}
    for name in named:
        drawn = np.random.choice(ids("listeners.train.json"), listeners_per_scene, replace=False)
        heard[name] = [str(listener) for listener in drawn]
    return json.dumps(named, indent=4).encode(), json.dumps(heard, indent=4).encode()


@pytest.mark.parametrize("scenes_per_song", [1, 4, 7, 144])
def test_the_files_equal_the_slow_draws(scenes_per_song, root):
    done = run_process("--root", root, "--scenes-per-song", scenes_per_song)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{3 * scenes_per_song} scenes of 3 songs" in done.stdout
    files = snapshot(root)
    assert (files[SCENES], files[SCENE_LISTENERS]) == draw_by_hand(root, SONGS, scenes_per_song, 2)


def test_the_official_overrides_are_accepted(root):
    done = run_process(
        "path.root=.",
        "scene.number_scenes_per_song=5",
        "scene_listener.number_listeners_per_scene=3",
        cwd=root,
    )
    assert (done.returncode, done.stderr) == (0, "")
    files = snapshot(root)
    assert (files[SCENES], files[SCENE_LISTENERS]) == draw_by_hand(root, SONGS, 5, 3)


def test_options_win_over_overrides_and_both_over_the_file(root, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("scene: {number_scenes_per_song: 2}\nscene_listener: {number_listeners_per_scene: 7}\n")
    assert (
        run("--root", root, "--config", config, "--scenes-per-song", 3, "scene.number_scenes_per_song=4")[0]
        == 0
    )
    files = snapshot(root)
    assert (files[SCENES], files[SCENE_LISTENERS]) == draw_by_hand(root, SONGS, 3, 7)


def test_the_listeners_seed_changes_the_listeners_alone(root):
    assert run("--root", root, "--seed-listeners", "mine", "--listeners-per-scene", 4)[0] == 0
    files = snapshot(root)
    assert (files[SCENES], files[SCENE_LISTENERS]) == draw_by_hand(root, SONGS, 4, 4, "mine")


def test_files_that_change_are_kept_as_numbered_backups(root):
    versions = []
    for count in (4, 5, 6):
        status, output = run("--root", root, "--scenes-per-song", count)
        assert status == 0
        assert ("kept as scenes.train.json." in output) == (count > 4)
        versions.append(snapshot(root))
    last = versions[-1]
    for number, version in enumerate(versions[:-1], 1):
        for name in (SCENES, SCENE_LISTENERS):
            assert last[f"{name}.{number}"] == version[name]
    assert sorted(last) == sorted(
        {*versions[0], *(f"{n}.{k}" for n in (SCENES, SCENE_LISTENERS) for k in (1, 2))}
    )


def test_the_same_again_changes_nothing(root):
    run("--root", root)
    before = snapshot(root)
    status, output = run("--root", root)
    assert (status, output.count("unchanged")) == (0, 2)
    assert snapshot(root) == before


def test_only_what_changes_is_kept(root):
    run("--root", root)
    run("--root", root, "--listeners-per-scene", 3)
    assert f"{SCENE_LISTENERS}.1" in snapshot(root)
    assert f"{SCENES}.1" not in snapshot(root)


def test_force_keeps_no_backup(root):
    run("--root", root)
    before = snapshot(root)
    assert run("--root", root, "--scenes-per-song", 5, "--force")[0] == 0
    after = snapshot(root)
    assert sorted(after) == sorted(before)
    assert after[SCENES] == draw_by_hand(root, SONGS, 5, 2)[0]


def test_a_hand_made_scenes_file_is_kept(root):
    (root / "metadata" / SCENES).write_text("not even JSON")
    assert run("--root", root)[0] == 0
    assert snapshot(root)[f"{SCENES}.1"] == b"not even JSON"


def corrupt(root, name, text):
    file = root / "metadata" / name
    if text is None:
        file.unlink()
    else:
        file.write_text(text)


@pytest.mark.parametrize(
    ("arguments", "name", "text", "named"),
    [
        (["--scenes-per-song", "145"], "x", "", "positions, and there are 144"),
        (["scene.number_scenes_per_song=1106"], "x", "", "gains, and there are 1105"),
        ([], "gains.json", '{"g1": {}, "g2": {}, "g3": {}}', "gains, and there are 3"),
        ([], "gains.json", "{}", "there are 0"),
        ([], "gains.json", None, "gains.json: cannot read"),
        ([], "head_loudspeaker_positions.json", "{}", "there are 0"),
        ([], "head_loudspeaker_positions.json", None, "head_loudspeaker_positions.json: cannot read"),
        ([], "listeners.train.json", None, "listeners.train.json: cannot read"),
        ([], "listeners.train.json", "{}", "listeners file is empty"),
        ([], "musdb18.train.json", "[]", "music list is empty"),
        ([], "musdb18.train.json", None, "musdb18.train.json: cannot read"),
        ([], "musdb18.train.json", '[{"Track Name": "../x", "Split": "train"}]', "'../x'"),
        ([], "musdb18.train.json", "[1", "not valid JSON at line 1 column 3"),
        (["--scenes-per-song", "0"], "x", "", "scene.number_scenes_per_song='0'"),
        (["--scenes-per-song", "-4"], "x", "", "'-4'"),
        (["--listeners-per-scene", "0"], "x", "", "number_listeners_per_scene='0'"),
        (["scene.number_scene_per_song=4"], "x", "", "scene.number_scenes_per_song"),
        (["nonsense"], "x", "", "key=value"),
    ],
)
def test_errors_leave_the_old_files(arguments, name, text, named, root):
    run("--root", root)
    corrupt(root, name, text)
    before = snapshot(root)
    status, message = run("--root", root, *arguments)
    assert status == 2
    assert named in message
    assert "\n" not in message
    assert snapshot(root) == before


def test_an_error_is_one_line_on_the_error_stream(root):
    done = run_process("--root", root, "--scenes-per-song", 145)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("cadrender: 145 scenes per song") and done.stderr.count("\n") == 1
    assert run_process("--root", root, "--scenes-per-song", "four").returncode == 2
    assert "path.root" in run_process().stderr


def test_a_folder_that_cannot_be_written_is_one_line(root, tmp_path):
    status, message = run("--root", root, f"path.scene_file={root}/metadata/gains.json/scenes.json")
    assert status == 1
    assert "cannot write the file" in message and "\n" not in message
    assert SCENE_LISTENERS not in snapshot(root)


def test_other_lists_after_the_official_one_change_nothing(root):
    other = root / "metadata" / "bach10.json"
    other.write_text(
        json.dumps([{"Track Name": "01-AchGottundHerr", "Split": "bach10", "Path": "bach10/01"}])
    )
    official = root / "metadata" / "musdb18.train.json"
    run("--root", root)
    alone = json.loads(snapshot(root)[SCENES])
    status, output = run("--root", root, "--music-file", official, "--music-file", other)
    assert status == 0 and "16 scenes of 4 songs" in output
    files = snapshot(root)
    together = json.loads(files[SCENES])
    assert list(together.items())[:12] == list(alone.items())
    expected = draw_by_hand(root, [*SONGS, "01-AchGottundHerr"], 4, 2)
    assert (files[SCENES], files[SCENE_LISTENERS]) == expected
    assert "also in" in run("--root", root, "--music-file", official, "--music-file", official)[1]
