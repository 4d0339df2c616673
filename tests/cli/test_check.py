"""``cadrender check``: a root in which nothing is wrong, and then everything that can be."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from cadrender.check import check_root, hrir_problems
from cadrender.config import load_settings
from cadrender.errors import UsageError
from cadrender.stems import VDBO
from tests.plausible import TEST, TRAIN, make_plausible_root
from tests.roots import SAMPLERATE, edit_json, invoke, music, pcm16, tree, write_wav

FIRST, SECOND = TRAIN
(EVENING,) = TEST
HRIR = "audio/hrtf/BTE_fr-VP_E1-n37.5.wav"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A complete root: songs, at-mic music of the training songs, validation excerpts."""
    root = make_plausible_root(tmp_path_factory.mktemp("made") / "root")
    assert invoke("generate", "--root", root, "-j", "1").returncode == 0
    result = invoke("excerpts", "--root", root, "--split", "valid", "--duration", "0.5", "-j", "1")
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


def problems_of(root, **options):
    """All problems by area, for the areas that have some."""
    splits = [load_settings(root=root, split=split) for split in ("train", "valid", "test")]
    return {area.name: area.problems for area in check_root(splits, **options) if area.problems}


def song(root, name, stem, split="train"):
    return root / "audio/music" / split / name / f"{stem}.wav"


def edit(name, change):
    """A change of a metadata file."""
    return lambda root: edit_json(root / "metadata" / name, change)


def replace_text(name, old, new):
    def change(root):
        file = root / "metadata" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))

    return change


def rewrite(path, change, subtype=None, samplerate=SAMPLERATE):
    """A change of the samples of an audio file."""

    def rewritten(root):
        file = root / path
        samples, _ = soundfile.read(file, always_2d=True)
        write_wav(file, change(samples), samplerate, subtype or soundfile.info(file).subtype)

    return rewritten


def first_item(change):
    """A change of the first entry of an object or a list."""
    return lambda content: change(content[0] if isinstance(content, list) else next(iter(content.values())))


def later_by(taps):
    """Move the left ear back in time."""
    return lambda hrir: np.stack([np.roll(hrir[:, 0], taps), hrir[:, 1]], axis=1)


# What is done to a root: the area in which it must be found, and what must be said.
BREAKS = {
    # any JSON file
    "file missing": (
        lambda root: (root / "metadata/gains.json").unlink(),
        "gains",
        "gains.json: no such file; cadrender gains makes one",
    ),
    "not JSON": (
        lambda root: (root / "metadata/gains.json").write_text("{"),
        "gains",
        "not valid JSON at line 1",
    ),
    "not UTF-8": (lambda root: (root / "metadata/gains.json").write_bytes(b'{"\xff"}'), "gains", "not UTF-8"),
    "another kind": (lambda root: (root / "metadata/gains.json").write_text("[]"), "gains", "holds a list"),
    "id twice": (
        replace_text("gains.json", '"gain_0002"', '"gain_0001"'),
        "gains",
        "duplicate key 'gain_0001'",
    ),
    # positions
    "angle in text": (
        edit("head_loudspeaker_positions.json", first_item(lambda p: p.update(left_angle="-30"))),
        "positions",
        "left_angle is the text '-30', not a number",
    ),
    "left on the right": (
        edit("head_loudspeaker_positions.json", first_item(lambda p: p.update(left_angle=37.5))),
        "positions",
        "left_angle 37.5 is not from -180 to 0",
    ),
    "right beyond the back": (
        edit("head_loudspeaker_positions.json", first_item(lambda p: p.update(right_angle=202.5))),
        "positions",
        "right_angle 202.5 is not from 0 to 180",
    ),
    "position twice": (
        edit("head_loudspeaker_positions.json", lambda c: c.update(hlp_9999=c["hlp_0001"])),
        "positions",
        "position 'hlp_9999' is the same as 'hlp_0001'",
    ),
    "no mic": (
        edit("head_loudspeaker_positions.json", first_item(lambda p: p.pop("mic"))),
        "positions",
        "has no 'mic'",
    ),
    # gains
    "stem missing": (edit("gains.json", first_item(lambda g: g.pop("bass"))), "gains", "has no bass"),
    "unknown stem": (
        edit("gains.json", first_item(lambda g: g.update(guitar=3))),
        "gains",
        "unknown stem 'guitar'; known ones: vocals, drums, bass, other",
    ),
    "gain not a number": (
        edit("gains.json", first_item(lambda g: g.update(bass=None))),
        "gains",
        "'bass' is null, not a number",
    ),
    "gain out of range": (
        edit("gains.json", first_item(lambda g: g.update(vocals=-61))),
        "gains",
        "'vocals' is -61 dB, not from -60 to 60",
    ),
    # music
    "track twice": (
        edit("musdb18.train.json", lambda c: c.append(c[0])),
        "train: music",
        "duplicate track",
    ),
    "track outside": (
        edit("musdb18.train.json", first_item(lambda t: t.update(Path="../../etc"))),
        "train: music",
        "not made of plain names",
    ),
    # scenes
    "unknown track": (
        edit("scenes.train.json", first_item(lambda s: s.update(music="Nobody"))),
        "train: scenes",
        "scene 'scene_10001': unknown track 'Nobody'",
    ),
    "unknown gain": (
        edit("scenes.train.json", first_item(lambda s: s.update(gain="gain_9999"))),
        "train: scenes",
        "unknown gain 'gain_9999'; near ones: 'gain_0999'",
    ),
    "unknown position": (
        edit("scenes.train.json", first_item(lambda s: s.update(head_loudspeaker_positions="hlp_9"))),
        "train: scenes",
        "unknown head position 'hlp_9'",
    ),
    "scene without a gain": (
        edit("scenes.train.json", first_item(lambda s: s.pop("gain"))),
        "train: scenes",
        "scene 'scene_10001' has no 'gain'",
    ),
    "songs of nowhere": (
        lambda root: (root / "metadata/musdb18.train.json").unlink(),
        "train: scenes",
        "musdb18.train.json that lists its songs",
    ),
    "unknown excerpt": (
        edit("scenes.valid.json", first_item(lambda s: s.update(head_loudspeaker_positions="hlp_9"))),
        "valid: scenes",
        "unknown excerpt",
    ),
    # listeners
    "too few levels": (
        edit("listeners.test.json", first_item(lambda one: one["audiogram_levels_l"].pop())),
        "test: listeners",
        "audiogram_levels_l has 7 numbers for 8 frequencies",
    ),
    "level out of range": (
        edit("listeners.test.json", first_item(lambda one: one["audiogram_levels_r"].__setitem__(2, 131))),
        "test: listeners",
        "131 dB HL at 1000 Hz, right ear: not from -20 to 130",
    ),
    "frequency out of range": (
        edit("listeners.test.json", first_item(lambda one: one["audiogram_cfs"].__setitem__(0, 0.25))),
        "test: listeners",
        "0.25 Hz is not from 50 to 20000 Hz",
    ),
    "frequencies that fall": (
        edit("listeners.test.json", first_item(lambda one: one["audiogram_cfs"].reverse())),
        "test: listeners",
        "audiogram_cfs must be rising",
    ),
    # scene-listeners
    "unknown listener": (
        edit("scene_listeners.train.json", first_item(lambda heard: heard.append("L9999"))),
        "train: scene-listeners",
        "scene 'scene_10001': unknown listener 'L9999'",
    ),
    "unknown scene": (
        edit("scene_listeners.train.json", lambda c: c.update(scene_9=["L0000"])),
        "train: scene-listeners",
        "scene 'scene_9': unknown scene 'scene_9'",
    ),
    "scene that nobody hears": (
        edit("scene_listeners.train.json", lambda c: c.pop("scene_10003")),
        "train: scene-listeners",
        "scene 'scene_10003' is missing",
    ),
    "scene with no listeners": (
        edit("scene_listeners.train.json", first_item(lambda heard: heard.clear())),
        "train: scene-listeners",
        "scene 'scene_10001' has no listeners",
    ),
    "no listeners file": (
        lambda root: (root / "metadata/listeners.train.json").unlink(),
        "train: scene-listeners",
        "there is no",
    ),
    # excerpts
    "excerpt without a start": (
        edit("excerpts.valid.json", first_item(lambda e: e.pop("Start"))),
        "valid: excerpts",
        "has no 'Start'",
    ),
    "excerpt of another split": (
        edit(
            "excerpts.valid.json",
            first_item(lambda e: e.update(Split="test", Path=f"test/{e['Track Name']}")),
        ),
        "valid: excerpts",
        "its Split is 'test', not 'valid'",
    ),
    "excerpt of another length": (
        edit("excerpts.valid.json", first_item(lambda e: e.update(Frames=22051))),
        "valid: excerpts' stems",
        "22050 frames, but the excerpt has 22051",
    ),
    "excerpt's stem gone": (
        lambda root: max((root / "audio/music/excerpts/valid").rglob("bass.wav")).unlink(),
        "valid: excerpts' stems",
        "bass.wav: no such file",
    ),
    # at-mic music
    "listed under a wrong name": (
        edit("at_mic_music.train.json", first_item(lambda s: s.update({"Head Position": "hlp_0001"}))),
        "train: at-mic list",
        "its song and position give the name",
    ),
    "listed track unknown": (
        edit("at_mic_music.train.json", first_item(lambda s: s.update({"Original Track Name": "Nobody"}))),
        "train: at-mic list",
        "unknown track 'Nobody'",
    ),
    "listed file gone": (
        lambda root: max((root / "audio/at_mic_music/train").rglob("drums.wav")).unlink(),
        "train: at-mic files",
        "drums.wav: no such file",
    ),
    "listed file of another length": (
        lambda root: write_wav(
            max((root / "audio/at_mic_music/valid").rglob("drums.wav")), pcm16(music(0.6, 1))
        ),
        "valid: at-mic files",
        "26460 frames, but its source has 22050",
    ),
    # HRIRs
    "HRIR missing": (
        lambda root: (root / HRIR).unlink(),
        "HRIRs",
        "no such file (needed by hlp_0001 and 2 more)",
    ),
    "HRIR at another rate": (
        rewrite(HRIR, lambda h: h, samplerate=48000),
        "HRIRs",
        "48000 Hz; 44100 Hz is needed",
    ),
    "HRIR of one channel": (rewrite(HRIR, lambda h: h[:, 0]), "HRIRs", "an HRIR has two"),
    "HRIR with NaN": (rewrite(HRIR, lambda h: h * np.nan, "FLOAT"), "HRIRs", "NaN or infinite"),
    "silent HRIR": (rewrite(HRIR, lambda h: h * [0, 1]), "HRIRs", "the left ear is silent"),
    "ears swapped": (
        rewrite(HRIR, lambda h: h[:, ::-1]),
        "HRIRs",
        "the left ear is nearer to the loudspeaker",
    ),
    "near ear late": (rewrite(HRIR, later_by(40)), "HRIRs", "taps later"),
    "near ear soft": (rewrite(HRIR, lambda h: h * [0.1, 1]), "HRIRs", "dB quieter"),
    "not audio": (lambda root: (root / HRIR).write_text("RIFF"), "HRIRs", "not a readable audio file"),
    # songs
    "stem missing in a song": (
        lambda root: song(root, FIRST, "bass").unlink(),
        "train: songs",
        "bass.wav: no such",
    ),
    "truncated": (
        lambda root: song(root, FIRST, "bass").write_bytes(song(root, FIRST, "bass").read_bytes()[:-4]),
        "train: songs",
        "bass.wav: truncated: 4 bytes fewer",
    ),
    "mono": (
        rewrite(f"audio/music/train/{FIRST}/bass.wav", lambda x: x[:, 0]),
        "train: songs",
        "1 channel; stereo is needed",
    ),
    "another rate": (
        rewrite(f"audio/music/test/{EVENING}/bass.wav", lambda x: x, samplerate=48000),
        "test: songs",
        "48000 Hz; 44100 Hz is needed",
    ),
    "unequal stems": (
        rewrite(f"audio/music/train/{FIRST}/bass.wav", lambda x: x[1:]),
        "train: songs",
        "114659 frames, but the mixture has 114660",
    ),
    "a silent mixture": (
        rewrite(f"audio/music/train/{FIRST}/mixture.wav", lambda x: x * 0),
        "train: songs",
        "mixture.wav: digital silence, and its stems are not",
    ),
    "NaN in a stem": (
        rewrite(f"audio/music/train/{FIRST}/bass.wav", lambda x: np.where(x == x.max(), np.nan, x), "FLOAT"),
        "train: songs",
        "bass.wav: holds NaN or infinite samples",
    ),
}


def test_nothing_is_wrong(made):
    before = tree(made)
    assert problems_of(made) == {}
    result = invoke("check", "--root", made)
    assert result.returncode == 0, result.stdout
    assert "no problems" in result.stdout
    assert tree(made) == before


@pytest.mark.parametrize("what", BREAKS)
def test_each_thing_that_can_be_wrong(root, what):
    change, area, message = BREAKS[what]
    change(root)
    problems = problems_of(root)
    assert any(message in problem for problem in problems.get(area, ())), problems
    assert all("\n" not in problem for each in problems.values() for problem in each)


# These take the place of others: the whole file, or an item of which the first fault is told.
IN_THE_WAY = {
    *("file missing", "not JSON", "not UTF-8", "another kind", "id twice", "songs of nowhere"),
    *("no listeners file", "no mic", "angle in text", "position twice", "frequencies that fall"),
    *("frequency out of range", "level out of range", "scene without a gain", "scene with no listeners"),
    *("gain not a number", "listed under a wrong name", "excerpt of another split", "track outside"),
    *("excerpt of another length", "HRIR at another rate", "HRIR of one channel", "HRIR with NaN"),
    *("silent HRIR", "ears swapped", "near ear late", "not audio", "HRIR missing", "truncated", "mono"),
    *("unequal stems", "NaN in a stem", "a silent mixture", "unknown excerpt"),
}


def test_all_of_it_at_once(root):
    """One thing does not hide another: in each file several, and all are told."""
    together = [what for what in BREAKS if what not in IN_THE_WAY]
    for what in together:
        BREAKS[what][0](root)
    problems = problems_of(root)
    for what in together:
        _, area, message = BREAKS[what]
        assert any(message in problem for problem in problems.get(area, ())), (what, problems.get(area))
    assert len(together) >= 20
    assert set(BREAKS) >= IN_THE_WAY


def test_every_entry_is_told_not_only_the_first(root):
    edit_json(
        root / "metadata/gains.json", lambda gains: [gain.update(bass="loud") for gain in gains.values()]
    )
    edit_json(
        root / "metadata/scenes.train.json", lambda scenes: [s.update(music="X") for s in scenes.values()]
    )
    problems = problems_of(root)
    assert len(problems["gains"]) == 1105
    assert len([problem for problem in problems["train: scenes"] if "unknown track 'X'" in problem]) == 4


def test_ids_that_stand_twice_hide_nothing(root):
    edit_json(root / "metadata/gains.json", lambda gains: gains["gain_0007"].update(bass="loud"))
    for name in ("gain_0002", "gain_0003"):
        replace_text("gains.json", f'"{name}"', '"gain_0001"')(root)
    problems = problems_of(root)["gains"]
    assert sum("duplicate key 'gain_0001'" in problem for problem in problems) == 2
    assert sum("'bass' is the text 'loud'" in problem for problem in problems) == 1


def remarks_of(root, **options):
    """All remarks of a root in which nothing is wrong."""
    splits = [load_settings(root=root, split=split) for split in ("train", "valid", "test")]
    areas = check_root(splits, **options)
    assert not any(area.problems for area in areas), areas
    return [remark for area in areas for remark in area.remarks]


def test_the_sum_of_the_stems_within_tolerance(root):
    """Dither is no fault; a hundredth of the energy is worth a remark."""
    noise = np.random.default_rng(1)
    file = song(root, FIRST, "mixture")
    clean, _ = soundfile.read(file)
    for level, told in ((-21, 0), (-19, 1)):
        amplitude = np.sqrt((clean**2).mean()) * 10 ** (level / 20)
        write_wav(file, clean + amplitude * noise.standard_normal(clean.shape), subtype="FLOAT")
        remarks = remarks_of(root)
        assert len(remarks) == told
        assert remarks_of(root, tolerance=level + 0.5) == []
        assert remarks_of(root, headers_only=True) == []
    assert "differs from the sum of its stems by -19.1 dB of its energy, more than -20 dB" in remarks[0]


def test_a_stem_of_another_song_is_worth_a_remark(root):
    write_wav(song(root, FIRST, "bass"), pcm16(music(TRAIN[FIRST], 77)))
    (remark,) = remarks_of(root)
    assert remark.startswith(f"{song(root, FIRST, 'mixture')}: differs from the sum of its stems by ")
    result = invoke("check", "--root", root)
    assert result.returncode == 0
    assert f"train: songs: remark: {remark}" in result.stdout
    assert result.stdout.splitlines()[-1] == "no problems, 1 remark"
    content = json.loads(invoke("check", "--root", root, "--json").stdout)
    assert content["problems"] == 0
    assert [area["remarks"] for area in content["areas"] if area["remarks"]] == [[remark]]
    assert invoke("check", "--root", root, "-q").stdout == ""


@pytest.mark.parametrize(("subtype", "told"), [("PCM_16", 0), ("PCM_24", 0), ("FLOAT", 1)])
def test_a_mixture_is_clipped_where_its_format_clips(root, subtype, told):
    """Stems whose sum goes far beyond full scale: a PCM mixture cannot follow, one of floats could."""
    loud = {stem: np.clip(9.0 * soundfile.read(song(root, FIRST, stem))[0], -1, 1) for stem in VDBO}
    for stem, samples in loud.items():
        write_wav(song(root, FIRST, stem), samples)
    stored = sum(soundfile.read(song(root, FIRST, stem))[0] for stem in VDBO)
    assert (np.abs(stored) > 1).mean() > 0.001
    write_wav(song(root, FIRST, "mixture"), np.clip(stored, -1, 1), subtype=subtype)
    assert len(remarks_of(root, tolerance=-50.0)) == told


def test_a_limited_mixture_is_no_problem(root):
    """As one of MUSDB18's: a smooth limiter takes the mixture 15 dB away from the sum of its stems."""
    file = song(root, FIRST, "mixture")
    clean, _ = soundfile.read(file)
    write_wav(file, np.tanh(4 * clean) / 4)
    (remark,) = remarks_of(root)
    assert -18 < float(remark.split(" by ")[1].split(" dB")[0]) < -8


def test_songs_without_stems_are_fine(root):
    for stem in VDBO:
        song(root, EVENING, stem, "test").unlink()
    assert problems_of(root) == {}


def test_a_fresh_root(tmp_path):
    """Before scenes are drawn: only positions and gains are missed."""
    root = make_plausible_root(tmp_path / "root", test={})
    for name in (
        "scenes.train",
        "scene_listeners.train",
        "listeners.train",
        "gains",
        "head_loudspeaker_positions",
    ):
        (root / f"metadata/{name}.json").unlink()
    assert set(problems_of(root)) == {"positions", "gains"}


def test_a_root_without_songs(root):
    """HRIRs, positions and gains alone; then lists whose songs are not there: one line, not five for each song."""
    shutil.rmtree(root / "audio/music")
    problems = problems_of(root)
    assert problems["train: songs"] == [f"{root / 'audio/music'}: has none of the 2 songs"]
    assert problems["valid: excerpts' stems"] == [
        f"{root / 'audio/music/excerpts'}: has none of the 4 excerpts' stems"
    ]
    for file in (root / "metadata").iterdir():
        if file.name not in ("gains.json", "head_loudspeaker_positions.json"):
            file.unlink()
    assert problems_of(root) == {}
    result = invoke("check", "--root", root)
    assert (result.returncode, result.stderr) == (0, "")
    (root / HRIR).unlink()
    assert set(problems_of(root)) == {"HRIRs"}


@pytest.mark.parametrize("override", [False, True])
def test_another_music_list_is_that_of_one_split(root, override):
    (root / "metadata/musdb18.train.json").rename(root / "metadata/mine.json")
    named = [f"path.music_file={root}/metadata/mine.json"]
    result = invoke(
        "check", "--root", root, "--json", *(named if override else ["--music-file", named[0][16:]])
    )
    assert result.returncode == 0, result.stdout
    areas = {area["area"]: area["checked"] for area in json.loads(result.stdout)["areas"]}
    assert areas["train: music"] == areas["train: songs"] == 2
    assert not any(name.startswith(("valid", "test")) for name in areas)
    assert "--music-file names another list" in invoke("check", "--root", root).stdout


def test_a_song_that_is_too_short_by_a_frame(root):
    for stem in ("mixture", *VDBO):
        rewrite(f"audio/music/test/{EVENING}/{stem}.wav", lambda x: x[:17639])(root)
    problems = problems_of(root)["test: songs"]
    assert len(problems) == 5
    assert problems[0].endswith("mixture.wav: 17639 frames; a loudness needs at least 17640 (400 ms)")


def test_no_root(tmp_path):
    with pytest.raises(UsageError, match=r"metadata: no such folder"):
        problems_of(tmp_path)
    (tmp_path / "metadata").mkdir()
    with pytest.raises(UsageError, match=r"nothing to check, such as musdb18\.train\.json"):
        problems_of(tmp_path)
    result = invoke("check", "--root", tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_command_line(root):
    edit_json(root / "metadata/gains.json", lambda gains: [gain.update(bass=99) for gain in gains.values()])
    song(root, SECOND, "other").unlink()
    result = invoke("check", "--root", root, "-j", "1")
    assert result.returncode == 1
    assert "1106 problems" in result.stdout
    assert result.stdout.count("gains: ") == 6
    assert "gains: and 1100 more" in result.stdout
    rows = [line for line in result.stdout.splitlines() if line.startswith("│")]
    assert any("gains" in row and "1105 gains" in row and row.rstrip("│ ").endswith("1105") for row in rows)
    assert any("train: scenes" in row and "none" in row for row in rows)
    assert str(song(root, SECOND, "other")) in result.stdout

    assert invoke("check", "--root", root, "--all").stdout.count("gains: ") == 1105
    result = invoke("check", "--root", root, "--split", "valid", "--json")
    assert result.returncode == 1
    content = json.loads(result.stdout)
    assert content["problems"] == 1105
    assert {area["area"].split(":")[0] for area in content["areas"]} == {
        "positions",
        "gains",
        "HRIRs",
        "valid",
    }
    assert {"area": "HRIRs", "checked": 12, "unit": "files", "problems": [], "remarks": []} in content[
        "areas"
    ]


def test_quiet(made):
    result = invoke("check", "--root", made, "-q", "--headers-only")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_plausible_ears():
    click = np.zeros((64, 2))
    click[10, 0], click[20, 1] = 1.0, 0.5
    assert hrir_problems(click, -30) == []
    assert hrir_problems(click[:, ::-1], 30) == []
    assert len(hrir_problems(click, 30)) == 2
    assert hrir_problems(click, 0) == hrir_problems(click, 180) == []
    same = np.ones((3, 2))
    assert hrir_problems(same, 30) == []
    assert hrir_problems(same * 0, 30) == ["the left ear is silent", "the right ear is silent"]
    echo = click.copy()
    echo[2, 1] = 0.05  # a rustle before the sound is not its beginning
    assert hrir_problems(echo, -30) == []
    assert "10 taps later" in hrir_problems(click[:, ::-1], -30)[0]
    assert "6.0 dB quieter" in hrir_problems(click[:, ::-1], -30)[1]
