import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from cadrender.corpora import SongCatalogue
from cadrender.corpora.layout import Corpus, SourceTrack
from cadrender.errors import AudioError, CadrenderError
from cadrender.pipeline.plan import make_plan
from cadrender.store.manifest import Input, Manifest
from tests.corpora.trees import ingest, read, tone, tree_bytes, write

MANIFEST = "metadata/corpus.manifest.jsonl"


def song(notes=(), **sources):
    return SourceTrack("Song", sources, "Rock", "Here", "CC0", notes)


def corpus(tmp_path, source, minimum_seconds=0.0):
    return Corpus("corpus", tmp_path, (source,), minimum_seconds=minimum_seconds)


def put(tmp_path, source, **options):
    """Convert one song; what is said of it, and what the run did."""
    catalogue, summary = ingest(corpus(tmp_path, source, **options), tmp_path / "root")
    return [note for _, note in catalogue.notes], summary


def place(tmp_path, stem="mixture"):
    return tmp_path / f"root/audio/music/corpus/Song/{stem}.wav"


def reasons(tmp_path, source):
    """Why which of the song's files are not current."""
    (share,) = make_plan(SongCatalogue(corpus(tmp_path, source), tmp_path / "root")).shares
    return {file.stem: reason.kind for file, reason in share.reasons.items()}


def noise(seconds=0.5, seed=1):
    return np.random.default_rng(seed).integers(-9000, 9000, (round(44100 * seconds), 2), dtype=np.int16)


def test_stereo_pcm_16_keeps_its_samples(tmp_path):
    signal = np.concatenate([noise(2.0), [[-32768, 32767]]]).astype(np.int16)
    notes, summary = put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", signal),)))
    assert np.array_equal(read(place(tmp_path)), signal)
    (tally,) = summary.tallies
    assert (notes, summary.failures, tally.done, tally.frames) == ([], [], 1, len(signal))


def test_only_the_stems_there_are(tmp_path):
    path = write(tmp_path / "mix.wav", noise())
    put(tmp_path, song(mixture=(path,), vocals=(path,)))
    assert sorted(tree_bytes(tmp_path / "root/audio")) == [
        f"music/corpus/Song/{stem}.wav" for stem in ("mixture", "vocals")
    ]


def test_stems_are_summed_and_silence_is_silent(tmp_path):
    signals = [noise(seed=seed) for seed in range(3)]
    paths = tuple(write(tmp_path / f"{n}.wav", signal) for n, signal in enumerate(signals))
    put(tmp_path, song(mixture=paths[:1], other=paths[1:], drums=()))
    assert np.array_equal(read(place(tmp_path, "other")), signals[1] + signals[2])
    assert np.array_equal(read(place(tmp_path, "drums")), np.zeros_like(signals[0]))


def test_finer_samples_are_rounded(tmp_path):
    steps = np.array([0.4, 0.6, -0.4, -0.6, 100.5, 101.5, 32767.6, -32768.0])
    signal = np.tile(np.stack([steps, -steps * 0.5], axis=1) / 32768, (1000, 1))
    put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", signal, subtype="DOUBLE"),)))
    expected = np.tile([0, 1, 0, -1, 100, 102, 32767, -32768], 1000)
    assert np.array_equal(read(place(tmp_path, "mixture"))[:, 0], expected)


def test_overload_scales_the_whole_song_alike(tmp_path):
    voice = write(tmp_path / "voice.wav", tone(440, level=0.8))
    choir = write(tmp_path / "choir.wav", tone(440, level=0.8))
    drums = write(tmp_path / "drums.wav", tone(100, level=0.5))
    notes, _ = put(tmp_path, song(mixture=(drums,), vocals=(voice, choir), drums=(drums,), bass=()))
    vocals = read(place(tmp_path, "vocals"))
    assert np.abs(vocals.astype(int)).max() == 32767
    gain = 32767 / 32768 / 1.6
    for stem, level in {"vocals": 1.6, "mixture": 0.5, "drums": 0.5}.items():
        frequency = 440 if stem == "vocals" else 100
        expected = tone(frequency, level=level * gain * 32768)
        assert np.abs(read(place(tmp_path, stem)) - expected).max() < 3
    assert notes == ["all its files are scaled by -4.08 dB, since vocals overloads"]


def test_other_lengths_are_fitted_to_the_mixture_and_reported(tmp_path):
    signal = noise(1.0)
    mix = write(tmp_path / "mix.wav", signal)
    short = write(tmp_path / "short.wav", signal[:22050])
    long = write(tmp_path / "long.wav", np.concatenate([signal, signal]))
    nearly = write(tmp_path / "nearly.wav", signal[:-200])
    notes, _ = put(tmp_path, song(mixture=(mix,), vocals=(short,), drums=(long,), bass=(nearly,)))
    stems = {stem: read(place(tmp_path, stem)) for stem in ("vocals", "drums", "bass")}
    assert np.array_equal(stems["vocals"], np.concatenate([signal[:22050], np.zeros_like(signal[22050:])]))
    assert np.array_equal(stems["drums"], signal)
    assert np.array_equal(stems["bass"][:-200], signal[:-200])
    assert not stems["bass"][-200:].any()
    assert sorted(notes) == [
        "long.wav is 1.000 s longer than the mixture: cut",
        "short.wav is 0.500 s shorter than the mixture: padded",
    ]


def test_a_mixture_of_several_files_is_their_sum(tmp_path):
    signals = [noise(0.5), noise(1.0, seed=2)]
    paths = tuple(write(tmp_path / f"{n}.wav", signal) for n, signal in enumerate(signals))
    put(tmp_path, song(mixture=paths, vocals=paths[:1]))
    mixture, vocals = (read(place(tmp_path, stem)) for stem in ("mixture", "vocals"))
    expected = signals[1].copy()
    expected[:22050] += signals[0]
    assert np.array_equal(mixture, expected)
    assert np.array_equal(vocals[:22050], signals[0])
    assert len(vocals) == len(mixture)


def test_every_sample_of_a_song(tmp_path):
    """Against NumPy and soxr alone: other rates, mono, sums, other lengths, and an overload."""
    random = np.random.default_rng(3)
    rates = {"vocals": 44100, "choir": 48000, "drums": 22050, "bass": 44100, "other": 96000}
    paths, signals = {}, {}
    for name, rate in rates.items():
        samples = random.uniform(-0.7, 0.7, (round(rate * random.uniform(0.8, 1.2)), 1 + (name != "bass")))
        paths[name] = write(tmp_path / f"{name}.wav", samples, rate, subtype="FLOAT")
        stored = soundfile.read(paths[name], always_2d=True)[0]
        signals[name] = stored if rate == 44100 else soxr.resample(stored, rate, 44100, "VHQ")
    frames = len(signals["drums"])

    def total(*names):
        sum_of_all = np.zeros((frames, 2))
        for name in names:
            part = signals[name][:frames]
            sum_of_all[: len(part)] += part
        return sum_of_all

    files = {
        "mixture": ("drums",),
        "vocals": ("vocals", "choir"),
        "drums": (),
        "bass": ("bass",),
        "other": ("other",),
    }
    put(tmp_path, song(**{stem: tuple(paths[name] for name in names) for stem, names in files.items()}))
    expected = {stem: total(*names) for stem, names in files.items()}
    peak = max(np.abs(signal).max() for signal in expected.values())
    assert peak > 1
    for stem, signal in expected.items():
        found = read(place(tmp_path, stem))
        exact = signal * (32767 / peak)
        assert found.shape == exact.shape
        np.testing.assert_allclose(
            found, exact, rtol=0, atol=0.5 + 1e-6
        )  # soxr's blocks differ in the last bits


@pytest.mark.parametrize("loud", [False, True])
def test_a_signal_reads_what_its_file_holds(tmp_path, loud):
    mix, voice = write(tmp_path / "mix.wav", noise(1.0)), write(tmp_path / "voice.wav", noise(0.7, seed=2))
    source = song(mixture=(mix,), vocals=(voice,) * (4 if loud else 1), drums=())
    catalogue = SongCatalogue(corpus(tmp_path, source), tmp_path / "root")
    before = {output.file: output.signal.read(100, 5000, "float64") for output in catalogue.outputs()}
    assert len(before) == 3 and not (tmp_path / "root").exists()
    notes, _ = put(tmp_path, source)
    assert bool([note for note in notes if "scaled" in note]) == loud
    for output in catalogue.outputs():
        np.testing.assert_array_equal(before[output.file], soundfile.read(output.file, 5000, 100)[0])
        for start, frames in ((0, -1), (-7, -1), (44099, 10), (44100, 5), (12345, 678)):
            for dtype in ("int16", "int32", "float32", "float64"):
                expected = soundfile.read(output.file, frames, start, dtype=dtype)[0]
                found = output.signal.read(start, frames, dtype)
                np.testing.assert_array_equal(found, expected)
                assert found.dtype == expected.dtype
    write(mix, noise(0.5, seed=9))
    os.utime(mix, ns=(1, 1))
    assert len(next(catalogue.outputs()).signal.read()) == 22050
    mix.unlink()
    with pytest.raises(AudioError, match=r"mix\.wav"):
        next(catalogue.outputs()).signal.read()


def test_a_song_that_is_there_is_kept(tmp_path):
    source = song(mixture=(write(tmp_path / "mix.wav", noise()),), notes=("has bleed",))
    first, _ = put(tmp_path, source)
    before = place(tmp_path).stat()
    second, summary = put(tmp_path, source)
    assert second == first == ["has bleed"]
    assert (summary.tallies[0].done, summary.tallies[0].skipped) == (0, 1)
    after = place(tmp_path).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_was_found_is_recorded_and_said_again(tmp_path):
    mix, long = write(tmp_path / "mix.wav", noise(1.0)), write(tmp_path / "long.wav", noise(2.0))
    source = song(mixture=(mix,), vocals=(long, long, long, long))
    notes = [
        "long.wav is 1.000 s longer than the mixture: cut",
        "all its files are scaled by -0.82 dB, since vocals overloads",
    ]
    notes[1] = notes[1].replace(
        "-0.82", f"{20 * np.log10(32767 / (4 * np.abs(noise(2.0)[:44100].astype(int)).max())):.2f}"
    )
    assert put(tmp_path, source)[0] == notes
    assert put(tmp_path, source)[0] == notes
    manifest = Manifest(tmp_path / "root" / MANIFEST, tmp_path)
    records = manifest.read()
    assert [record.path for record in records.values()] == [
        "corpus/Song/mixture.wav",
        "corpus/Song/vocals.wav",
    ]
    for record in records.values():
        assert record.notes == tuple(notes)
        assert list(record.inputs) == ["mixture.0", *(f"vocals.{n}" for n in range(4))]
        vocals = record.inputs["vocals.1"]
        assert isinstance(vocals, Input) and vocals.path == "long.wav"
        status = long.stat()
        assert record.inputs["vocals.1"] == Input("long.wav", status.st_size, status.st_mtime_ns, "")
    assert manifest.file.read_text().count('"notes"') == 2
    manifest.file.unlink()
    put(tmp_path, song(mixture=(mix,)))
    assert manifest.read() and "notes" not in manifest.file.read_text()


@pytest.mark.parametrize(
    "change", ["source", "stems", "cut", "gone", "other subtype", "no record", "bad record"]
)
def test_a_song_that_is_not_whole_is_made_anew(tmp_path, change):
    folder, manifest = place(tmp_path).parent, tmp_path / "root" / MANIFEST
    mix, voice = write(tmp_path / "mix.wav", noise()), write(tmp_path / "voice.wav", noise(seed=2))
    source = song(mixture=(mix,), vocals=(voice,))
    put(tmp_path, source)
    whole, before = tree_bytes(folder), (folder / "mixture.wav").stat().st_mtime_ns
    assert reasons(tmp_path, source) == {}
    match change:
        case "source":
            write(mix, noise(seed=3))
            os.utime(mix, ns=(1, 1))
        case "stems":
            source = song(mixture=(mix,))
        case "cut":
            (folder / "vocals.wav").write_bytes(whole["vocals.wav"][:-4])
        case "gone":
            (folder / "vocals.wav").unlink()
        case "other subtype":
            write(folder / "vocals.wav", noise(seed=2), subtype="PCM_24")
        case "no record":
            manifest.unlink()
        case "bad record":
            manifest.write_bytes(manifest.read_bytes().replace(b'"inputs"', b'"outputs"'))
    found = reasons(tmp_path, source)
    if change in ("cut", "gone", "other subtype"):  # the others go with it: one factor scales them all
        assert found["mixture"] == "together" and found["vocals"] != "together"
    assert found.keys() == ({"mixture"} if change == "stems" else {"mixture", "vocals"})
    _, summary = put(tmp_path, source)
    assert (summary.tallies[0].done, summary.failures) == (1, [])
    assert (folder / "mixture.wav").stat().st_mtime_ns > before
    if change == "source":
        assert np.array_equal(read(folder / "mixture.wav"), noise(seed=3))
    elif change == "stems":
        assert sorted(path.name for path in folder.iterdir()) == ["mixture.wav"]
    else:
        assert tree_bytes(folder) == whole
    assert reasons(tmp_path, source) == {}


def test_a_source_of_another_time_is_taken_for_another(tmp_path):
    """Without a digest nothing tells that it is the same."""
    mix = write(tmp_path / "mix.wav", noise())
    put(tmp_path, song(mixture=(mix,)))
    os.utime(mix, ns=(1, 1))
    assert reasons(tmp_path, song(mixture=(mix,))) == {"mixture": "input"}


def test_a_silent_stem_that_was_not_there(tmp_path):
    mix = write(tmp_path / "mix.wav", noise())
    put(tmp_path, song(mixture=(mix,)))
    assert reasons(tmp_path, song(mixture=(mix,), drums=())) == {"mixture": "parameters", "drums": "missing"}


def test_new_fields_change_the_list_alone(tmp_path):
    source = song(mixture=(write(tmp_path / "mix.wav", noise()),))
    put(tmp_path, source)
    before = place(tmp_path).stat().st_ino
    licensed = SourceTrack("Song", source.sources, "Rock", "Here", "CC BY")
    put(tmp_path, licensed)
    assert place(tmp_path).stat().st_ino == before
    (track,) = json.loads((tmp_path / "root/metadata/corpus.json").read_bytes())
    assert track["License"] == "CC BY"


def test_a_song_that_fails_leaves_nothing(tmp_path):
    whole = write(tmp_path / "mix.wav", noise())
    broken = tmp_path / "voice.wav"
    broken.write_bytes(whole.read_bytes()[:5000])
    _, summary = put(tmp_path, song(mixture=(whole,), vocals=(broken,)))
    assert len(summary.failures) == 1 and str(broken) in summary.failures[0]
    assert not place(tmp_path).parent.exists()


def test_too_short(tmp_path):
    path = write(tmp_path / "mix.wav", noise(0.5))
    _, summary = put(tmp_path, song(mixture=(path,)), minimum_seconds=1.0)
    assert summary.failures == [f"{path}: is too short: 0.50 s; expected at least 1 s"]
    assert not put(tmp_path, song(mixture=(path,)), minimum_seconds=0.5)[1].failures
    empty = write(tmp_path / "empty.wav", np.zeros((0, 2)))
    assert "is too short: 0.00 s" in put(tmp_path, song(mixture=(empty,)))[1].failures[0]


def test_a_source_that_changes_while_it_is_decoded(tmp_path):
    mix = write(tmp_path / "mix.wav", noise())

    class Changing:
        """A sink in whose time the source changes."""

        pcm16 = True
        folder = None

        def restart(self):
            raise AssertionError("nothing was written yet")

        def write(self, piece):
            os.utime(mix, ns=(1, 1))

    catalogue = SongCatalogue(corpus(tmp_path, song(mixture=(mix,))), tmp_path / "root")
    (batch,) = catalogue.batches()
    with pytest.raises(AudioError, match=r"mix\.wav: changed while it was being read"):
        batch.make(batch.outputs, [Changing()])


def test_the_temporary_files_of_killed_runs_go(tmp_path):
    folder = place(tmp_path).parent
    folder.mkdir(parents=True)
    gone, stays = folder / ".mixture.wav.part", folder / "mine.txt"
    gone.write_bytes(b"RIFF")
    stays.touch()
    put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", noise()),)))
    assert not gone.exists() and stays.exists()


def test_what_an_unreleased_version_left_is_converted_again(tmp_path):
    folder = place(tmp_path).parent
    folder.mkdir(parents=True)
    (folder / ".ingest.json").write_text('{"format": 2}')
    write(folder / "mixture.wav", noise(seed=5))
    write(folder / "bass.wav", noise(seed=5))
    put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", noise()),)))
    assert [file.name for file in folder.iterdir()] == ["mixture.wav"]
    assert np.array_equal(read(folder / "mixture.wav"), noise())


def test_a_root_that_cannot_be_written_stops_everything(tmp_path):
    (tmp_path / "root").write_text("no folder")
    with pytest.raises(CadrenderError, match=r"root/.*: cannot be read: Not a directory"):
        put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", noise()),)))


@pytest.mark.slow
def test_long_songs_are_streamed(tmp_path):
    """A five-minute song at another rate is 200 MB as float64, and two files are summed."""
    script = """
import resource, sys
from pathlib import Path
from cadrender.corpora import Corpus, SourceTrack, SongCatalogue
from cadrender.pipeline.plan import make_plan
folder = Path(sys.argv[1])
mix = folder / "mix.flac"
song = SourceTrack("s", {"mixture": (mix,), "vocals": (mix,) * 2}, "", "", "")
plan = make_plan(SongCatalogue(Corpus("c", folder, (song,)), folder / "root"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summary = plan.run(1)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(summary.tallies[0].frames / 2 / 44100, grown, *summary.failures)
"""
    write(tmp_path / "mix.flac", np.tile(tone(440, 1.0, 48000, level=0.1), (300, 1)), 48000)
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, megabytes, *problem = result.stdout.split()
    assert float(seconds) == 300
    assert int(megabytes) < 60
    assert not problem
