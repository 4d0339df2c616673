"""Train a small separator on random heads, rendered while it trains: see docs/train.md.

python docs/train.py [ROOT] [--seconds 60] [--workers 2]
"""

import argparse
import statistics
import time

import numpy as np
import soundfile
import torch
from torch.utils.data import DataLoader

import cadrender
from cadrender.stems import VDBO

SECONDS, BATCH = 3.0, 8
BINS = 513  # of a transform of 1024 frames


class Stored(torch.utils.data.Dataset):
    """The same stems read from the files that `cadrender generate` wrote: what there is without rendering."""

    def __init__(self, root, length):
        self.folders = [root.settings.output_music_dir / sample.path for sample in root.samples]
        self.frames = round(SECONDS * root.settings.sample_rate)
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        folder = self.folders[index % len(self.folders)]
        longest = soundfile.info(folder / "vocals.wav").frames - self.frames
        start = int(np.random.default_rng(index).integers(longest))
        return {
            stem: np.ascontiguousarray(
                soundfile.read(folder / f"{stem}.wav", self.frames, start, dtype="float32")[0].T
            )
            for stem in VDBO
        }


class Separator(torch.nn.Module):
    """A mask for the spectrogram of each stem, from those of both microphones."""

    def __init__(self, width=96):
        super().__init__()
        self.register_buffer("window", torch.hann_window(1024))
        self.layers = torch.nn.Sequential(
            torch.nn.Conv1d(2 * BINS, width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv1d(width, width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv1d(width, len(VDBO) * 2 * BINS, 1),
        )

    def magnitudes(self, signal):
        """(batch, 2, frames) to (batch, 2, bins, hops)."""
        spectra = torch.stft(signal.flatten(0, 1), 1024, 512, window=self.window, return_complex=True)
        return spectra.abs().unflatten(0, signal.shape[:2])

    def forward(self, mixture):
        """Magnitudes of the mixture to those of the stems, (batch, stems, 2, bins, hops)."""
        masks = self.layers(torch.log1p(10 * mixture).flatten(1, 2)).unflatten(1, (len(VDBO), 2, BINS))
        return torch.softmax(masks, dim=1) * mixture[:, None]


def loss_of(model, batch):
    """How far the estimated magnitudes are from the stems', relative to the mixture's."""
    mixture = model.magnitudes(batch["mixture"])
    stems = torch.stack([model.magnitudes(batch[stem]) for stem in VDBO], dim=1)
    return (model(mixture) - stems).abs().mean() / mixture.mean()


def loader_of(dataset, workers):
    """A loader as one has it for training."""
    return DataLoader(dataset, BATCH, num_workers=workers, persistent_workers=workers > 0)


def rates(loaders, seconds):
    """Items a second of each loader: medians of three rounds, in turns."""
    found = [[] for _ in loaders]
    streams = [iter(loader) for loader in loaders]
    for _ in range(3):
        for loader, stream, results in zip(loaders, streams, found, strict=True):
            for _ in range(1 + loader.num_workers * (loader.prefetch_factor or 0)):
                next(stream)  # what was fetched while the other loader had its turn
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                count += len(next(stream)["vocals"])
            results.append(count / (time.perf_counter() - began))
    return [statistics.median(results) for results in found]


def train(loader, seconds):
    """Train for some seconds; the losses of all steps."""
    model = Separator()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses, told = [], 0
    began = time.perf_counter()
    for batch in loader:
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        passed = time.perf_counter() - began
        if passed >= told + seconds / 6 or passed >= seconds:
            recent = losses[-10:]
            print(f"{passed:4.0f} s  step {len(losses):4d}  loss {sum(recent) / len(recent):.3f}", flush=True)
            told = passed
        if passed >= seconds:
            break
    return losses


def main():
    """Say how fast items come, then train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?", default="cadrender-demo", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=2, help="of the loader (default: %(default)d)")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(max(1, torch.get_num_threads() - arguments.workers // 2))

    root = cadrender.open_root(arguments.root)
    rendered = cadrender.Dataset(root, SECONDS, heads="any", mixture="sum", length=1_000_000)
    print(f"{rendered}: {len(root.tracks)} songs at {len(root.positions)} head positions")
    stored = Stored(root, 1_000_000)
    if all((folder / f"{stem}.wav").exists() for folder in stored.folders for stem in VDBO):
        stems = cadrender.Dataset(root, SECONDS, VDBO, heads="any", length=1_000_000)
        loaders = [loader_of(dataset, arguments.workers) for dataset in (stems, stored)]
        rendering, reading = rates(loaders, arguments.seconds / 30)
        print(f"four stems rendered, any head: {rendering:6.1f} items a second")
        print(f"four stems read from files:    {reading:6.1f} items a second")
    else:
        print("four stems read from files:    there are none (cadrender generate makes them)")
    losses = train(loader_of(rendered, arguments.workers), arguments.seconds)
    print(f"trained on {BATCH * len(losses)} items, no two from the same place at the same head")


if __name__ == "__main__":
    try:
        main()
    except cadrender.CadrenderError as error:
        raise SystemExit(f"{error}") from None
