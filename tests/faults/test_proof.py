"""Proof has no holes: `verify` notices any damage to a file unless it is harmless, and which case applies is known.

``CADRENDER_DAMAGE`` sets the number of damages in the long form.
"""

import json
import os
import random
import shutil

import pytest

from cadrender.errors import CadrenderError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.root import open_root
from tests.roots import POSITIONS, SONGS, make_root, run

pytestmark = pytest.mark.faults

MANY = int(os.environ.get("CADRENDER_DAMAGE", "500"))


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A training root with targets, and a root of excerpts."""
    folder = tmp_path_factory.mktemp("proof")
    train = make_root(folder / "train", seconds=(0.9, 0.7))
    (train / "metadata/gains.json").write_text(gains_json(build_gains()))
    assert run("generate", "--remix", "--root", train, "-j", 1).returncode == 0
    valid = make_root(folder / "valid", songs=SONGS[:1], seconds=(1.5,))
    (valid / "metadata/gains.json").write_text(gains_json(build_gains()))
    options = ("--split", "valid", "--duration", "0.5", "--per-song", "2", "-j", 1)
    assert run("excerpts", "--root", valid, *options).returncode == 0
    found = {"train": train, "valid": valid}
    for split, root in found.items():
        assert verify(root, split).returncode == 0
    return found


def verify(root, split):
    return run("verify", "--root", root, "--split", split, "-j", 1, "--json")


# Whether damage is noticed must not depend on where in a file it happens.
TREES = {
    ("train", "audio/at_mic_music"): "*.wav",
    ("train", "audio/remix"): "*.wav",
    ("train", "audio/music"): "*.wav",
    ("train", "audio/hrtf"): "*.wav",
    ("train", "metadata"): "*.json*",
    ("valid", "audio/at_mic_music"): "*.wav",
    ("valid", "audio/music/excerpts"): "*.wav",
    ("valid", "metadata"): "*.json*",
}


def files_of(root, place, pattern):
    return sorted(file for file in (root / place).rglob(pattern) if file.is_file())


def flip(file, rng, others):
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    write_in_place(file, bytes(content))


def truncate(file, rng, others):
    write_in_place(file, file.read_bytes()[: rng.randrange(file.stat().st_size)])


def zero_a_page(file, rng, others):
    content = bytearray(file.read_bytes())
    start = rng.randrange(0, len(content), 4096)
    content[start : start + 4096] = bytes(len(content[start : start + 4096]))
    write_in_place(file, bytes(content))


def swap(file, rng, others):
    other = rng.choice(others)
    mine, its = file.read_bytes(), other.read_bytes()
    write_in_place(file, its)
    write_in_place(other, mine)


def replace(file, rng, others):
    write_in_place(file, rng.choice(others).read_bytes())


def remove(file, rng, others):
    file.unlink()


def write_in_place(file, content):
    """Write without changing the mtime: only the content differs."""
    status = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


DEEDS = (flip, flip, flip, zero_a_page, truncate, swap, replace, remove)


def asked_for(root, split):
    """What the metadata ask for: every file, its inputs and parameters, and what the lists should say.

    Not what `verify` or a plan makes of that. An error stands for itself: then nothing is proven.
    """
    try:
        catalogues = open_root(root, split=split).made()
        files = {
            (output.name, output.audio_format): (
                str(output.signal.parameters()),
                {role: getattr(value, "files", value) for role, value in output.signal.inputs().items()},
            )
            for catalogue in catalogues
            for output in catalogue.outputs()
        }
        failures = [failure for catalogue in catalogues for failure in catalogue.failures.values()]
        return files, failures, [list(catalogue.lists) for catalogue in catalogues]
    except CadrenderError as error:
        return str(error)


def matters(name, before, after, asked):
    """Whether damage to a file makes any output untrue, so that it must be noticed; None for perhaps."""
    if before == after:
        return False
    if "metadata" not in name:
        return True
    if "excerpts." in name and name.endswith("manifest.jsonl"):
        return None  # the songs prove the excerpts' stems
    if name.endswith("manifest.jsonl"):
        return manifest_of(before) != manifest_of(after) or None  # the rest is for plans
    if name.endswith(("at_mic_music.train.json", "at_mic_music.valid.json", "remix.train.json")):
        return True
    return asked[0] != asked[1] or None  # lists may contain more than is asked for


# In a manifest line: the fields that prove a file, or tell what it was made from.
_PROOF = ("product", "path", "parameters", "bytes", "blake3")


def manifest_of(content):
    found = {}
    for line in (content or b"").split(b"\n"):
        try:
            fields = json.loads(line)
            told = [fields[name] for name in _PROOF]
            found[fields["product"], fields["path"]] = [*told, known_inputs(fields["inputs"])]
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
    return found


def known_inputs(inputs):
    """What identifies an input: its digest, or its size and mtime if it has none.

    Next to a digest these, and the name, only save reading the file.
    """
    return {
        role: (of["blake3"] or (of["bytes"], of["mtime_ns"]))
        if isinstance(of.get("path"), str)
        else known_inputs(of)
        for role, of in inputs.items()
    }


def do_damage(roots, tmp_path, rng):
    (split, place), pattern = rng.choice(list(TREES.items()))
    root = tmp_path / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(roots[split], root, copy_function=shutil.copy2)
    files = files_of(root, place, pattern)
    asked = [asked_for(root, split)]
    file, deed = rng.choice(files), rng.choice(DEEDS)
    name = str(file.relative_to(root))
    before = file.read_bytes()
    deed(file, rng, [other for other in files if other != file])
    after = file.read_bytes() if file.exists() else None
    asked.append(asked_for(root, split))
    done = verify(root, split)
    return f"{deed.__name__} {name}", matters(name, before, after, asked), done


def check(what, must_be_noticed, done):
    assert "Traceback" not in done.stderr, (what, done.stderr)
    assert done.returncode in (0, 1, 2), (what, done.stderr)
    if must_be_noticed:
        assert done.returncode, f"{what}: not noticed"
        assert done.stderr.strip() or json.loads(done.stdout)["problems"], what
    elif must_be_noticed is False:
        assert not done.returncode, (what, done.stdout)


def test_some_damage(roots, tmp_path):
    rng = random.Random(4)
    for _ in range(15):
        check(*do_damage(roots, tmp_path, rng))


@pytest.mark.slow
def test_much_damage(roots, tmp_path):
    rng = random.Random(5)
    wrong = []
    for _ in range(MANY):
        try:
            check(*do_damage(roots, tmp_path, rng))
        except AssertionError as error:
            wrong.append(str(error).splitlines()[0])
    assert not wrong


def test_problems_are_capped_with_a_count(tmp_path):
    root = tmp_path / "root"
    positions, stems = len(POSITIONS), 5
    songs = [f"Song {k}" for k in range(4)]
    make_root(root, songs=songs, seconds=(0.6,) * len(songs))
    assert run("generate", "--root", root, "-j", 1).returncode == 0
    count = len(songs) * positions * stems - 1
    _, *others = (root / "audio/at_mic_music").rglob("*.wav")  # without any they could be elsewhere
    for file in others:
        file.unlink()
    done = run("verify", "--root", root, "-j", 1)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.endswith(": missing")]
    assert len(lines) == 50 < count
    assert f"missing: and {count - 50} more (--all prints them)" in done.stdout
    everything = run("verify", "--root", root, "-j", 1, "--all").stdout
    assert len([line for line in everything.splitlines() if line.endswith(": missing")]) == count
    assert len(json.loads(verify(root, "train").stdout)["problems"]) >= count
