"""Small corpora in the true layouts, made from tones."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
import yaml

from cadrender.corpora import SongCatalogue
from cadrender.pipeline.plan import make_plan

RATE = 44100


def tone(frequency, seconds=1.0, rate=RATE, channels=2, level=0.25):
    """A sine that differs between the channels by its phase; shape (frames, channels)."""
    time = np.arange(round(seconds * rate)) / rate
    return np.stack(
        [level * np.sin(2 * np.pi * frequency * time + phase) for phase in (0.0, 0.7)[:channels]], axis=1
    )


def write(path, signal, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, signal, rate, **options)
    return path


def read(path):
    """The samples of a root's file, which must be what all of them are."""
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype, info.format) == (RATE, 2, "PCM_16", "WAV"), path
    return soundfile.read(path, dtype="int16")[0]


def medleydb_song(audio, title, instruments, /, *, seconds=1.0, metadata=None, **fields):
    """One MedleyDB song; stem n is a tone of 100 n Hz, the mixture their sum. Returns the stems' signals."""
    folder = audio / title
    signals = [tone(100 * n, seconds) / len(instruments) for n in range(1, len(instruments) + 1)]
    stems = {}
    for n, (instrument, signal) in enumerate(zip(instruments, signals, strict=True), 1):
        name = f"{title}_STEM_{n:02d}.wav"
        write(folder / f"{title}_STEMS" / name, signal)
        write(folder / f"{title}_RAW" / f"{title}_RAW_{n:02d}_01.wav", signal[:100])
        raw = {"R01": {"filename": f"{title}_RAW_{n:02d}_01.wav", "instrument": instrument}}
        stems[f"S{n:02d}"] = {
            "component": "bass",
            "filename": name,
            "instrument": instrument,
            "raw": raw,
        }
    write(folder / f"{title}_MIX.wav", sum(signals, np.zeros((round(seconds * RATE), 2))))
    card = {
        "album": "",
        "artist": title.partition("_")[0],
        "excerpt": "no",
        "genre": "Rock",
        "has_bleed": "no",
        "instrumental": "no",
        "mix_filename": f"{title}_MIX.wav",
        "origin": "Independent Artist",
        "raw_dir": f"{title}_RAW",
        "release date": None,
        "stem_dir": f"{title}_STEMS",
        "stems": stems,
        "title": title.partition("_")[2],
        "version": 1.2,
        "website": [],
    }
    place = (metadata or folder) / f"{title}_METADATA.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(yaml.safe_dump(card | fields))
    return signals


def bach10(folder, pieces=1, saxophone="saxphone", seconds=1.0):
    """Bach10's chorales, all of them mono."""
    for n in range(1, pieces + 1):
        title = f"{n:02d}-AchGottundHerr"
        for m, part in enumerate(("violin", "clarinet", saxophone, "bassoon"), 1):
            write(folder / title / f"{title}-{part}.wav", tone(110 * m, seconds, channels=1, level=0.2))
        mix = sum(tone(110 * m, seconds, channels=1, level=0.2) for m in range(1, 5))
        write(folder / title / f"{title}.wav", mix)
        (folder / title / f"{title}-GTF0s.mat").write_bytes(b"MATLAB")
        (folder / title / f"{title}.txt").write_text("onsets")
    return folder


def mp3(path, signal, rate=RATE):
    return write(path, signal, rate, format="MP3", subtype="MPEG_LAYER_III")


def ffmpeg(*arguments):
    """Run ffmpeg; what it writes to standard output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def fma(folder):
    """FMA-small as it is unpacked: sound clips of all kinds, and clips with every fault it has."""
    clips = folder / "fma_small"
    (folder / "fma_small").mkdir(parents=True)
    (clips / "README.txt").write_text("FMA")
    (clips / "checksums").write_text("")
    mp3(clips / "000" / "000002.mp3", tone(440, 3))
    mp3(clips / "000" / "000005.mp3", tone(441, 3, channels=1))
    mp3(clips / "001" / "001001.mp3", tone(442, 3, rate=48000), rate=48000)
    mp3(clips / "001" / "001002.mp3", tone(443, 3, rate=22050, channels=1), rate=22050)
    whole = (clips / "000" / "000002.mp3").read_bytes()
    mp3(clips / "098" / "098565.mp3", tone(444, 1.6))
    for name, content in {
        "099/099134": b"",
        "108/108925": whole[: len(whole) // 2],
        "133/133297": b"this is no audio file\n" * 200,
        "133/133298": whole[:300],
    }.items():
        path = clips / f"{name}.mp3"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return folder


def fma_metadata(folder):
    """FMA's tracks.csv in its own layout: two rows of headings, a row for the index, quotes and line ends."""
    path = folder / "fma_metadata" / "tracks.csv"
    path.parent.mkdir(parents=True)
    biography = "A long, long story\nwith a second line " * 8000
    rows = [
        ",album,artist,set,track,track,track",
        ",title,bio,subset,genre_top,license,title",
        "track_id,,,,,,",
        f'2,AWOL,"{biography}",small,Hip-Hop,Attribution-NonCommercial-ShareAlike 3.0 International,Food',
        "5,AWOL,,small,Rock,,This World",
        "77,Other,,medium,Jazz,Attribution,Not in small",
    ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def tree_bytes(folder):
    """All files below `folder`: relative path -> content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def ingest(corpus, root, jobs=1, samplerate=None, **options):
    """Convert the songs of a corpus, as the command does; the catalogue, and what the run did."""
    catalogue = SongCatalogue(corpus, root, samplerate)
    return catalogue, make_plan(catalogue, **options).run(jobs)
