import json
import shutil

import numpy as np
import pytest
import soundfile

from cadrender.config import load_settings
from cadrender.errors import UsageError
from cadrender.report.survey import take_survey
from tests.report.conftest import LISTENERS, SONGS
from tests.roots import edit_json, invoke


def survey(root, **options):
    return take_survey(load_settings(root=root, **options))


def test_a_complete_root(rendered):
    found = survey(rendered)
    assert found.problems == () and not found.source_problems
    assert [track.name for track in found.tracks] == list(SONGS)
    assert len(found.scenes) == 7 and len(found.samples) == 6
    assert found.complete == set(found.samples)
    assert found.seconds == pytest.approx(2.1 + 1.3, abs=1e-3)
    assert len(found.manifest) == 30 and len(found.listeners) == len(LISTENERS)
    assert set(found.hrirs) == {
        f"BTE_fr-{name}.wav"
        for name in ("VP_E1-n37.5", "VP_E1-p22.5", "VP_E1-n30", "VP_<b>2-n30.0", "VP_<b>2-p30.0")
    }
    folder = rendered / "audio/at_mic_music"
    assert found.bytes == sum(file.stat().st_size for file in folder.rglob("*.wav"))
    for scene in found.scenes:
        sample = found.sample_of(scene)
        assert sample.name == f"{scene.music}-{scene.position}"
        assert found.entry_of(sample, "bass").path == f"{sample.path}/bass.wav"
        assert found.file_of(sample, "bass") == folder / sample.path / "bass.wav"


def test_what_is_not_rendered_is_missing_and_is_no_problem(bare):
    found = survey(bare)
    assert found.problems == () and found.complete == frozenset() and found.bytes == 0
    assert all(file.missing for files in found.at_mic.values() for file in files.values())
    assert found.file_of(next(iter(found.samples.values())), "mixture") is None


def test_damaged_and_foreign_files_do_not_count(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    found = survey(root)
    truncated, short, mono, noise, gone, flac = found.samples.values()

    def file(sample, stem="drums"):
        return found.settings.output_music_dir / sample.path / f"{stem}.wav"

    file(truncated).write_bytes(file(truncated).read_bytes()[:-100])
    pcm, rate = soundfile.read(file(short), dtype="int16")
    soundfile.write(file(short), pcm[:-7], rate)
    soundfile.write(file(mono), pcm[:, 0], rate)
    file(noise).write_bytes(b"noise")
    file(gone).unlink()
    whole, rate = soundfile.read(file(flac), dtype="int16")
    soundfile.write(file(flac).with_suffix(".flac"), whole, rate)
    file(flac).unlink()

    again = survey(root)
    problems = {name: files["drums"].problem for name, files in again.at_mic.items()}
    assert "truncated: 100 bytes" in problems[truncated.name]
    assert problems[short.name] == f"{len(pcm) - 7} frames; {len(pcm)} are needed"
    assert problems[mono.name] == "1 channel at 44100 Hz; 2 at 44100 Hz are needed"
    assert "not a readable audio file" in problems[noise.name]
    assert problems[gone.name] == "no such file" and again.at_mic[gone.name]["drums"].missing
    assert problems[flac.name] == "" and again.complete == {flac.name}
    assert again.file_of(flac, "drums").suffix == ".flac"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gains.json", "gains"),
        ("head_loudspeaker_positions.json", "positions"),
        ("scenes.train.json", "scenes"),
        ("scene_listeners.train.json", "scenes"),
        ("listeners.train.json", None),
        ("musdb18.train.json", None),
    ],
)
def test_a_missing_metadata_file_is_told_with_what_makes_it(bare, name, command):
    (bare / "metadata" / name).unlink()
    found = survey(bare)
    (problem, *more) = found.problems
    assert problem.what == f"{bare / 'metadata' / name}: no such file"
    assert problem.remedy == (f"cadrender {command} --root {bare}" if command else "")
    assert not more
    if name == "musdb18.train.json":  # then the scenes name no song
        assert not found.samples


def test_broken_metadata_is_told_and_the_rest_is_read(bare):
    (bare / "metadata/gains.json").write_text("{")
    edit_json(
        bare / "metadata/listeners.train.json", lambda all_of_them: all_of_them["L0001"].pop("audiogram_cfs")
    )
    found = survey(bare)
    assert len(found.problems) == 2
    assert found.gains == {} and found.listeners == {}
    assert len(found.samples) == 6 and len(found.sources) == 2


def test_a_song_that_cannot_be_used(bare):
    shutil.rmtree(bare / "audio/music/train" / SONGS[0])
    found = survey(bare)
    assert list(found.source_problems) == [SONGS[0]]
    assert "no such file" in found.source_problems[SONGS[0]]
    assert {found.samples[name].track.name for name in found.at_mic} == {SONGS[1]}


def test_without_songs_at_mic_files_are_judged_by_the_manifest(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    shutil.rmtree(root / "audio/music")
    found = survey(root)
    assert found.complete == set(found.samples) and found.problems == ()
    assert found.sources == {} and set(found.source_problems.values()) == {
        f"{root / 'audio/music'}: no such folder"
    }
    first, second, *others = found.samples.values()
    (root / "audio/at_mic_music" / first.path / "bass.wav").unlink()
    file = root / "audio/at_mic_music" / second.path / "drums.wav"
    pcm, rate = soundfile.read(file, dtype="int16")
    soundfile.write(file, pcm[:-7], rate)
    found = survey(root)
    assert found.complete == {sample.name for sample in others}
    assert found.at_mic[first.name]["bass"].missing
    assert found.at_mic[second.name]["drums"].problem == f"{len(pcm) - 7} frames; {len(pcm)} are needed"
    (root / "metadata/at_mic_music.train.manifest.jsonl").unlink()
    assert len(survey(root).complete) == 6, "nothing says what else there was"


def test_other_lists_than_the_splits_own(bare):
    metadata = bare / "metadata"
    tracks = json.loads((metadata / "musdb18.train.json").read_text())
    (metadata / "musdb18.train.json").unlink()
    (metadata / "mine.json").write_text(json.dumps(tracks))
    found = survey(bare, music_file=[metadata / "mine.json"])
    assert found.problems == () and len(found.samples) == 6
    (metadata / "mine.ingest.json").write_text("{}")  # as `cadrender ingest` leaves it
    found = survey(bare)
    assert found.problems == () and len(found.samples) == 6 and len(found.sources) == 2
    found = survey(bare, music_file=[metadata / "mine.json", metadata / "none.json"])
    assert [problem.what for problem in found.problems] == [f"{metadata / 'none.json'}: no such file"]


def test_hrirs_that_cannot_be_used(bare):
    folder = bare / "audio/hrtf"
    (folder / "BTE_fr-VP_E1-n30.wav").unlink()
    soundfile.write(folder / "BTE_fr-VP_E1-p22.5.wav", np.full((9, 2), 1e30), 44100, subtype="DOUBLE")
    found = survey(bare)
    assert [problem.what for problem in found.problems] == [
        f"{folder / 'BTE_fr-VP_E1-n30.wav'}: no such file",
        f"{folder / 'BTE_fr-VP_E1-p22.5.wav'}: its peak of 1e+30 is too large for an HRIR",
    ]
    assert len(found.hrirs) == 3


def test_hrirs_are_found_without_positions(bare):
    (bare / "metadata/head_loudspeaker_positions.json").unlink()
    (bare / "audio/hrtf/notes.wav").write_bytes(b"")
    assert len(survey(bare).hrirs) == 5


def test_only_songs(tmp_path, bare):
    root = tmp_path / "fresh"
    (root / "metadata").mkdir(parents=True)
    shutil.copytree(bare / "audio/music", root / "audio/music")
    shutil.copy(bare / "metadata/musdb18.train.json", root / "metadata")
    found = survey(root)
    assert len(found.sources) == 2 and found.samples == {} and found.hrirs == {}
    assert any("audio/hrtf" in problem.what for problem in found.problems)


def test_excerpts(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    lists = json.loads((root / "metadata/musdb18.train.json").read_text())
    (root / "metadata/musdb18.valid.json").write_text(json.dumps(lists))
    done = invoke("excerpts", "--root", root, "--split", "valid", "--duration", 0.6, "-j", 1)
    assert done.returncode == 0, done.stderr
    found = survey(root, split="valid")
    assert len(found.samples) == 4 and found.complete == set(found.samples)
    assert found.seconds == pytest.approx(4 * 0.6)
    assert [problem.what for problem in found.problems] == [
        f"{root / 'metadata' / name}: no such file"
        for name in ("listeners.valid.json", "scene_listeners.valid.json")
    ]
    assert all(problem.remedy == "" for problem in found.problems)


def test_what_is_no_root(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        survey(tmp_path / "nothing")
    with pytest.raises(UsageError, match="not a root"):
        survey(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="no such folder"):
        survey(tmp_path / "file")
