import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cadrender
from cadrender.cli.scenes import command
from cadrender.errors import CadrenderError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.positions import build_positions, positions_json

CHECKOUT = Path(cadrender.__file__).parents[1]
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
    (folder / "gains.json").write_text(gains_json(build_gains()))
    hrirs = (
        f"BTE_fr-{s}-{side}{angle}.wav" for s in SUBJECTS for side in "np" for angle in (22.5, 30.0, 37.5)
    )
    positions = positions_json(build_positions(hrirs))
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


def test_no_backup_if_none_is_wanted(root):
    run("--root", root)
    before = snapshot(root)
    assert run("--root", root, "--scenes-per-song", 5, "--no-backup")[0] == 0
    after = snapshot(root)
    assert sorted(after) == sorted(before)
    assert after[SCENES] == draw_by_hand(root, SONGS, 5, 2)[0]


def render(root, names):
    """Stand in for rendered samples, which here matter by their places alone."""
    for name in names:
        folder = root / "audio/at_mic_music/train" / name
        folder.mkdir(parents=True)
        (folder / "vocals.wav").touch()


def edit_scenes(root, change):
    file = root / "metadata" / SCENES
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


EDITS = {
    "a scene's gain": lambda scenes: scenes["scene_10002"].update(gain="gain_0001"),
    "a scene gone": lambda scenes: scenes.pop("scene_10002"),
    "a scene more": lambda scenes: scenes.update(scene_99999=scenes["scene_10002"]),
    "another order": lambda scenes: scenes.update(scene_10001=scenes.pop("scene_10001")),
}


@pytest.mark.parametrize("edit", EDITS)
def test_scenes_that_cannot_be_drawn_again_are_replaced_with_force_only(root, edit):
    run("--root", root)
    edit_scenes(root, EDITS[edit])
    kept = snapshot(root)
    status, message = run("--root", root, "--scenes-per-song", 5)
    assert status == 2
    assert message.startswith(
        f"{root}/metadata/{SCENES}: not drawn by cadrender from the present gains and positions"
    )
    assert "0 rendered samples" in message and "--force" in message and "\n" not in message
    assert snapshot(root) == kept
    assert run("--root", root, "--scenes-per-song", 5, "--force")[0] == 0
    files = snapshot(root)
    assert files[SCENES] == draw_by_hand(root, SONGS, 5, 2)[0]
    assert files[f"{SCENES}.1"] == kept[SCENES]


def test_the_samples_that_would_be_orphaned_are_counted(root):
    run("--root", root)
    scenes = json.loads(snapshot(root)[SCENES])
    names = [f"{scene['music']}-{scene['head_loudspeaker_positions']}" for scene in scenes.values()]
    edit_scenes(root, lambda scenes: scenes["scene_10001"].update(head_loudspeaker_positions="hlp_0144"))
    other = f"{SONGS[0]}-hlp_0144"
    assert other not in names
    render(root, [*names[1:7], other, "Stranger-hlp_0001"])
    # drawn anew, all but the edited scene's own sample come back
    status, message = run("--root", root)
    assert status == 2
    assert f"1 rendered sample in {root}/audio/at_mic_music without a scene" in message
    # with fewer scenes for each song, some of the others do not
    fewer = [name for k, name in enumerate(names) if k % 4 < 2]
    orphans = len({*names[1:7], other} - set(fewer))
    assert orphans > 2
    assert f"{orphans} rendered samples in" in run("--root", root, "--scenes-per-song", 2)[1]
    status, output = run("--root", root, "--scenes-per-song", 2, "--force")
    assert status == 0
    assert f"audio/at_mic_music: {orphans} rendered samples no longer in any scene" in output


def test_a_draw_from_other_gains_cannot_be_repeated(root):
    run("--root", root)
    gains = root / "metadata/gains.json"
    content = json.loads(gains.read_text())
    del content["gain_0500"]
    gains.write_text(json.dumps(content))
    assert run("--root", root)[0] == 2
    assert run("--root", root, "--force")[0] == 0
    assert run("--root", root, "--scenes-per-song", 3)[0] == 0


def test_a_file_that_holds_no_scenes_is_not_replaced(root):
    (root / "metadata" / SCENES).write_text("not even JSON")
    render(root, ["Stranger-hlp_0001"])
    status, message = run("--root", root)
    assert (status, "1 rendered sample in" in message) == (2, True)
    assert run("--root", root, "--force")[0] == 0
    assert snapshot(root)[f"{SCENES}.1"] == b"not even JSON"


def test_listeners_only(root):
    run("--root", root)
    edit_scenes(root, lambda scenes: [scenes.pop(name) for name in list(scenes)[5:]])
    (root / "metadata" / SCENE_LISTENERS).unlink()
    (root / "metadata/musdb18.train.json").unlink()  # the scenes are there: who needs songs?
    before = snapshot(root)
    status, output = run("--root", root, "--listeners-only", "--listeners-per-scene", 3)
    assert (status, "5 scenes of 2 songs in " in output) == (0, True)
    after = snapshot(root)
    heard = json.loads(after.pop(SCENE_LISTENERS))
    assert after == before
    np.random.seed(int.from_bytes(hashlib.md5(b"icassp2024").digest(), "big") % 100_000_000)
    drawn = {f"scene_{10001 + n}": np.random.choice(LISTENERS, 3, replace=False).tolist() for n in range(5)}
    assert heard == drawn
    assert run("--root", root, "--listeners-only", "--without-listeners")[0] == 2
    (root / "metadata" / SCENES).unlink()
    status, message = run("--root", root, "--listeners-only")
    assert (status, SCENES in message) == (2, True)


def test_listeners_of_another_split(root):
    for name in ("scenes", "listeners"):
        text = json.dumps({"scene_10001": {"music": "A", "gain": "g", "head_loudspeaker_positions": "h"}})
        if name == "listeners":
            text = json.dumps({"L1": {"name": "L1", **AUDIOGRAM}})
        (root / f"metadata/{name}.valid.json").write_text(text)
    assert run("--root", root, "--listeners-only", "--split", "valid")[0] == 0
    heard = root / "metadata/scene_listeners.valid.json"
    assert json.loads(heard.read_text()) == {"scene_10001": ["L1"]}


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
        ([], "listeners.train.json", None, "listeners.train.json: no such file"),
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
