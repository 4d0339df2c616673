import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.excerpts import draw
from cadrender.config import load_settings
from cadrender.errors import CadrenderError, MetadataError, UsageError
from cadrender.excerpts import Recipe, plan_excerpts
from cadrender.metadata.excerpts import excerpts_json, read_excerpts
from cadrender.metadata.scenes import read_scenes
from cadrender.pipeline.plan import Reason, make_plan
from cadrender.signals.at_mic import AtMic
from cadrender.stems import STEMS
from cadrender.store import AudioFormat, read_stem
from tests.plausible import TRAIN, make_plausible_root
from tests.roots import SAMPLERATE, edit_json, music, pcm16, tree, write_wav

SHORT = Recipe(seconds=0.5)
FRAMES = SAMPLERATE // 2
FIRST, SECOND = TRAIN


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_plausible_root(tmp_path_factory.mktemp("made") / "root", subjects=("VP_E1",))


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def settings_of(root, split="valid"):
    settings = load_settings(root=root, split=split)
    if split == "valid":
        file = settings.metadata_dir / "musdb18.train.json"
        settings = replace(settings, music_file=file, music_files=(file,))
    return settings


def plan_of(root, recipe=SHORT, split="valid", **options):
    return plan_excerpts(settings_of(root, split), recipe, **options)


def write(root, recipe=SHORT, split="valid", *, force=False):
    """Everything but the at-mic files: the draw, the existing stems, backups and failures."""
    work = plan_of(root, recipe, split, force=force)
    stale = stale_of(work)
    backups = work.write_metadata(keep=not force)
    return work.drawn, stale, (backups, work.cuts.run(1).failures)


def stale_of(work):
    """Existing stems with different content."""
    (share,) = work.cuts.shares
    return [output for output in share.todo if share.reasons[output.file].replaces]


def own_stems(root, split="valid"):
    return root / "audio/music/excerpts" / split


def song_file(root, name, stem, split="train"):
    return root / "audio/music" / split / name / f"{stem}.wav"


def assert_stems_are_cut_from_songs(root, drawn):
    settings = drawn.settings
    assert len(list(drawn.outputs())) == 5 * len(drawn.excerpts)
    for excerpt in drawn.excerpts:
        for stem in STEMS:
            song = read_stem(settings.music_dir / excerpt.track.path / f"{stem}.wav", SAMPLERATE)
            own = read_stem(settings.excerpts_dir / excerpt.path / f"{stem}.wav", SAMPLERATE)
            np.testing.assert_array_equal(own, song[excerpt.start : excerpt.start + excerpt.frames])


def test_what_is_drawn(root):
    before = tree(root)
    drawn = draw(settings_of(root), SHORT)
    assert tree(root) == before
    assert (drawn.remarks, drawn.failures) == ([], {})
    assert drawn.describe() == ["4 excerpts of 2 songs, 0.5 s each"]
    assert [excerpt.track.name for excerpt in drawn.excerpts] == [FIRST, FIRST, SECOND, SECOND]
    assert {excerpt.frames for excerpt in drawn.excerpts} == {FRAMES}
    assert drawn.metadata[root / "metadata/excerpts.valid.json"] == excerpts_json(drawn.excerpts)
    assert {file.name for file in drawn.metadata} == {
        "scenes.valid.json",
        "excerpts.valid.json",
        "scene_listeners.valid.json",
    }
    work = plan_of(root)
    assert (len(work.cuts.todo), work.cuts.bytes) == (20, 20 * (44 + 4 * FRAMES))
    assert work.at_mic_to_come() == (20, 20 * (44 + 4 * FRAMES))
    assert work.at_mic_to_come(audio_format=AudioFormat("wav", "FLOAT")) == (20, 20 * (44 + 8 * FRAMES))
    assert work.at_mic_to_come(songs=[FIRST], stems=["bass"]) == (2, 2 * (44 + 4 * FRAMES))
    assert tree(root) == before


def test_positions_of_training_scenes_are_avoided(root):
    file = root / "metadata/scenes.train.json"
    few = draw(settings_of(root), replace(SHORT, per_song=3))
    edit_json(
        file,
        lambda scenes: scenes.update(
            {
                f"more_{k}": {
                    "music": e.track.name,
                    "gain": "gain_0001",
                    "head_loudspeaker_positions": e.position,
                }
                for k, e in enumerate(few.excerpts)
            }
        ),
    )
    again = draw(settings_of(root), replace(SHORT, per_song=3))
    used = {(scene.music, scene.position) for scene in read_scenes(file)}
    assert {(e.track.name, e.position) for e in few.excerpts} <= used
    assert not {(e.track.name, e.position) for e in again.excerpts} & used
    assert [e.start for e in again.excerpts] == [e.start for e in few.excerpts]
    file.unlink()
    draw(settings_of(root), SHORT)


def test_stems_and_metadata_are_written(root):
    drawn, stale, (backups, failures) = write(root)
    assert (stale, backups, failures) == ([], {}, [])
    assert_stems_are_cut_from_songs(root, drawn)
    assert read_excerpts(root / "metadata/excerpts.valid.json") == drawn.excerpts
    for file, text in drawn.metadata.items():
        assert file.read_text() == text
    header = soundfile.info(own_stems(root) / drawn.excerpts[0].name / "bass.wav")
    assert (header.subtype, header.frames, header.channels) == ("PCM_16", FRAMES, 2)
    # the result is a root of small songs
    catalogue = AtMicCatalogue(load_settings(root=root, split="valid"))
    plan = make_plan(catalogue)
    assert [sample.name for sample in catalogue.samples] == [excerpt.name for excerpt in drawn.excerpts]
    signals = [output.signal for output in plan.todo]
    assert {signal.source.parent.parent for signal in signals if isinstance(signal, AtMic)} == {
        own_stems(root)
    }
    assert (len(plan.batches), plan.failures) == (20, [])


@pytest.mark.parametrize(
    ("subtype", "kept_as", "kept"),
    [
        ("PCM_16", "PCM_16", lambda x: x),
        ("PCM_U8", "PCM_16", lambda x: x),
        ("PCM_24", "PCM_24", lambda x: x),
        ("PCM_32", "FLOAT", lambda x: x.astype(np.float32)),
        ("FLOAT", "FLOAT", lambda x: x),
        ("DOUBLE", "FLOAT", lambda x: x.astype(np.float32)),
    ],
)
def test_stems_keep_the_samples_of_any_format(root, subtype, kept_as, kept):
    for stem in STEMS:
        write_wav(song_file(root, FIRST, stem), music(1.5, 1), subtype=subtype)
    drawn, *_ = write(root)
    excerpt = drawn.excerpts[0]
    file = own_stems(root) / excerpt.name / "drums.wav"
    song = soundfile.read(song_file(root, FIRST, "drums"))[0]
    own = soundfile.read(file)[0]
    assert soundfile.info(file).subtype == kept_as
    np.testing.assert_array_equal(own, kept(song[excerpt.start :][:FRAMES]))
    assert plan_of(root).cuts.todo == []


def test_a_second_call_writes_nothing(root):
    write(root)
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*") if file.is_file()}
    _, stale, (backups, _) = write(root)
    assert (stale, backups) == ([], {})
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*") if file.is_file()} == before
    assert plan_of(root).cuts.todo == []


def test_missing_stems_are_cut_again(root):
    drawn, *_ = write(root)
    before = tree(own_stems(root))
    (own_stems(root) / drawn.excerpts[1].name / "vocals.wav").unlink()
    write(root)
    assert tree(own_stems(root)) == before


def test_stems_of_a_changed_song_are_stale(root):
    drawn, *_ = write(root)
    write_wav(song_file(root, SECOND, "drums"), pcm16(music(TRAIN[SECOND], 99)))
    at_mic = root / "audio/at_mic_music" / drawn.excerpts[2].path / "drums.wav"
    write_wav(at_mic, pcm16(music(0.5, 1)))
    work = plan_of(root)
    stale = stale_of(work)
    assert (len(work.cuts.todo), work.at_mic_to_come()[0]) == (2, 20)
    assert [(output.unit, output.signal.stem) for output in stale] == [
        (excerpt.name, "drums") for excerpt in drawn.excerpts[2:]
    ]
    reasons = work.cuts.shares[0].reasons
    source = song_file(root, SECOND, "drums")
    assert {reasons[output.file] for output in stale} == {Reason("input", source, replaces=True)}
    again, *_ = write(root)
    assert_stems_are_cut_from_songs(root, again)
    assert not at_mic.exists()


def test_at_mic_files_that_are_recorded_stay_until_they_are_rendered_again(root):
    """A kill between the two loses nothing: the manifest records what they were rendered from."""
    drawn, *_ = write(root)
    plan_of(root).plan_at_mic().run(1)
    at_mic = root / "audio/at_mic_music" / drawn.excerpts[2].path / "drums.wav"
    before = at_mic.read_bytes()
    write_wav(song_file(root, SECOND, "drums"), pcm16(music(TRAIN[SECOND], 99)))
    write(root)
    assert at_mic.read_bytes() == before
    work = plan_of(root)
    assert (work.cuts.todo, work.at_mic_to_come()[0]) == ([], 0)
    plan = work.plan_at_mic()
    assert {output.name for output in plan.todo} == {f"{e.path}/drums.wav" for e in drawn.excerpts[2:]}
    plan.run(1)
    assert at_mic.read_bytes() != before


def test_another_draw_replaces_the_stems_of_the_same_names(root):
    """Nine positions for two songs: most names recur with another place in the song."""
    write(root, replace(SHORT, per_song=4))
    other = replace(SHORT, per_song=4, seed="another")
    drawn, stale, (backups, _) = write(root, other)
    assert stale
    assert_stems_are_cut_from_songs(root, drawn)
    assert {backup.name for backup in backups.values()} == {
        "scenes.valid.json.1",
        "excerpts.valid.json.1",
        "scene_listeners.valid.json.1",
    }
    third, _, (backups, _) = write(root, replace(other, seed="third"), force=True)
    assert backups == {}
    assert_stems_are_cut_from_songs(root, third)


def test_damaged_stems_are_stale(root):
    drawn, *_ = write(root)
    whole = tree(own_stems(root))
    truncated = own_stems(root) / drawn.excerpts[0].name / "mixture.wav"
    truncated.write_bytes(truncated.read_bytes()[:1000])
    changed = own_stems(root) / drawn.excerpts[1].name / "bass.wav"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    work = plan_of(root)
    assert {output.file for output in work.cuts.todo} == {truncated, changed}
    assert [output.file for output in stale_of(work)] == [changed]
    work.cuts.run(1)
    assert tree(own_stems(root)) == whole


def test_somebodys_at_mic_files_are_left_alone(root):
    drawn = draw(settings_of(root), SHORT)
    foreign = root / "audio/at_mic_music" / drawn.excerpts[3].path / "other.wav"
    write_wav(foreign, pcm16(music(0.5, 1)))
    before = tree(root)
    with pytest.raises(
        UsageError, match=r"other\.wav: already exists, and .*excerpts\.valid\.json does not name it"
    ):
        write(root)
    assert tree(root) == before
    assert plan_of(root, force=True).foreign == {foreign}
    write(root, force=True)
    assert not foreign.exists()


def test_at_mic_files_survive_the_loss_of_their_stems(root):
    """The list still identifies them."""
    drawn, *_ = write(root)
    at_mic = root / "audio/at_mic_music" / drawn.excerpts[0].path / "other.wav"
    write_wav(at_mic, pcm16(music(0.5, 1)))
    (own_stems(root) / drawn.excerpts[0].name / "other.wav").unlink()
    _, stale, _ = write(root)
    assert stale == []
    assert plan_of(root).foreign == frozenset()
    assert at_mic.exists()
    assert_stems_are_cut_from_songs(root, drawn)


def test_a_list_that_cannot_be_read(root):
    write(root)
    (root / "metadata/excerpts.valid.json").write_text("[{}]")
    with pytest.raises(MetadataError, match=r"excerpts\.valid\.json: item 1 has no 'Track Name'"):
        write(root)
    write(root, force=True)


def test_test_songs_are_cut_from_end_to_end(root):
    drawn, *_ = write(root, replace(SHORT, per_song=0), "test")
    assert [excerpt.start for excerpt in drawn.excerpts] == [k * FRAMES for k in range(5)]
    assert len({excerpt.position for excerpt in drawn.excerpts}) == 5
    assert_stems_are_cut_from_songs(root, drawn)


def test_songs_that_are_too_short_or_broken(root):
    song_file(root, FIRST, "bass").unlink()
    drawn, _, (_, failures) = write(root, replace(SHORT, seconds=3.0))
    assert drawn.failures == {FIRST: f"{song_file(root, FIRST, 'bass')}: no such file"}
    assert [excerpt.track.name for excerpt in drawn.excerpts] == [SECOND, SECOND]
    assert (drawn.remarks, failures) == ([], list(drawn.failures.values()))
    drawn = draw(settings_of(root), replace(SHORT, seconds=3.5))
    assert drawn.excerpts == []
    assert len(drawn.remarks) == 1
    assert drawn.remarks[0].startswith(f"{SECOND}: shorter than an excerpt")


def test_a_song_that_breaks_while_it_is_cut(root):
    work = plan_of(root)
    broken = song_file(root, FIRST, "bass")
    broken.write_bytes(broken.read_bytes()[:5000])
    summary = work.cuts.run(2)
    (failure,) = summary.failures
    assert failure.startswith(f"{broken}: truncated")
    (tally,) = summary.tallies
    assert (tally.done, tally.incomplete) == (2, 2)
    assert (own_stems(root) / work.drawn.excerpts[3].name / "bass.wav").exists()


def test_min_loudness(root):
    rate = SAMPLERATE
    for stem in STEMS:
        samples = soundfile.read(song_file(root, SECOND, stem), dtype="int16")[0]
        samples[: 2 * rate] = 0
        write_wav(song_file(root, SECOND, stem), samples)
    replaced = 0
    for seed in "abcdefgh":
        recipe = replace(SHORT, seed=seed)
        plain = draw(settings_of(root), recipe).excerpts
        loud = draw(settings_of(root), replace(recipe, min_loudness=-45.0)).excerpts
        assert all(excerpt.start + FRAMES > 2 * rate for excerpt in loud[2:])
        replaced += sum(excerpt.start + FRAMES <= 2 * rate for excerpt in plain[2:])
        assert [excerpt.position for excerpt in loud] == [excerpt.position for excerpt in plain]
        assert loud[:2] == plain[:2]
    assert replaced
    nothing = draw(settings_of(root), replace(SHORT, min_loudness=0.0))
    assert nothing.excerpts == []
    assert [remark.split(": ")[0] for remark in nothing.remarks] == [FIRST, SECOND]


def test_too_little_space(root, monkeypatch):
    """Stems and at-mic files are compared with the disk before anything is written."""
    work = plan_of(root)
    _, size = work.at_mic_to_come()
    free = work.cuts.bytes + size
    monkeypatch.setattr("cadrender.pipeline.plan.free_space", lambda folder: free)
    work.check_space(size)
    monkeypatch.setattr("cadrender.pipeline.plan.free_space", lambda folder: free - 1)
    with pytest.raises(CadrenderError, match=r"GB will be written, and .* GB are free"):
        work.check_space(size)


def test_no_listeners(root):
    (root / "metadata/listeners.valid.json").unlink()
    drawn, *_ = write(root)
    assert len(drawn.remarks) == 1
    assert "listeners.valid.json: no such file" in drawn.remarks[0]
    assert not (root / "metadata/scene_listeners.valid.json").exists()
    assert (root / "metadata/scenes.valid.json").exists()


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(SHORT, per_song=10), "10 excerpts need as many head positions"),
        (replace(SHORT, seconds=0.39), r"excerpts of 0\.39 s are too short"),
        (replace(SHORT, seconds=float("0.00001")), "too short"),
    ],
)
def test_recipes_that_cannot_be_followed(root, recipe, message):
    before = tree(root)
    with pytest.raises(UsageError, match=message):
        draw(settings_of(root), recipe)
    assert tree(root) == before


def test_no_songs(root):
    (root / "metadata/musdb18.train.json").write_text("[]")
    with pytest.raises(UsageError, match="no songs"):
        draw(settings_of(root), SHORT)


def test_names_that_would_be_the_same(root):
    file = root / "metadata/head_loudspeaker_positions.json"
    head = next(iter(json.loads(file.read_text()).values()))
    file.write_text(json.dumps({"a": head, "b-a": head}))
    tracks = root / "metadata/musdb18.train.json"
    edit_json(tracks, lambda items: items[0].update({"Track Name": "x", "Path": f"train/{FIRST}"}))
    edit_json(tracks, lambda items: items[1].update({"Track Name": "x-b", "Path": f"train/{SECOND}"}))
    with pytest.raises(UsageError, match="'x-b-a' would be the name of 2 excerpts"):
        draw(settings_of(root), SHORT)


def test_nothing_is_written_through_a_link(root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    drawn = draw(settings_of(root), SHORT)
    own_stems(root).mkdir(parents=True)
    (own_stems(root) / drawn.excerpts[0].name).symlink_to(elsewhere)
    with pytest.raises(CadrenderError, match="a symbolic link"):
        write(root)
    assert not list(elsewhere.iterdir())
