import json
import os
import shutil

import numpy as np
import pytest
import soundfile

from cadrender.metadata.gains import build_gains, gains_json
from tests.roots import POSITIONS, SONGS, invoke, leftovers, make_root, tree

SONG = SONGS[0]
SAMPLE = f"audio/at_mic_music/train/{SONG}-{POSITIONS[0].id}"
SOURCE = f"audio/music/train/{SONG}"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """A complete root; copy it to damage it."""
    root = make_root(tmp_path_factory.mktemp("rendered") / "root")
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    return root


@pytest.fixture
def root(rendered, tmp_path):
    return shutil.copytree(rendered, tmp_path / "root")


def verify(root, *options):
    done = invoke("verify", "--root", root, *options)
    assert "Traceback" not in done.stderr
    return done


def flip_bit(file, place=-1000):
    content = bytearray(file.read_bytes())
    content[place] ^= 0x10
    keep_times(file, lambda: file.write_bytes(content))


def keep_times(file, change):
    status = file.stat()
    change()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit(file, place):
    flip_bit(file, place)
    os.utime(file)


def swap(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def edit_records(root, **changes):
    """Change fields of the manifest's lines of a sample's bass."""
    manifest = root / "metadata/at_mic_music.train.manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for fields in lines:
        if fields.get("path", "").endswith(f"{POSITIONS[0].id}/bass.wav") and SONG in fields["path"]:
            fields.update(changes)
    manifest.write_text("".join(json.dumps(fields) + "\n" for fields in lines))


def test_a_whole_set_is_proven(root):
    done = verify(root)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{len(SONGS) * len(POSITIONS) * 5} files" in done.stderr
    assert "no problems" in done.stderr


DAMAGES = {
    "a flipped bit": (lambda root: flip_bit(root / SAMPLE / "bass.wav"), "changed", f"{SAMPLE}/bass.wav"),
    "a flipped bit in the header": (
        lambda root: flip_bit(root / SAMPLE / "bass.wav", 30),
        "changed",
        f"{SAMPLE}/bass.wav",
    ),
    "a truncated file": (
        lambda root: os.truncate(root / SAMPLE / "drums.wav", 5000),
        "truncated",
        f"{SAMPLE}/drums.wav",
    ),
    "a longer file": (
        lambda root: os.truncate(root / SAMPLE / "drums.wav", 5_000_000),
        "changed",
        f"{SAMPLE}/drums.wav",
    ),
    "a missing file": (lambda root: (root / SAMPLE / "other.wav").unlink(), "missing", f"{SAMPLE}/other.wav"),
    "an edited source": (
        lambda root: edit(root / SOURCE / "vocals.wav", 1001),
        "source",
        f"{SOURCE}/vocals.wav",
    ),
    "an edited HRIR": (
        lambda root: edit(root / "audio/hrtf" / POSITIONS[0].left_hrir, -100),
        "source",
        f"audio/hrtf/{POSITIONS[0].left_hrir}",
    ),
    "a list that lost a sample": (
        lambda root: (root / "metadata/at_mic_music.train.json").write_text("{}"),
        "list",
        "metadata/at_mic_music.train.json",
    ),
    "a lost manifest": (
        lambda root: (root / "metadata/at_mic_music.train.manifest.jsonl").unlink(),
        "unlisted",
        "metadata/at_mic_music.train.manifest.jsonl",
    ),
    "a line of the manifest with another size": (
        lambda root: edit_records(root, bytes=100),
        "changed",
        f"{SAMPLE}/bass.wav",
    ),
    "a line of the manifest with a format that there is not": (
        lambda root: edit_records(root, subtype="PBM_16"),
        "unlisted",
        f"{SAMPLE}/bass.wav",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found_and_repaired(rendered, root, damage):
    make, kind, where = DAMAGES[damage]
    make(root)
    found = verify(root, "--json")
    assert found.returncode == 1
    problems = json.loads(found.stdout)["problems"]
    assert kind in [problem["kind"] for problem in problems]
    assert str(root / where) in [problem["file"] for problem in problems if problem["kind"] == kind]

    said = verify(root)
    assert len(said.stdout.splitlines()) == len(problems)
    assert any(line.startswith(f"{root / where}: ") for line in said.stdout.splitlines())

    assert verify(root, "--repair", "-j", 1).returncode == 0
    assert verify(root).returncode == 0
    if kind != "source":
        assert tree(root / "audio/at_mic_music") == tree(rendered / "audio/at_mic_music")
    assert not leftovers(root / "audio")


@pytest.mark.parametrize("place", [f"{SOURCE}/vocals.wav", f"audio/hrtf/{POSITIONS[0].left_hrir}"])
def test_nothing_is_made_again_from_a_damaged_source(root, place):
    """Its bytes are others, its size and its time are not: nobody edited it."""
    before = tree(root / "audio/at_mic_music")
    content = (root / place).read_bytes()
    flip_bit(root / place, -100)
    for options in ([], ["--repair"]):
        done = verify(root, *options)
        assert done.returncode == 1
        assert f"{root / place}: damaged: its bytes" in done.stdout
    assert tree(root / "audio/at_mic_music") == before
    keep_times(root / place, lambda: (root / place).write_bytes(content))
    assert verify(root).returncode == 0


def test_targets_without_their_manifest(root):
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert invoke("remix", "--root", root, "-j", 1).returncode == 0
    assert verify(root).returncode == 0
    for file in (root / "metadata").glob("remix.train.*"):
        file.unlink()
    done = verify(root)
    assert done.returncode == 1
    assert f"{root / 'metadata/remix.train.manifest.jsonl'}: no manifest" in done.stdout


def test_numbers_beyond_all_sense_in_a_manifest(root):
    edit_records(root, levels={"loudness_before": 99999.5, "loudness_after": -20.0, "gain": 1.0})
    assert verify(root).returncode == 0  # the file is as it was
    assert invoke("index", "--root", root, "-j", 1).returncode == 0
    edit_records(root, levels={"gain": 10**400})
    assert "not in the manifest" in verify(root).stdout


def test_a_root_whose_files_are_elsewhere(root, tmp_path):
    (root / "audio/at_mic_music").rename(tmp_path / "elsewhere")
    for options in ([], ["--repair"]):
        done = verify(root, *options)
        assert done.returncode == 1
        (line,) = done.stdout.splitlines()
        assert line.startswith(f"{root / 'audio/at_mic_music'}: none of the ")
        assert "--output-music-dir, or 'path: {output_music_dir: DIR}'" in line
    assert verify(root, "--output-music-dir", tmp_path / "elsewhere").returncode == 0


def test_a_swapped_pair_is_named_both_ways(root):
    one, other = root / SAMPLE / "bass.wav", root / SAMPLE / "other.wav"
    swap(one, other)
    done = verify(root)
    assert done.returncode == 1
    assert f"{one}: holds what belongs in train/{SONG}-hlp_0001/other.wav" in done.stdout
    assert f"{other}: holds what belongs in train/{SONG}-hlp_0001/bass.wav" in done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_swapped_sources_are_found(root):
    folder = root / SOURCE
    swap(folder / "bass.wav", folder / "drums.wav")
    done = verify(root)
    assert done.returncode == 1
    for stem in ("bass", "drums"):
        text = f"changed since {len(POSITIONS)} at-mic files were rendered from it"
        assert f"{folder / stem}.wav: {text}\n" in done.stdout
    assert verify(root, "--no-sources").returncode == 0


def test_a_file_of_unknown_origin_is_found(root):
    manifest = root / "metadata/at_mic_music.train.manifest.jsonl"
    lines = [
        line
        for line in manifest.read_text().splitlines()
        if f"{SONG}-hlp_0001/bass.wav" not in json.loads(line).get("path", "")
    ]
    manifest.write_text("".join(f"{line}\n" for line in lines))
    done = verify(root)
    assert done.returncode == 1
    assert f"{root / SAMPLE / 'bass.wav'}: not in the manifest" in done.stdout
    # The main job takes such files as they are: the official script may have made them.
    assert "0 files to render" in invoke("generate", "--root", root, "--dry-run").stderr


def test_a_song_that_is_gone_is_reported_and_its_files_are_still_checked(root):
    shutil.rmtree(root / SOURCE)
    flip_bit(root / SAMPLE / "bass.wav")
    done = verify(root)
    assert done.returncode == 1
    assert f"{root / SOURCE}" in done.stdout
    assert f"{root / SAMPLE / 'bass.wav'}: its bytes are not those that were written" in done.stdout


@pytest.mark.slow
def test_deep_finds_wrong_samples_that_the_manifest_vouches_for(root):
    """What a wrong rendering would leave: samples and manifest agree, and both are wrong."""
    manifest = root / "metadata/at_mic_music.train.manifest.jsonl"
    file = root / SAMPLE / "bass.wav"
    samples, rate = soundfile.read(file, dtype="int16")
    samples[1000:1100] += 2
    soundfile.write(file, samples, rate, subtype="PCM_16")
    from cadrender.store.digest import digest_of

    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    for line in lines:
        if line.get("path") == f"train/{SONG}-hlp_0001/bass.wav":
            line["blake3"] = digest_of(file)
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert verify(root).returncode == 0
    done = verify(root, "--deep", "100%", "-j", 1)
    assert done.returncode == 1
    assert (
        done.stdout
        == f"{file}: 200 of {samples.size} PCM values differ from a new rendering, by up to 2 steps\n"
    )
    assert verify(root, "--deep", "100", "-j", 2, "--repair").returncode == 0
    assert verify(root, "--deep", "100", "-j", 2).returncode == 0


def test_deep_renders_the_part_that_was_asked_for(root):
    def compared(*options):
        return json.loads(verify(root, "--json", "-j", 1, *options).stdout)["rendered_again"]

    everything = len(SONGS) * len(POSITIONS) * 5
    assert compared() == 0
    assert compared("--deep", "10%") == np.ceil(everything / 10)
    assert compared("--deep", "100") == everything


@pytest.mark.parametrize("options", [("--subtype", "PCM_24"), ("--subtype", "FLOAT"), ("--format", "flac")])
def test_other_formats_are_proven_too(tmp_path, options):
    root = make_root(tmp_path / "root", songs=SONGS[:1], seconds=(1.0,))
    assert invoke("generate", "--root", root, "-j", 1, *options).returncode == 0
    done = verify(root, *options, "--deep", "100", "-j", 1)
    assert done.returncode == 0, done.stdout
    (first, *_) = (root / "audio/at_mic_music").rglob(f"bass.{'flac' if '--format' in options else 'wav'}")
    flip_bit(first)
    done = verify(root, *options)
    assert done.returncode == 1
    assert str(first) in done.stdout


@pytest.mark.parametrize("percentage", ["x", "-1", "101", "nan"])
def test_a_bad_percentage_is_refused(root, percentage):
    done = verify(root, "--deep", percentage)
    assert done.returncode == 2
    assert "percentage" in done.stderr


def test_files_beside_the_music_are_counted(root):
    (root / SAMPLE / "notes.txt").write_text("mine")
    done = verify(root)
    assert done.returncode == 0
    assert "1 other file there" in done.stderr


# What `generate` notices by itself.


def test_an_edited_source_is_rendered_again(root):
    before = tree(root / "audio/at_mic_music")
    source = root / SOURCE / "vocals.wav"
    samples, rate = soundfile.read(source, dtype="int16")
    soundfile.write(source, samples // 2 + 100, rate, subtype="PCM_16")
    done = invoke("generate", "--root", root, "-j", 1)
    assert done.returncode == 0
    assert f"changed since: {source}" in done.stderr
    after = tree(root / "audio/at_mic_music")
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {f"train/{SONG}-{position.id}/vocals.wav" for position in POSITIONS}
    assert verify(root, "--deep", "100").returncode == 0
    assert "0 files to render" in invoke("generate", "--root", root, "--dry-run").stderr


def test_a_changed_hrir_is_rendered_again(root):
    file = root / "audio/hrtf" / POSITIONS[0].left_hrir
    users = [
        position.id
        for position in POSITIONS
        if POSITIONS[0].left_hrir in (position.left_hrir, position.right_hrir)
    ]
    samples, rate = soundfile.read(file)
    soundfile.write(file, samples[:-10] * 0.9, rate, subtype="PCM_24")
    done = invoke("generate", "--root", root, "-j", 1, "--dry-run")
    assert f"{len(users) * len(SONGS) * 5} files are rendered again; changed since: {file}" in done.stderr
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    assert verify(root, "--deep", "100").returncode == 0


def test_a_source_that_was_only_touched_is_read_once_and_not_rendered(root):
    before = tree(root / "audio")
    for file in (root / "audio/music").rglob("*.wav"):
        os.utime(file, ns=(10**18, 4 * 10**18))  # the year 2096: clocks play no part
    assert "0 files to render" in invoke("generate", "--root", root, "-j", 1).stderr
    assert tree(root / "audio") == before
    for line in (root / "metadata/at_mic_music.train.manifest.jsonl").read_text().splitlines()[-30:]:
        assert json.loads(line)["inputs"]["source"]["mtime_ns"] == 4 * 10**18


def test_a_position_that_means_another_head_is_rendered_again(root):
    positions = root / "metadata/head_loudspeaker_positions.json"
    content = json.loads(positions.read_text())
    content["hlp_0001"] = content["hlp_0003"]
    positions.write_text(json.dumps(content))
    assert invoke("generate", "--root", root, "-j", 1).returncode == 0
    for stem in ("mixture", "bass"):
        folder = root / "audio/at_mic_music/train"
        one, other = (folder / f"{SONG}-{position}" / f"{stem}.wav" for position in ("hlp_0001", "hlp_0003"))
        assert one.read_bytes() == other.read_bytes()


def test_files_without_a_manifest_stay_as_they_are(root):
    (root / "metadata/at_mic_music.train.manifest.jsonl").unlink()
    source = root / SOURCE / "vocals.wav"
    flip_bit(source)
    os.utime(source)
    assert "0 files to render" in invoke("generate", "--root", root, "--dry-run").stderr


def test_a_target_is_not_repaired_with_a_stem_that_cannot_be(root):
    """The song is damaged, too: what is there stays, and is reported again."""
    (root / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert invoke("remix", "--root", root, "-j", 1).returncode == 0
    source = root / SOURCE / "drums.wav"
    whole = source.read_bytes()
    source.write_bytes(whole[:-1000])
    stem = root / SAMPLE / "bass.wav"
    stem.write_bytes(stem.read_bytes()[:-400] + bytes(400))
    before = tree(root / "audio/remix")
    done = verify(root, "--repair", "-j", 1)
    assert done.returncode == 1
    assert f"not made: {stem} is wrong, and cannot be made again" in done.stderr
    assert tree(root / "audio/remix") == before
    source.write_bytes(whole)
    assert verify(root, "--repair", "-j", 1).returncode == 0
    assert tree(root / "audio/remix") == before


def test_a_repair_removes_what_a_killed_run_left_when_all_is_well(root):
    """Such as a list that was being written again."""
    places = (root / "metadata/.at_mic_music.train.json.part", root / SAMPLE / ".bass.wav.part")
    for place in places:
        place.write_bytes(b"half of it")
    assert verify(root).returncode == 0
    assert set(leftovers(root)) == set(places)
    assert verify(root, "--repair").returncode == 0
    assert not leftovers(root)


@pytest.mark.parametrize("lost", ["one", "all"])
def test_what_is_missing_is_not_made_from_a_damaged_source(root, lost):
    flip_bit(root / SOURCE / "vocals.wav", -100)
    files = [file for file in (root / "audio/at_mic_music").rglob("vocals.wav") if SONG in str(file)]
    for file in files[: 1 if lost == "one" else None]:
        file.unlink()
    done = verify(root, "--repair", "-j", 1)
    assert done.returncode == 1
    assert f"{root / SOURCE / 'vocals.wav'}: damaged: its bytes are not those" in done.stdout
    assert f"{files[0]}: not made: {root / SOURCE / 'vocals.wav'} is wrong" in done.stderr
    assert not files[0].exists()
    assert verify(root).returncode == 1
