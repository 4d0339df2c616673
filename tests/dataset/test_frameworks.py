"""With PyTorch's loader, and with no framework at all; the examples that are shown."""

import hashlib
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

import cadrender
from cadrender.demo import make_root as make_demo_root
from cadrender.errors import AudioError
from cadrender.stems import STEMS
from tests import pages
from tests.dataset.items import FRAMES, NAMES, dataset, needs_torch
from tests.roots import REPOSITORY, environment, invoke

WITHOUT_TORCH = """
import hashlib, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "tensorflow", "jax", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import cadrender
items = cadrender.Dataset(sys.argv[1], seconds=0.5, heads="any", mixture="sum", gain_db=(-3, 3), swap_channels=True)
items.set_epoch(1)
print(hashlib.sha256(b"".join(items[k]["mixture"].tobytes() for k in range(len(items)))).hexdigest())
"""


def test_without_a_framework_everything_works(root):
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, root],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    items = dataset(root, heads="any", mixture="sum", gain_db=(-3, 3), swap_channels=True)
    items.set_epoch(1)
    digest = hashlib.sha256(b"".join(item["mixture"].tobytes() for item in items)).hexdigest()
    assert result.stdout.strip() == digest


@needs_torch
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize(
    ("workers", "method"),
    [
        (0, None),
        (2, "fork"),
        (4, "fork"),
        pytest.param(2, "spawn", marks=pytest.mark.slow),
        pytest.param(4, "spawn", marks=pytest.mark.slow),
    ],
)
def test_a_loader_gives_the_same_items_with_any_workers(root, workers, method):
    from torch.utils.data import DataLoader

    items = dataset(root, heads="any", mixture="sum", swap_channels=True, length=10)
    loader = DataLoader(
        items,
        batch_size=4,
        num_workers=workers,
        multiprocessing_context=method,
        persistent_workers=workers > 0,
    )
    for epoch in (0, 3):
        items.set_epoch(epoch)
        count = 0
        for batch in loader:
            assert batch["mixture"].shape[1:] == (2, FRAMES) and batch["mixture"].is_contiguous()
            for k, song in enumerate(batch["song"]):
                item = items[count]
                assert song == item["song"] and batch["sample"][k] == item["sample"]
                assert (
                    batch["start"][k].item() == item["start"]
                    and batch["swapped"][k].item() is item["swapped"]
                )
                for key in (*STEMS, "gains"):
                    np.testing.assert_array_equal(batch[key][k].numpy(), item[key])
                count += 1
        assert count == 10


@needs_torch
def test_a_loader_of_mixed_songs(root):
    from torch.utils.data import DataLoader

    items = dataset(root, songs="mixed", mixture="sum", gain_db=(-3, 3))
    (batch,) = DataLoader(items, batch_size=len(items), num_workers=2)
    np.testing.assert_array_equal(batch["start"].numpy(), [item["start"] for item in items])
    np.testing.assert_array_equal(batch["gain_db"].numpy(), [item["gain_db"] for item in items])


@needs_torch
def test_a_loader_reports_a_damaged_song(own):
    from torch.utils.data import DataLoader

    file = own / "audio/music/train" / NAMES[2] / "drums.wav"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(AudioError, match=r"drums\.wav: truncated"):
        for _ in DataLoader(dataset(own), num_workers=2):
            pass


# What is shown must work as it stands


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a small demo root, whose at-mic files are generated."""
    folder = tmp_path_factory.mktemp("beside")
    make_demo_root(folder / "cadrender-demo", songs=1, subjects=2)
    result = invoke("generate", "--root", folder / "cadrender-demo", "-j", "1")
    assert result.returncode == 0, result.stderr
    return folder


def run_python(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )


@needs_torch
def test_the_readme_example_runs_beside_a_demo_folder(demo):
    example = pages.python_under("README.md", "Train on it")
    result = run_python("-c", example, cwd=demo)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("torch.Size([4, 2, 264600]) torch.Size([4, 2, 264600])") == 2


@needs_torch
@pytest.mark.slow
def test_the_worked_example_runs_beside_a_demo_folder(demo):
    script = REPOSITORY / "docs/train.py"
    result = run_python(script, "--seconds", "3", cwd=demo)
    assert result.returncode == 0, result.stderr
    for line in ("four stems rendered, any head", "four stems read from files"):
        assert float(re.findall(rf"{line}: +([\d.]+) items a second", result.stdout)[0]) > 0
    assert re.search(r" s  step +\d+  loss \d\.\d{3}\n", result.stdout)
    result = run_python(script, "nowhere", cwd=demo)
    assert (result.returncode, result.stderr) == (
        1,
        f"{demo}/nowhere: no such folder: a root has audio/ and metadata/\n",
    )


@needs_torch
@pytest.mark.slow
def test_the_worked_example_learns(demo):
    import torch

    spec = spec_from_file_location("train", REPOSITORY / "docs/train.py")
    assert spec is not None and spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    torch.manual_seed(0)
    items = cadrender.Dataset(
        demo / "cadrender-demo", 1.0, heads="any", mixture="sum", length=25 * example.BATCH
    )
    losses = example.train(example.loader_of(items, 0), 1e9)
    assert len(losses) == 25
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
