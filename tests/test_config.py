import dataclasses
import importlib.resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cadrender.config import Settings, load_settings
from cadrender.errors import UsageError

# The challenge's configuration keys that the project promises to understand.
OFFICIAL = [
    "path.root",
    "path.metadata_dir",
    "path.music_dir",
    "path.hrtf_dir",
    "path.scene_file",
    "path.music_file",
    "path.head_loudspeaker_positions_file",
    "path.gains_file",
    "path.output_music_dir",
    "path.output_music_file",
    "sample_rate",
    "scene.number_scenes_per_song",
    "scene_listener.number_listeners_per_scene",
]


def refused(*arguments, **options):
    with pytest.raises(UsageError) as caught:
        load_settings(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_root_alone_gives_the_official_layout():
    settings = load_settings(root="/data/icassp")
    root = Path("/data/icassp")
    assert settings == Settings(
        root=root,
        metadata_dir=root / "metadata",
        music_dir=root / "audio/music",
        hrtf_dir=root / "audio/hrtf",
        scene_file=root / "metadata/scenes.train.json",
        music_file=root / "metadata/musdb18.train.json",
        head_loudspeaker_positions_file=root / "metadata/head_loudspeaker_positions.json",
        gains_file=root / "metadata/gains.json",
        listeners_file=root / "metadata/listeners.train.json",
        scene_listeners_file=root / "metadata/scene_listeners.train.json",
        excerpts_file=root / "metadata/excerpts.train.json",
        excerpts_dir=root / "audio/music/excerpts",
        output_music_dir=root / "audio/at_mic_music",
        output_music_file=root / "metadata/at_mic_music.train.json",
        output_remix_dir=root / "audio/remix",
        output_remix_listeners_dir=root / "audio/remix_listeners",
        output_submission_dir=root / "audio/submission",
        output_remix_file=root / "metadata/remix.train.json",
        split="train",
        sample_rate=44100,
        number_scenes_per_song=4,
        number_listeners_per_scene=2,
        music_files=(root / "metadata/musdb18.train.json",),
    )


def test_the_shipped_file_holds_every_official_key():
    shipped = importlib.resources.files("cadrender") / "conf" / "icassp_2024.yaml"
    tree = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    for key in OFFICIAL:
        node = tree
        for part in key.split("."):
            assert part in node, key
            node = node[part]


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("as_option", [True, False])
def test_the_split_picks_the_files(split, as_option):
    given = {"split": split} if as_option else {"overrides": [f"split={split}"]}
    settings = load_settings(root="/data", **given)
    assert settings.split == split
    for field in ("scene_file", "music_file", "listeners_file", "scene_listeners_file", "output_music_file"):
        assert getattr(settings, field).name.endswith(f".{split}.json")


def test_later_sources_win(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(
        "path: {root: /from_file, music_dir: /songs}\nsample_rate: 48000\n"
        "scene: {number_scenes_per_song: 5}\n"
    )
    settings = load_settings(config=config)
    assert (settings.root, settings.music_dir, settings.sample_rate) == (
        Path("/from_file"),
        Path("/songs"),
        48000,
    )
    assert settings.number_listeners_per_scene == 2

    settings = load_settings(["path.root=/from_argument", "scene.number_scenes_per_song=6"], config=config)
    assert settings.root == Path("/from_argument")
    assert settings.hrtf_dir == Path("/from_argument/audio/hrtf")
    assert (settings.music_dir, settings.number_scenes_per_song) == (Path("/songs"), 6)

    settings = load_settings(
        ["path.root=/from_argument", "path.output_music_dir=/slow"],
        config=config,
        root="/from_option",
        output_music_dir=Path("/fast"),
        output_music_file=None,
    )
    assert settings.root == Path("/from_option")
    assert settings.output_music_dir == Path("/fast")
    assert settings.output_music_file == Path("/from_option/metadata/at_mic_music.train.json")


def test_the_last_of_two_equal_keys_wins():
    assert load_settings(["path.root=/a", "path.root=/b"]).root == Path("/b")


def test_the_challenges_own_configuration_is_understood(tmp_path):
    # Written from the list of its keys: with Hydra's section, and one key that is unused here.
    config = tmp_path / "config.yaml"
    config.write_text(
        """
path:
  root: ???
  metadata_dir: ${path.root}/metadata
  scene_file: ${path.metadata_dir}/scenes.train.json
  tracklist_file: ./musdb18_tracklist.csv
hydra:
  run:
    dir: .
"""
    )
    settings = load_settings(
        ["path.root=/data", "hydra.run.dir=/tmp", "path.tracklist_file=x"], config=config
    )
    assert settings.scene_file == Path("/data/metadata/scenes.train.json")


def test_overrides_may_refer_to_other_keys():
    settings = load_settings(
        ["path.root=/data", "path.scene_file=${path.metadata_dir}/s.${split}.json", "split=test"]
    )
    assert settings.scene_file == Path("/data/metadata/s.test.json")


def test_hydras_plus_signs_are_accepted():
    settings = load_settings(
        ["++path.root=/data", "+sample_rate=48000", "++hydra.run.dir=x", "++path.scene_file=${path.root}/+s"]
    )
    assert (settings.root, settings.sample_rate) == (Path("/data"), 48000)
    assert settings.scene_file == Path("/data/+s")
    assert "argument '++path.rot=/data': unknown key 'path.rot'; near ones: path.root" in refused(
        ["++path.rot=/data"]
    )


@pytest.mark.parametrize(
    ("argument", "instead"),
    [
        ("~path.root", "leave it out for its default"),
        ("~path.root=/data", "leave it out for its default"),
        ("hydra/launcher=joblib", "cadrender does not use Hydra"),
        ("+hydra/launcher=joblib", "cadrender does not use Hydra"),
        ("+++sample_rate=48000", "unknown key '+sample_rate'; near ones: sample_rate"),
    ],
)
def test_what_hydra_alone_understands_is_refused_with_what_to_do(argument, instead):
    message = refused([argument], root="/data")
    assert repr(argument) in message and instead in message


def test_paths_keep_odd_characters():
    assert load_settings(["path.root=/a b/c, d: {e} #1 = x"]).root == Path("/a b/c, d: {e} #1 = x")
    assert load_settings(["path.root='/a,b'"]).root == Path("/a,b")
    assert load_settings(["path.root=/null", "path.hrtf_dir=1"]).hrtf_dir == Path.cwd() / "1"
    for root in ("/a/${b}/é", "/a\\${b}", "/a\\\\${b}\\"):
        settings = load_settings(root=root, output_music_dir=f"{root}/out")
        assert settings.hrtf_dir == Path(root) / "audio/hrtf"
        kept = yaml.safe_load(settings.line_to_keep())["path"]
        assert load_settings([f"path.{key}={value}" for key, value in kept.items()], root=root) == settings


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert load_settings(root="here").scene_file == tmp_path / "here/metadata/scenes.train.json"
    assert load_settings(root=".").root == tmp_path
    assert load_settings(root="~/data").music_dir == Path("/home/someone/data/audio/music")


def test_several_music_lists():
    settings = load_settings(root="/data", music_file=[Path("/a.json"), "/b.json"])
    assert settings.music_file == Path("/a.json")
    assert settings.music_files == (Path("/a.json"), Path("/b.json"))
    default = load_settings(root="/data", music_file=())
    assert default.music_files == (default.music_file,) == (Path("/data/metadata/musdb18.train.json"),)


def test_a_missing_root_is_explained():
    message = refused()
    assert "--root DIR" in message and "path.root=DIR" in message
    assert "path.root" in refused(["path.root=???"])
    assert "path.scene_file=VALUE" in refused(["path.scene_file=???"], root="/data")


def test_unknown_keys_name_the_near_ones(tmp_path):
    assert "'path.rot'" in (message := refused(["path.rot=/data"])) and "path.root" in message
    assert "path.root" in refused(["root=/data"])
    assert "path.output_music_dir" in refused(["output_music_dir=/x"])
    assert "scene.number_scenes_per_song" in refused(["scene.number_scenes=3"])
    # No close match: all of them are listed.
    message = refused(["zzzzzzzz=3"])
    for key in OFFICIAL:
        assert key in message

    config = tmp_path / "mine.yaml"
    config.write_text("path: {gain_file: x}\n")
    message = refused(root="/data", config=config)
    assert str(config) in message and "path.gain_file" in message and "path.gains_file" in message


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("sample_rate=abc", "sample_rate"),
        ("sample_rate=44100.5", "44100.5"),
        ("sample_rate=-1", "-1"),
        ("sample_rate=", "sample_rate"),
        ("scene.number_scenes_per_song=0", "'0'"),
        ("scene.number_scenes_per_song=-4", "-4"),
        ("scene.number_scenes_per_song=1e3", "1e3"),
        ("scene_listener.number_listeners_per_scene=٣", "whole number"),
        ("scene_listener.number_listeners_per_scene=" + "9" * 5000, "whole number"),
        ("split=training", "train, valid, test"),
        ("path.hrtf_dir=", "path.hrtf_dir"),
        ("path.hrtf_dir=a\0b", "path.hrtf_dir"),
        ("path.hrtf_dir=~no_such_user_here/x", "no_such_user_here"),
        ("path.hrtf_dir=${path.nowhere}/x", "path.nowhere"),
        ("path.hrtf_dir=${path.hrtf_dir}/x", "path.hrtf_dir"),
        ("path.hrtf_dir=${path", "path.hrtf_dir"),
        ("path.hrtf_dir=${nothing:x}", "path.hrtf_dir"),
        ("/data/icassp", "key=value"),
        ("path.root.deeper=1", "path.root"),
        ("path=1", "path.root"),
        ("=1", "unknown key"),
    ],
)
def test_bad_arguments_are_named(argument, named):
    assert named in refused([argument], root="/data")


@pytest.mark.parametrize(
    "text",
    [
        "path: [1, 2]\n",
        "path: {hrtf_dir: [a]}\n",
        "path: {hrtf_dir: null}\n",
        "path: {hrtf_dir: {a: 1}}\n",
        "path: {hrtf_dir: 3}\n",
        "sample_rate: true\n",
        "sample_rate: 44100.0\n",
        "- a\n- b\n",
        "just text\n",
        "3\n",
        "path: {root: x\n",
        "a: b: c\n",
        "path: {root: a, root: b}\n",
        "path: {root: '${'}\n",
        "\tpath: x\n",
        "? {a: b}\n: c\n",
        "!!python/object:os.system x\n",
        "&a [*a]\n",
        b"\xff\xfe\x00",
        "[" * 3000,
    ],
)
def test_bad_configuration_files_are_named(tmp_path, text):
    config = tmp_path / "mine.yaml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert str(config) in refused(root="/data", config=config)


def test_a_configuration_that_cannot_be_read(tmp_path):
    assert "none.yaml" in refused(root="/data", config=tmp_path / "none.yaml")
    assert str(tmp_path) in refused(root="/data", config=tmp_path)


def test_an_empty_configuration_changes_nothing(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("# nothing yet\n")
    assert load_settings(root="/data", config=config) == load_settings(root="/data")


@given(
    st.lists(
        st.text(max_size=30)
        | st.sampled_from(OFFICIAL).flatmap(lambda k: st.text(max_size=9).map(f"{k}={{}}".format))
    )
)
def test_no_argument_ends_in_anything_but_a_usage_error(overrides):
    try:
        settings = load_settings(overrides, root="/data")
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert all(path.is_absolute() for path in dataclasses.astuple(settings) if isinstance(path, Path))


@given(st.binary(max_size=60) | st.text(alphabet="path:rot{}[]$,'\"\n -?!&*#|>", max_size=60).map(str.encode))
def test_no_configuration_file_ends_in_anything_but_a_usage_error(tmp_path_factory, content):
    config = tmp_path_factory.mktemp("config") / "mine.yaml"
    config.write_bytes(content)
    try:
        load_settings(root="/data", config=config)
    except UsageError as error:
        assert "\n" not in str(error)


def test_a_misspelt_option_is_the_programmers_error():
    with pytest.raises(TypeError, match="rot"):
        load_settings(rot="/data")


def test_ingested_songs_are_songs_of_the_root(tmp_path):
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    official = metadata / "musdb18.train.json"
    for name in (
        "musdb18.train",
        "medleydb",
        "medleydb.ingest",
        "bach10",
        "bach10.ingest",
        "stray",
        "gone.ingest",
    ):
        (metadata / f"{name}.json").touch()
    ingested = (metadata / "bach10.json", metadata / "medleydb.json")
    assert load_settings(root=tmp_path).music_files == (official, *ingested)
    assert load_settings(root=tmp_path, split="valid").music_files == (metadata / "musdb18.valid.json",)
    assert load_settings(root=tmp_path, music_file=[official]).music_files == (official,)
    assert load_settings([f"path.music_file={official}"], root=tmp_path).music_files == (official,)
    official.unlink()
    assert load_settings(root=tmp_path).music_files == ingested
