import os
import subprocess
import sys

import numpy as np
import pytest

from cadrender.corpora.convert import RECORD, convert, read_song
from cadrender.corpora.layout import SourceTrack
from cadrender.errors import CadrenderError
from cadrender.metadata import Track
from tests.corpora.trees import read, tone, tree_bytes, write

TRACK = Track("Song", "Rock", "Here", "CC0", "corpus", "corpus/Song")


def song(notes=(), **sources):
    return SourceTrack("Song", sources, "Rock", "Here", "CC0", notes)


def put(tmp_path, source, **options):
    return convert(source, TRACK, tmp_path / "root" / "Song", tmp_path, **options)


def noise(seconds=0.5, seed=1):
    return np.random.default_rng(seed).integers(-9000, 9000, (round(44100 * seconds), 2), dtype=np.int16)


def test_stereo_pcm_16_keeps_its_samples(tmp_path):
    signal = np.concatenate([noise(2.0), [[-32768, 32767]]]).astype(np.int16)
    outcome = put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", signal),)))
    assert np.array_equal(read(tmp_path / "root/Song/mixture.wav"), signal)
    assert (outcome.problem, outcome.notes, outcome.kept) == ("", (), False)
    assert outcome.seconds == len(signal) / 44100


def test_only_the_stems_there_are(tmp_path):
    path = write(tmp_path / "mix.wav", noise())
    put(tmp_path, song(mixture=(path,), vocals=(path,)))
    assert sorted(tree_bytes(tmp_path / "root")) == [
        f"Song/{name}" for name in (RECORD, "mixture.wav", "vocals.wav")
    ]


def test_stems_are_summed_and_silence_is_silent(tmp_path):
    signals = [noise(seed=seed) for seed in range(3)]
    paths = tuple(write(tmp_path / f"{n}.wav", signal) for n, signal in enumerate(signals))
    put(tmp_path, song(mixture=paths[:1], other=paths[1:], drums=()))
    assert np.array_equal(read(tmp_path / "root/Song/other.wav"), signals[1] + signals[2])
    assert np.array_equal(read(tmp_path / "root/Song/drums.wav"), np.zeros_like(signals[0]))


def test_finer_samples_are_rounded(tmp_path):
    steps = np.array([0.4, 0.6, -0.4, -0.6, 100.5, 101.5, 32767.6, -32768.0])
    signal = np.tile(np.stack([steps, -steps * 0.5], axis=1) / 32768, (1000, 1))
    put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", signal, subtype="DOUBLE"),)))
    expected = np.tile([0, 1, 0, -1, 100, 102, 32767, -32768], 1000)
    assert np.array_equal(read(tmp_path / "root/Song/mixture.wav")[:, 0], expected)


def test_overload_scales_the_whole_song_alike(tmp_path):
    voice = write(tmp_path / "voice.wav", tone(440, level=0.8))
    choir = write(tmp_path / "choir.wav", tone(440, level=0.8))
    drums = write(tmp_path / "drums.wav", tone(100, level=0.5))
    outcome = put(tmp_path, song(mixture=(drums,), vocals=(voice, choir), drums=(drums,), bass=()))
    vocals = read(tmp_path / "root/Song/vocals.wav")
    assert np.abs(vocals.astype(int)).max() == 32767
    gain = 32767 / 32768 / 1.6
    for stem, level in {"vocals": 1.6, "mixture": 0.5, "drums": 0.5}.items():
        frequency = 440 if stem == "vocals" else 100
        expected = tone(frequency, level=level * gain * 32768)
        assert np.abs(read(tmp_path / f"root/Song/{stem}.wav") - expected).max() < 3
    assert outcome.notes == ("all its files are scaled by -4.08 dB, since vocals overloads",)


def test_other_lengths_are_fitted_to_the_mixture_and_reported(tmp_path):
    signal = noise(1.0)
    mix = write(tmp_path / "mix.wav", signal)
    short = write(tmp_path / "short.wav", signal[:22050])
    long = write(tmp_path / "long.wav", np.concatenate([signal, signal]))
    nearly = write(tmp_path / "nearly.wav", signal[:-200])
    outcome = put(tmp_path, song(mixture=(mix,), vocals=(short,), drums=(long,), bass=(nearly,)))
    stems = {stem: read(tmp_path / f"root/Song/{stem}.wav") for stem in ("vocals", "drums", "bass")}
    assert np.array_equal(stems["vocals"], np.concatenate([signal[:22050], np.zeros_like(signal[22050:])]))
    assert np.array_equal(stems["drums"], signal)
    assert np.array_equal(stems["bass"][:-200], signal[:-200])
    assert not stems["bass"][-200:].any()
    assert sorted(outcome.notes) == [
        "long.wav is 1.000 s longer than the mixture: cut",
        "short.wav is 0.500 s shorter than the mixture: padded",
    ]


def test_a_mixture_of_several_files_is_their_sum(tmp_path):
    signals = [noise(0.5), noise(1.0, seed=2)]
    paths = tuple(write(tmp_path / f"{n}.wav", signal) for n, signal in enumerate(signals))
    put(tmp_path, song(mixture=paths, vocals=paths[:1]))
    mixture, vocals = (read(tmp_path / f"root/Song/{stem}.wav") for stem in ("mixture", "vocals"))
    expected = signals[1].copy()
    expected[:22050] += signals[0]
    assert np.array_equal(mixture, expected)
    assert np.array_equal(vocals[:22050], signals[0])
    assert len(vocals) == len(mixture)


def test_a_song_that_is_there_is_kept(tmp_path):
    source = song(mixture=(write(tmp_path / "mix.wav", noise()),), notes=("has bleed",))
    first = put(tmp_path, source)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "root/Song").iterdir()}
    second = put(tmp_path, source)
    assert (first.kept, second.kept) == (False, True)
    assert second.notes == first.notes == ("has bleed",)
    assert second.seconds == first.seconds
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "root/Song").iterdir()} == stamps


@pytest.mark.parametrize(
    "change", ["source", "stems", "cut", "gone", "other subtype", "no record", "bad record"]
)
def test_a_song_that_is_not_whole_is_made_anew(tmp_path, change):
    folder = tmp_path / "root" / "Song"
    mix, voice = write(tmp_path / "mix.wav", noise()), write(tmp_path / "voice.wav", noise(seed=2))
    source = song(mixture=(mix,), vocals=(voice,))
    put(tmp_path, source)
    whole = tree_bytes(folder)
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
            (folder / RECORD).unlink()
        case "bad record":
            (folder / RECORD).write_text('{"format": 2, "sources": 3}')
    if change not in ("source", "stems"):
        assert read_song(folder) is None
    assert not put(tmp_path, source).kept
    if change == "source":
        assert np.array_equal(read(folder / "mixture.wav"), noise(seed=3))
    elif change == "stems":
        assert sorted(path.name for path in folder.iterdir()) == [RECORD, "mixture.wav"]
    else:
        assert tree_bytes(folder) == whole


def test_new_fields_change_the_record_alone(tmp_path):
    source = song(mixture=(write(tmp_path / "mix.wav", noise()),))
    put(tmp_path, source)
    licensed = Track("Song", "Rock", "Here", "CC BY", "corpus", "corpus/Song")
    outcome = convert(source, licensed, tmp_path / "root" / "Song", tmp_path)
    assert outcome.kept
    assert read_song(tmp_path / "root" / "Song").track == licensed


def test_a_song_that_fails_leaves_nothing(tmp_path):
    whole = write(tmp_path / "mix.wav", noise())
    broken = tmp_path / "voice.wav"
    broken.write_bytes(whole.read_bytes()[:5000])
    outcome = put(tmp_path, song(mixture=(whole,), vocals=(broken,)))
    assert str(broken) in outcome.problem
    assert not (tmp_path / "root" / "Song").exists()


def test_too_short(tmp_path):
    path = write(tmp_path / "mix.wav", noise(0.5))
    outcome = put(tmp_path, song(mixture=(path,)), minimum_seconds=1.0)
    assert outcome.problem == f"{path}: is too short: 0.50 s; expected at least 1 s"
    assert not put(tmp_path, song(mixture=(path,)), minimum_seconds=0.5).problem
    empty = write(tmp_path / "empty.wav", np.zeros((0, 2)))
    assert "is too short: 0.00 s" in put(tmp_path, song(mixture=(empty,))).problem


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)  # it has ended, but nobody has asked how
    folder = tmp_path / "root" / "Song"
    folder.mkdir(parents=True)
    gone = [folder / f".mixture.wav.{dead.pid}.part", folder / f".cadrender-{dead.pid}-0a1b.tmp"]
    gone += [folder / f".mixture.wav.{zombie.pid}.part"]
    stay = [folder / f".mixture.wav.{os.getppid()}.part", folder / "mine.txt"]
    for path in (*gone, *stay):
        path.touch()
    put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", noise()),)))
    zombie.wait()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stay)


def test_a_root_that_cannot_be_written_stops_everything(tmp_path):
    (tmp_path / "root").write_text("no folder")
    with pytest.raises(CadrenderError, match="Song: cannot be written: Not a directory"):
        put(tmp_path, song(mixture=(write(tmp_path / "mix.wav", noise()),)))


def test_long_songs_are_streamed(tmp_path):
    """A five-minute song at another rate is 200 MB as float64, and two files are summed."""
    script = """
import resource, sys
from pathlib import Path
from cadrender.corpora.convert import convert
from cadrender.corpora.layout import SourceTrack
from cadrender.metadata import Track
folder = Path(sys.argv[1])
mix = folder / "mix.flac"
sources = {"mixture": (mix,), "vocals": (mix,) * 2}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = convert(SourceTrack("s", sources, "", "", ""), Track(*"ssssss"), folder / "out", folder)
print(outcome.seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, outcome.problem)
"""
    write(tmp_path / "mix.flac", np.tile(tone(440, 1.0, 48000, level=0.1), (300, 1)), 48000)
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, megabytes, *problem = result.stdout.split()
    assert float(seconds) == 300
    assert int(megabytes) < 60
    assert not problem
