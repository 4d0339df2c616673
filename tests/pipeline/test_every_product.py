"""What comes with one pipeline: at-mic files, targets, amplified targets and excerpts are treated alike."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from cadrender.stems import STEMS
from cadrender.store.digest import digest_of
from tests.clusters import cluster, holder, only
from tests.plausible import make_plausible_root
from tests.processes import wait_for
from tests.roots import REPOSITORY, edit_json, environment, invoke, leftovers, start, tree, write_wav

SONGS = {f"Song {letter}": 3.0 for letter in "ABC"}
AT_MIC = "audio/at_mic_music"
REMIX = "audio/remix"
AMPLIFIED = "audio/remix_listeners"
EXCERPTS = "audio/music/excerpts"
OUTPUTS = (AT_MIC, REMIX, AMPLIFIED, EXCERPTS)
SHORT = ("--split", "valid", "--duration", "0.6")

# Folder, split, and a command that makes it.
PRODUCTS = {
    "at-mic": (AT_MIC, "train", ("generate",)),
    "target": (REMIX, "train", ("remix",)),
    "amplified": (AMPLIFIED, "train", ("remix", "--listeners")),
    "excerpt": (EXCERPTS, "valid", ("excerpts", *SHORT)),
}


SOME_BY_DEFAULT = [
    pytest.param(name, marks=[pytest.mark.slow] * (name in ("amplified", "excerpt"))) for name in PRODUCTS
]


def succeed(*arguments):
    done = invoke(*arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A root of which nothing has been made."""
    return make_plausible_root(tmp_path_factory.mktemp("bare") / "root", train=SONGS)


@pytest.fixture(scope="module")
def made(bare, tmp_path_factory):
    """The same root with all four products; copy it to damage it."""
    root = shutil.copytree(bare, tmp_path_factory.mktemp("made") / "root")
    succeed("generate", "--root", root, "-j", 1)
    succeed("remix", "--listeners", "--root", root, "-j", 1)
    succeed("excerpts", "--root", root, "-j", 1, *SHORT)
    return root


@pytest.fixture
def root(made, tmp_path):
    return shutil.copytree(made, tmp_path / "root")


@pytest.fixture
def fresh(bare, tmp_path):
    return shutil.copytree(bare, tmp_path / "root")


def outputs(root, *folders):
    """The bytes of all that was made."""
    return {
        f"{folder}/{name}": content
        for folder in folders or OUTPUTS
        if (root / folder).exists()
        for name, content in tree(root / folder).items()
    }


def a_file(root, product, number=1):
    folder, split, _ = PRODUCTS[product]
    return sorted((root / folder / split).rglob("*.wav"))[number]


def flip_bit(file):
    """Flip one bit of the samples; size and time tell nothing."""
    status = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x08
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


# Proof and repair


def test_all_four_are_proven(made):
    for split in ("train", "valid"):
        done = succeed("verify", "--root", made, "--split", split, "--deep", "100", "-j", 1)
        assert "no problems" in done.stderr
    train = (made / AT_MIC / "train", made / REMIX, made / AMPLIFIED)
    valid = (made / AT_MIC / "valid", made / EXCERPTS)
    files = {
        split: [file for folder in folders for file in folder.rglob("*.wav")]
        for split, folders in (("train", train), ("valid", valid))
    }
    for split, expected in files.items():
        found = json.loads(succeed("verify", "--root", made, "--split", split, "--json").stdout)
        assert (found["files"], found["problems"], found["extra"]) == (len(expected), [], [])
    assert len(files["train"]) == 6 * 5 + 6 + 12
    assert len(files["valid"]) == 2 * 6 * 5


@pytest.mark.parametrize("product", SOME_BY_DEFAULT)
def test_a_flipped_bit_is_found_and_repaired(made, root, product):
    _, split, _ = PRODUCTS[product]
    file = a_file(root, product)
    flip_bit(file)
    lines = [f"{file}: its bytes are not those that were written"]
    if product == "excerpt":  # a source of others
        lines.append(f"{file}: changed since 1 at-mic file was rendered from it")
    done = invoke("verify", "--root", root, "--split", split)
    assert (done.returncode, done.stdout.splitlines()) == (1, lines)
    repaired = succeed("verify", "--root", root, "--split", split, "--repair", "-j", 1)
    count = f"{len(lines)} problem{'s' * (len(lines) > 1)}"
    assert f": {count}, no problems after the repair" in repaired.stderr
    assert outputs(root) == outputs(made)
    assert not leftovers(root)
    for each in ("train", "valid"):
        succeed("verify", "--root", root, "--split", each)


def spoil(file):
    """Change some samples by more than any machine's rounding would."""
    content = bytearray(file.read_bytes())
    header = 44 if soundfile.info(file).subtype == "PCM_16" else 58
    for place in range(header + 1, header + 401, 4):
        content[len(content) // 8 * 4 + place - 44] ^= 0x10
    file.write_bytes(content)


@pytest.mark.parametrize("product", SOME_BY_DEFAULT)
def test_what_the_manifest_vouches_for_is_found_by_making_it_again(made, root, product):
    """Samples, manifest and list agree, and all are wrong."""
    _, split, _ = PRODUCTS[product]
    file = a_file(root, product)
    before = digest_of(file)
    spoil(file)
    for book in (root / "metadata").glob("*.json*"):
        book.write_text(book.read_text().replace(before, digest_of(file)))
    done = invoke("verify", "--root", root, "--split", split, "--deep", "100", "-j", 1)
    assert done.returncode == 1
    if product == "excerpt":
        line = f"{file.parent}: not what .* holds from frame [0-9]+ on .{file.stem}.: cadrender excerpts .*"
    else:
        line = f"{file}: [0-9]+ of [0-9]+ PCM values differ from a new rendering, by up to [0-9.e+]+ steps"
    assert re.search(f"^{line}$", done.stdout, re.MULTILINE), done.stdout
    succeed("verify", "--root", root, "--split", split, "--deep", "100", "-j", 1, "--repair")
    assert outputs(root) == outputs(made)


@pytest.mark.parametrize("product", SOME_BY_DEFAULT)
def test_a_missing_file_and_a_truncated_one_are_made_again(made, root, product):
    _, split, command = PRODUCTS[product]
    gone, short = a_file(root, product, 0), a_file(root, product, 2)
    gone.unlink()
    os.truncate(short, 1000)
    done = invoke("verify", "--root", root, "--split", split)
    assert done.returncode == 1
    assert f"{gone}: missing\n" in done.stdout
    assert f"{short}: truncated: 1000 bytes, and " in done.stdout
    succeed(*command, "--root", root, "-j", 1)
    assert outputs(root) == outputs(made)


def test_an_empty_root_is_told_so_in_one_line(fresh):
    for arguments in ((), ("--repair",), ("--split", "valid")):
        done = invoke("verify", "--root", fresh, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"cadrender: {fresh / AT_MIC}: nothing of the ")
        assert f"in {fresh / 'cadrender.yaml'}" in line
    assert outputs(fresh) == {}


@pytest.mark.parametrize("command", [("generate",), ("verify",), ("info",), ("remix",)])
def test_a_manifest_of_an_unreleased_version_is_refused_in_one_line(root, command):
    name = "remix.train" if command == ("remix",) else "at_mic_music.train"
    manifest = root / f"metadata/{name}.manifest.jsonl"
    old = {"path": "train/x.wav", "blake3": "ab", "hrirs": [], "source": {}, "cadrender": "0.1.0"}
    manifest.write_text(json.dumps(old) + "\n")
    before = tree(root)
    done = invoke(*command, "--root", root)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"cadrender: {manifest}: written by an unreleased version of cadrender")
    assert tree(root) == before


# Shares of the work


def test_remix_in_three_shards_gives_a_plain_runs_bytes(made, root):
    shutil.rmtree(root / REMIX)
    shutil.rmtree(root / AMPLIFIED)
    for file in (root / "metadata").glob("remix.*"):
        file.unlink()
    seen: dict[str, bytes] = {}
    for index in (1, 2, 3):
        done = succeed("remix", "--listeners", "--root", root, "-j", 1, "--shard", f"{index}/3")
        assert f"shard {index}/3 of the work" in done.stderr
        now = outputs(root, REMIX, AMPLIFIED)
        assert len(now) > len(seen) and seen.items() <= now.items()
        seen = now
    assert seen == outputs(made, REMIX, AMPLIFIED)
    name = "metadata/remix.train.json"
    assert json.loads((root / name).read_text()) == json.loads((made / name).read_text())
    succeed("verify", "--root", root)


def test_generate_and_remix_in_two_shards(made, fresh):
    """Whole songs: a target's stems are rendered by the run that mixes it."""
    parts = []
    for index in (1, 2):
        done = succeed("generate", "--remix", "--root", fresh, "-j", 1, "--shard", f"{index}/2")
        assert "at-mic files are missing" not in done.stderr
        parts.append(outputs(fresh, AT_MIC, REMIX))
    assert 0 < len(parts[0]) < len(parts[1])
    assert parts[1] == {
        name: content for name, content in outputs(made, AT_MIC, REMIX).items() if "/valid/" not in name
    }
    rendered = {name.split("/")[3].rpartition("-hlp")[0] for name in parts[0] if name.startswith(AT_MIC)}
    assert 0 < len(rendered) < len(SONGS)
    name = "at_mic_music.train.json"
    assert (fresh / "metadata" / name).read_bytes() == (made / "metadata" / name).read_bytes()
    assert list(json.loads((fresh / "metadata/remix.train.json").read_text())) == [
        f"scene_{10001 + k}" for k in range(6)
    ]
    succeed("verify", "--root", fresh)


def test_excerpts_in_two_shards(made, fresh):
    for index in (1, 2):
        succeed("excerpts", "--root", fresh, "-j", 1, *SHORT, "--shard", f"{index}/2")
    expected = {name: content for name, content in outputs(made).items() if "/valid/" in name}
    assert outputs(fresh) == expected
    succeed("verify", "--root", fresh, "--split", "valid")


@pytest.mark.slow
def test_remix_on_two_dask_workers_of_which_one_is_killed(made, fresh, tmp_path):
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    with cluster(tmp_path, REPOSITORY) as (address, _, workers):
        options = ("--backend", "dask", "--scheduler", address)
        process = start("remix", "--listeners", "--root", fresh, *options, **only(REPOSITORY))
        wait_for(lambda: list((fresh / "audio").rglob(".*.part")) or process.poll() is not None)
        assert process.poll() is None
        wait_for(lambda: holder(fresh, workers)).kill()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert re.search(r"^18 targets made \(18 files\), .* on 2 workers$", errors, re.MULTILINE)
    assert outputs(fresh) == outputs(made, REMIX, AMPLIFIED)
    assert not leftovers(fresh)
    succeed("verify", "--root", fresh)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, split",
    [
        (("generate", "--remix"), "train"),
        pytest.param(("excerpts", *SHORT), "valid", marks=pytest.mark.faults),
    ],
)
def test_other_commands_on_two_dask_workers_of_which_one_is_killed(made, fresh, tmp_path, command, split):
    """Targets are made of stems that another worker may have rendered, or is to render again."""
    pytest.importorskip("distributed", reason="Dask is not installed (the extra `dask`)")
    with cluster(tmp_path, REPOSITORY) as (address, _, workers):
        options = ("--backend", "dask", "--scheduler", address)
        process = start(*command, "--root", fresh, *options, **only(REPOSITORY))
        wait_for(lambda: list((fresh / "audio").rglob(".*.part")) or process.poll() is not None)
        assert process.poll() is None
        wait_for(lambda: holder(fresh, workers)).kill()
        _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors and re.search(r" on 2 workers$", errors, re.MULTILINE)
    if split == "train":
        expected = {name: of for name, of in outputs(made, AT_MIC, REMIX).items() if "/valid/" not in name}
    else:
        expected = {name: of for name, of in outputs(made).items() if "/valid/" in name}
    assert outputs(fresh) == expected
    assert not leftovers(fresh)
    succeed("verify", "--root", fresh, "--split", split)


# What is replaced stays until what replaces it is complete


def test_another_format_is_told_before_anything_is_replaced(root):
    before = tree(root)
    for command, folder, count in ((("generate",), AT_MIC, 30), (("remix",), REMIX, 6)):
        for options in (("--format", "flac"), ("--subtype", "FLOAT")):
            done = succeed(*command, "--root", root, *options, "--dry-run")
            verb = "rendered" if command == ("generate",) else "made"
            text = f"{count} files are {verb} again: another format is requested"
            assert text in done.stderr.splitlines(), done.stderr
            assert str(root / folder) in done.stderr
    assert tree(root) == before


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--format", "flac"), ("--subtype", "FLOAT")])
def test_a_run_that_replaces_files_and_is_killed_leaves_whole_ones(made, root, bare, tmp_path, options):
    forget_targets(root)
    other = shutil.copytree(bare, tmp_path / "other")
    succeed("generate", "--root", other, "-j", 1, *options)
    new = outputs(other, f"{AT_MIC}/train")
    old = outputs(made, f"{AT_MIC}/train")
    process = start("generate", "--root", root, "-j", 1, *options)
    wait_for(lambda: process.poll() is not None or replaced(root, old))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    there = {
        name: content
        for name, content in outputs(root, f"{AT_MIC}/train").items()
        if not name.endswith(".part")
    }
    assert there.items() & new.items()
    assert there.items() <= new.items() | old.items()
    assert {name.rpartition(".")[0] for name in there} == {name.rpartition(".")[0] for name in old}
    succeed("generate", "--root", root, "-j", 1, *options)
    for name in new:
        assert_alike(root / name, other / name)
    succeed("verify", "--root", root, "--deep", "100", "-j", 1)


def forget_targets(root):
    """They would be made again, too."""
    for folder in (REMIX, AMPLIFIED):
        shutil.rmtree(root / folder)
    for file in (root / "metadata").glob("remix.*"):
        file.unlink()


def assert_alike(file, other):
    """Byte for byte; floats to their last bit, which a head alone and heads together may round otherwise."""
    if soundfile.info(file).subtype != "FLOAT":
        assert file.read_bytes() == other.read_bytes()
        return
    one, two = (soundfile.read(each, dtype="float32")[0] for each in (file, other))
    np.testing.assert_allclose(one, two, rtol=2**-22, atol=1e-9)


def replaced(root, old):
    """Whether a file has given way to one of another format."""
    return any(not (root / name).exists() or (root / name).stat().st_size != len(old[name]) for name in old)


KILLED_BEFORE_THE_NAME = """
import os, sys
from cadrender.store import writing
writing.AudioWriter.commit = lambda self: os.kill(os.getpid(), 9)
from cadrender.cli import main
main(sys.argv[1:])
"""


def change_song(root):
    file = root / "audio/music/train" / next(iter(SONGS)) / "bass.wav"
    signal, rate = soundfile.read(file, dtype="int16")
    write_wav(file, signal[::-1], rate)


def change_gains(root):
    scene = next(iter(json.loads((root / "metadata/scenes.train.json").read_text()).values()))
    edit_json(root / "metadata/gains.json", lambda gains: gains[scene["gain"]].update(vocals=9.5))


def change_listener(root):
    def turn(listeners):
        for listener in listeners.values():
            listener["audiogram_levels_l"] = [60] * len(listener["audiogram_cfs"])

    edit_json(root / "metadata/listeners.train.json", turn)


CHANGES = {
    "at-mic": change_song,
    "target": change_gains,
    "amplified": change_listener,
    "excerpt": change_song,
}


@pytest.mark.parametrize(
    "product",
    ["at-mic", *(pytest.param(name, marks=pytest.mark.slow) for name in PRODUCTS if name != "at-mic")],
)
def test_a_kill_between_a_files_line_and_its_name_is_noticed(made, root, bare, tmp_path, product):
    """The manifest says already what the file will hold, which is as long as the one it replaces."""
    folder, _, command = PRODUCTS[product]
    other = shutil.copytree(bare, tmp_path / "other")
    CHANGES[product](other)
    if product != "excerpt":
        succeed("generate", "--root", other, "-j", 1)
    succeed(*command, "--root", other, "-j", 1)
    if product != "at-mic":  # targets are compared by the time of the at-mic files
        for file in (root / AT_MIC).rglob("*.wav"):
            file.touch()
        succeed(*command, "--root", root, "-j", 1)
    CHANGES[product](root)
    before = outputs(root, folder)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_BEFORE_THE_NAME, *command, "--root", str(root), "-j", "1"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    there = outputs(root, folder)
    assert {name: there[name] for name in before if name in there}.items() <= before.items()
    if product != "excerpt":
        assert before.keys() <= there.keys()
    succeed(*command, "--root", root, "-j", 1)
    wanted = outputs(other, folder)
    now = outputs(root, folder)
    assert now.items() >= wanted.items()
    assert now != before


# Formats


@pytest.mark.slow
def test_a_flac_root_is_found_as_what_it_is(bare, tmp_path):
    root = shutil.copytree(bare, tmp_path / "root")
    succeed("generate", "--root", root, "-j", 1, "--format", "flac")
    succeed("remix", "--root", root, "-j", 1, "--format", "flac", "--subtype", "PCM_24")
    assert {file.suffix for folder in (AT_MIC, REMIX) for file in (root / folder).rglob("*.*")} == {".flac"}
    before = tree(root / "audio")
    assert "6 samples complete; 0 files to render" in succeed("generate", "--root", root, "-j", 1).stderr
    assert "6 targets complete; 0 to make" in succeed("remix", "--root", root, "-j", 1).stderr
    done = succeed("generate", "--remix", "--root", root, "-j", 1)
    assert "6 samples complete; 0 files to render" in done.stderr
    assert "6 targets complete; 0 to make" in done.stderr
    assert tree(root / "audio") == before
    done = succeed("verify", "--root", root, "--deep", "100", "-j", 1)
    assert "36 files, " in done.stderr and "no problems" in done.stderr
    (train, *_) = json.loads(succeed("info", "--root", root, "--json", "-j", 1).stdout)["splits"]
    assert (train["rendered"], train["missing"], train["bytes_to_come"]) == (6, 0, 0)
    assert train["bytes_now"] == sum(file.stat().st_size for file in (root / AT_MIC).rglob("*.flac"))

    files = [next((root / folder).rglob("*.flac")) for folder in (AT_MIC, REMIX)]
    for file in files:
        flip_bit(file)
    done = invoke("verify", "--root", root)
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{file}: its bytes are not those that were written" for file in files
    )
    succeed("verify", "--root", root, "--repair", "-j", 1)
    assert tree(root / "audio") == before
    files[0].unlink()
    succeed("generate", "--root", root, "-j", 1)
    assert tree(root / "audio") == before


def test_a_float_root_is_found_as_what_it_is(bare, tmp_path):
    root = shutil.copytree(bare, tmp_path / "root")
    succeed("generate", "--root", root, "-j", 1, "--subtype", "FLOAT")
    assert "0 files to render" in succeed("generate", "--root", root, "-j", 1).stderr
    succeed("verify", "--root", root)
    a_file(root, "at-mic").unlink()
    succeed("generate", "--root", root, "-j", 1)
    assert {soundfile.info(file).subtype for file in (root / AT_MIC).rglob("*.wav")} == {"FLOAT"}


def test_another_container_takes_the_place_of_the_old_one(made, root):
    """The files that were recorded go, and no others."""
    foreign = root / AT_MIC / "train" / "notes.flac"
    foreign.write_bytes(b"mine")
    succeed("generate", "--root", root, "-j", 1, "--format", "flac")
    folder = root / AT_MIC / "train"
    assert not list(folder.rglob("*.wav"))
    assert len(list(folder.rglob("*.flac"))) == 6 * len(STEMS) + 1
    assert foreign.read_bytes() == b"mine"
    succeed("generate", "--root", root, "-j", 1, "--format", "wav")
    foreign.unlink()
    assert outputs(root, AT_MIC) == outputs(made, AT_MIC)
