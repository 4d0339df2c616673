import shutil

import numpy as np
import pytest

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.songs import look_at_song
from cadrender.config import load_settings
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.pipeline import plan as plan_module
from cadrender.pipeline.plan import free_space, make_plan
from cadrender.pipeline.run import make_folders
from cadrender.stems import STEMS, VDBO
from cadrender.store import AudioFormat
from tests.roots import POSITIONS, SONGS, make_root, make_song, tree, write_wav

# The second song is the longer one.
SECONDS = (0.6, 0.9)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("plan"), seconds=SECONDS)


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def plan_of(root, **options):
    return make_plan(AtMicCatalogue(load_settings(root=root), **options))


def catalogue_of(plan):
    (share,) = plan.shares
    return share.catalogue


def wanted(plan):
    return {
        str(output.file.relative_to(catalogue_of(plan).settings.output_music_dir)) for output in plan.todo
    }


def test_one_batch_a_stem_for_all_heads(root):
    before = tree(root)
    plan = plan_of(root)
    assert [(batch.song, batch.outputs[0].signal.stem) for batch in plan.batches] == [
        (song, stem) for song in SONGS[::-1] for stem in STEMS
    ]
    for batch in plan.batches:
        signals = [output.signal for output in batch.outputs]
        stem = signals[0].stem
        assert {signal.stem for signal in signals} == {stem}
        assert {signal.source for signal in signals} == {
            root / "audio/music/train" / batch.song / f"{stem}.wav"
        }
        assert [output.unit for output in batch.outputs] == [f"{batch.song}-{p.id}" for p in POSITIONS]
        assert [output.file.name for output in batch.outputs] == [f"{stem}.wav"] * 3
        assert [signal.left_hrir.name for signal in signals] == [p.left_hrir for p in POSITIONS]
        assert [signal.right_hrir.name for signal in signals] == [p.right_hrir for p in POSITIONS]
        assert {signal.samplerate for signal in signals} == {44100}
        assert batch.frame_scenes == 3 * signals[0].frames
    assert tree(root) == before


def test_sizes(root):
    plan = plan_of(root)
    frames = 15 * sum(round(44100 * seconds) for seconds in SECONDS)
    assert (len(plan.todo), plan.shares[0].current, plan.failures) == (30, 0, [])
    assert plan.frame_scenes == frames
    assert plan.bytes == 4 * frames + 30 * 44
    assert plan_of(root, audio_format=AudioFormat("wav", "PCM_24")).bytes == 6 * frames + 30 * 44
    plan = plan_of(root)
    plan.run(1)
    assert sum(file.stat().st_size for file in (root / "audio/at_mic_music").rglob("*.wav")) == plan.bytes


def test_what_is_there_is_not_planned_again(root):
    plan_of(root, songs=[SONGS[0]]).run(1)
    plan = plan_of(root)
    assert (len(plan.todo), plan.shares[0].current) == (15, 3)
    assert {batch.song for batch in plan.batches} == {SONGS[1]}
    catalogue = catalogue_of(plan)
    assert [sample.name for sample in catalogue.complete_samples()] == [
        f"{SONGS[0]}-{p.id}" for p in POSITIONS
    ]
    catalogue.output(catalogue.samples[1], "bass").file.unlink()
    assert catalogue.missing(catalogue.samples[1]) == ["bass"]
    plan = plan_of(root, songs=[SONGS[0]])
    assert (wanted(plan), plan.shares[0].current) == ({f"train/{SONGS[0]}-hlp_0002/bass.wav"}, 2)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], SONGS),
        (["*"], SONGS),
        (["Se*"], SONGS[:1]),
        (["se*", "The*"], None),
        ([SONGS[0], "* Vol. ?"], SONGS),
        (["[!S]*"], SONGS[1:]),
    ],
)
def test_patterns(root, patterns, names):
    if names is None:
        with pytest.raises(UsageError, match=r"--songs 'se\*'"):
            plan_of(root, songs=patterns)
    else:
        plan = plan_of(root, songs=patterns)
        assert catalogue_of(plan).selected == {batch.song for batch in plan.batches} == set(names)


def test_stems(root):
    plan = plan_of(root, stems=["bass", "mixture"])
    assert {output.signal.stem for output in plan.todo} == {"bass", "mixture"}
    assert len(plan.todo) == 12


def test_failures_are_of_selected_songs(root):
    (root / "audio/music/train" / SONGS[1] / "drums.wav").unlink()
    plan = plan_of(root)
    line = f"{root}/audio/music/train/{SONGS[1]}/drums.wav: no such file"
    assert (plan.failures, catalogue_of(plan).failures) == ([line], {SONGS[1]: line})
    assert {batch.song for batch in plan.batches} == {SONGS[0]}
    assert plan_of(root, songs=[SONGS[0]]).failures == []


def test_hrir_that_cannot_be_used(root):
    write_wav(root / "audio/hrtf" / POSITIONS[1].left_hrir, np.ones((10, 2)), 48000)
    with pytest.raises(MetadataError, match=r"n30\.wav: 48000 Hz; .* \(needed by head position hlp_0002\)"):
        plan_of(root)


def test_song_with_stems(tmp_path):
    make_song(tmp_path, "Song", 0.5, 1)
    song = look_at_song("Song", tmp_path / "audio/music/train/Song", 44100)
    assert (song.frames, tuple(song.files)) == (22050, STEMS)


def test_song_without_stems(tmp_path):
    write_wav(tmp_path / "mixture.wav", np.zeros((22050, 2)))
    assert tuple(look_at_song("Song", tmp_path, 44100).files) == ("mixture",)
    write_wav(tmp_path / "bass.wav", np.zeros((22050, 2)))
    with pytest.raises(AudioError, match=r"vocals\.wav: no such file"):
        look_at_song("Song", tmp_path, 44100)


def test_song_without_mixture(tmp_path):
    for stem in VDBO:
        write_wav(tmp_path / f"{stem}.wav", np.zeros((22050, 2)))
    with pytest.raises(AudioError, match=r"mixture\.wav: no such file"):
        look_at_song("Song", tmp_path, 44100)


def test_space(root, monkeypatch):
    plan = plan_of(root)
    monkeypatch.setattr(plan_module, "free_space", lambda folder: plan.bytes)
    plan.check_space()
    monkeypatch.setattr(plan_module, "free_space", lambda folder: plan.bytes - 1)
    with pytest.raises(
        CadrenderError, match=r"at_mic_music: 0\.00 GB will be written, and 0\.00 GB are free"
    ):
        plan.check_space()


def test_free_space_of_a_folder_that_is_not_there_yet(tmp_path):
    expected = shutil.disk_usage(tmp_path).free
    assert free_space(tmp_path / "not/there/yet") == pytest.approx(expected, rel=0.05)


def begin(plan):
    """Make the folders of a plan's files, as its run does; how many leftovers were removed."""
    return make_folders(catalogue_of(plan).folders, {output.file.parent for output in plan.todo})


def test_folders_are_made(root):
    plan = plan_of(root)
    assert begin(plan) == 0
    catalogue = catalogue_of(plan)
    folders = {catalogue.folder(sample) for sample in catalogue.samples}
    assert all(folder.is_dir() for folder in folders)
    for folder in folders:
        (folder / ".vocals.wav.part").touch()
    assert begin(plan) == len(folders)


def test_folder_in_whose_place_there_is_a_file(root):
    plan = plan_of(root)
    (root / "audio/at_mic_music").write_bytes(b"a file")
    with pytest.raises(CadrenderError, match=r"at_mic_music.*: cannot be made: ") as error:
        plan.run(1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("link", ["train", f"train/{SONGS[0]}-hlp_0001"])
def test_folders_are_not_made_through_links(root, tmp_path, link):
    plan = plan_of(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = root / "audio/at_mic_music" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(elsewhere)
    with pytest.raises(CadrenderError, match="a symbolic link; files are never written through one"):
        plan.run(1)
    assert list(elsewhere.iterdir()) == []


def test_output_folder_itself_may_be_a_link(root, tmp_path):
    """It is the user who says where the output goes, and a link is a way to say it."""
    fast = tmp_path / "fast disk"
    fast.mkdir()
    (root / "audio/at_mic_music").symlink_to(fast)
    summary = plan_of(root, songs=[SONGS[0]]).run(1)
    (tally,) = summary.tallies
    assert (tally.done, tally.files, summary.failures) == (3, 15, [])
    assert len([name for name in tree(fast) if name.endswith(".wav")]) == 15
    assert (root / "audio/at_mic_music").is_symlink()
