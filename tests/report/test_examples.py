import base64
import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from cadrender.config import load_settings
from cadrender.errors import UsageError
from cadrender.metadata.scenes import SceneRecord
from cadrender.report.examples import ENVELOPE, choose_scenes, make_example
from cadrender.report.survey import take_survey
from cadrender.store import read_stem
from tests.report.conftest import SONGS
from tests.roots import write_wav

RATE = 44100


def survey(root):
    return take_survey(load_settings(root=root))


def heard(clip):
    kind, _, content = clip.uri.partition(",")
    assert kind == "data:audio/flac;base64"
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)), dtype="int16", always_2d=True)
    assert rate == RATE
    return samples


def inner(samples):
    """All but the fades."""
    return samples[441:-441].astype(int)


def test_songs_take_turns(rendered):
    found = survey(rendered)
    chosen = choose_scenes(found, (), 3)
    assert [scene.music for scene in chosen] == [SONGS[0], SONGS[1], SONGS[0]]
    assert len({found.sample_of(scene).name for scene in chosen}) == 3
    assert choose_scenes(found, (), 0) == []
    assert len(choose_scenes(found, (), 99)) == 7


def test_few_examples_of_many_songs_are_spread_over_the_list(rendered):
    found = survey(rendered)
    sample = found.samples[f"{SONGS[0]}-hlp_0001"]
    names = [f"song {k}" for k in range(100)]
    many = replace(
        found,
        scenes=tuple(
            SceneRecord(f"scene_{k}", name, "gain_0001", "hlp_0001") for k, name in enumerate(names)
        ),
        samples={
            f"{name}-hlp_0001": replace(sample, track=replace(sample.track, name=name)) for name in names
        },
        sources=dict.fromkeys(names, found.sources[SONGS[0]]),
    )
    assert [scene.music for scene in choose_scenes(many, (), 4)] == [
        "song 0",
        "song 25",
        "song 50",
        "song 75",
    ]


def test_patterns_match_scenes_songs_and_samples(rendered):
    found = survey(rendered)

    def ids(*patterns):
        return sorted(scene.id for scene in choose_scenes(found, patterns, 9))

    assert ids("scene_1000[12]") == ["scene_10001", "scene_10002"]
    assert ids(SONGS[1]) == ["scene_10004", "scene_10005", "scene_10006"]
    assert ids("*-hlp_0003", "scene_10001") == ["scene_10001", "scene_10003", "scene_10006"]
    with pytest.raises(UsageError, match="--scenes 'nothing\\*': no scene"):
        ids("nothing*")


def test_what_cannot_be_heard_is_chosen_last(bare):
    shutil.rmtree(bare / "audio/music/train" / SONGS[0])
    found = survey(bare)
    assert [scene.music for scene in choose_scenes(found, (), 4)] == [SONGS[1]] * 3 + [SONGS[0]]
    example = make_example(found, choose_scenes(found, ("scene_10001",), 1)[0], 1.0)
    assert example.original is None and "no such file" in example.problem


def test_the_clips_are_the_files(rendered):
    found = survey(rendered)
    scene = found.scenes[1]
    sample = found.sample_of(scene)
    example = make_example(found, scene, 0.5)
    assert (example.rendered, example.problem, example.levels) == (False, "", ())
    start, frames = round(example.start * RATE), round(example.seconds * RATE)
    assert frames == RATE // 2
    source = read_stem(found.sources[sample.source].files["mixture"], RATE)
    at_mic = read_stem(found.file_of(sample, "mixture"), RATE)
    for clip, whole in ((example.original, source), (example.at_mic, at_mic)):
        part = whole[start : start + frames]
        samples = heard(clip)
        np.testing.assert_array_equal(inner(samples), inner(part))
        assert samples[0].tolist() == [0, 0]
        assert clip
        assert clip.envelope.shape == (2, ENVELOPE)
        assert clip.envelope.max() == pytest.approx(np.abs(part.astype(float)).max() / 32768)


def test_what_is_not_rendered_is_rendered_for_the_page(rendered, bare):
    files = {file: file.stat().st_mtime_ns for file in bare.rglob("*")}
    found, whole = survey(bare), survey(rendered)
    for scene in (found.scenes[0], found.scenes[5]):
        example, expected = make_example(found, scene, 0.7), make_example(whole, scene, 0.7)
        assert example.rendered and not expected.rendered
        assert example.at_mic and expected.at_mic and example.original and expected.original
        assert example.at_mic.uri == expected.at_mic.uri
        assert example.original.uri == expected.original.uri
        assert [level.stem for level in example.levels] == ["mixture", "vocals", "drums", "bass", "other"]
        entry = whole.entry_of(whole.sample_of(scene), "bass")
        assert example.levels[3].after == pytest.approx(entry.levels["loudness_after"])
    assert {file: file.stat().st_mtime_ns for file in bare.rglob("*")} == files


def test_files_without_a_manifest_are_measured(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    (root / "metadata/at_mic_music.train.manifest.jsonl").unlink()
    example = make_example(survey(root), survey(root).scenes[0], 0.5)
    assert not example.rendered and len(example.levels) == 5


def test_without_its_hrirs_a_scene_is_silent(bare):
    (bare / "audio/hrtf/BTE_fr-VP_E1-p22.5.wav").unlink()
    found = survey(bare)
    example = make_example(found, found.scenes[0], 0.5)
    assert example.original is None and "hlp_0001" in example.problem


def test_without_its_hrirs_a_rendered_scene_can_still_be_heard(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    (root / "metadata/at_mic_music.train.manifest.jsonl").unlink()
    (root / "audio/hrtf/BTE_fr-VP_E1-p22.5.wav").unlink()
    found = survey(root)
    example = make_example(found, found.scenes[0], 0.5)
    assert example.at_mic and example.levels == ()


def test_without_its_song_a_rendered_scene_can_still_be_heard(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    whole = make_example(survey(root), survey(root).scenes[0], 0.5)
    shutil.rmtree(root / "audio/music")
    found = survey(root)
    assert len(choose_scenes(found, (), 9)) == 7
    example = make_example(found, found.scenes[0], 0.5)
    assert example.original is None and example.problem == "" and not example.rendered
    assert abs(example.start - whole.start) <= 0.1 and example.seconds == 0.5
    part = round(example.start * RATE) + np.arange(RATE // 2)
    at_mic = read_stem(found.file_of(example.sample, "mixture"), RATE)[part]
    np.testing.assert_array_equal(inner(heard(example.at_mic)), inner(at_mic))


@pytest.mark.parametrize("loud", [0.0, 0.9, 1.6])
def test_the_loudest_part_is_taken(bare, loud):
    folder = bare / "audio/music/train" / SONGS[0]
    mixture = 0.05 * np.random.default_rng(1).standard_normal((round(2.1 * RATE), 2))
    at = round(loud * RATE)
    mixture[at : at + RATE // 2] *= 8
    write_wav(folder / "mixture.wav", mixture)
    found = survey(bare)
    assert make_example(found, found.scenes[0], 0.5).start == pytest.approx(loud, abs=0.05)


def test_a_song_shorter_than_the_example_is_taken_whole(bare):
    found = survey(bare)
    example = make_example(found, found.scenes[0], 30.0)
    assert example.start == 0 and example.seconds == pytest.approx(2.1)
    assert len(heard(example.at_mic)) == len(heard(example.original)) == round(2.1 * RATE)


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "PCM_16"])
def test_sources_of_any_subtype(bare, subtype):
    folder = bare / "audio/music/train" / SONGS[0]
    tone = 0.5 * np.sin(np.arange(round(2.1 * RATE)) / 20)[:, None] * [1.0, 0.5]
    write_wav(folder / "mixture.wav", tone, subtype=subtype)
    found = survey(bare)
    example = make_example(found, found.scenes[0], 1.0)
    assert example.original
    assert example.original.envelope.max(axis=1) == pytest.approx([0.5, 0.25], abs=1e-3)
    assert np.abs(heard(example.original)).max() == pytest.approx(0.5 * 32768, rel=1e-3)


def test_scenes_that_do_not_fit_the_metadata_are_passed_over(bare):
    file = bare / "metadata/scenes.train.json"
    scenes = json.loads(file.read_text())
    scenes["scene_10001"]["music"] = "Nobody"
    file.write_text(json.dumps(scenes))
    found = survey(bare)
    assert "Nobody" in found.problems[0].what
    assert choose_scenes(found, (), 4) == []
