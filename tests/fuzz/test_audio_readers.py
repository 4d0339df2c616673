"""Damaged audio files: each read gives samples or one line, soon, and in little memory.

``CADRENDER_FUZZ`` sets how many inputs each of the ten kinds of file is damaged into; with 1000 these are 10 000.
"""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

INPUTS = int(os.environ.get("CADRENDER_FUZZ", "150"))
KINDS = {
    "wav16": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "wavfloat": ("WAV", "FLOAT"),
    "wavex": ("WAVEX", "PCM_16"),
    "wavadpcm": ("WAV", "IMA_ADPCM"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
QUICK = ("wav16", "flac", "mp3")  # what the songs of most people are
SECONDS_EACH = 20
MOST_MEMORY = 700 << 20


def seed_file(file, kind):
    container, subtype = KINDS[kind]
    t = np.arange(44100 // 2) / 44100
    tone = 0.3 * np.sin(2 * np.pi * 440 * t)
    soundfile.write(file, np.stack([tone, tone[::-1]], axis=1), 44100, subtype, format=container)


def read_damaged(kind, folder, first, count):
    """Read `count` damaged files with all readers; in a process of its own, as a decoder may crash."""
    from cadrender.corpora.decode import quiet_stderr, read_blocks
    from cadrender.errors import AudioError
    from cadrender.store import read_header, read_hrir, read_stem
    from tests.fuzz.mutations import mutated

    def too_long(number, frame):
        raise TimeoutError

    signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    folder = Path(folder)
    good = (folder / kind).read_bytes()
    file = folder / f"damaged-{kind}"
    refused = 0
    with quiet_stderr():
        for seed in range(first, first + count):
            file.write_bytes(mutated(good, seed))
            (folder / "current").write_text(str(seed))
            for read in (
                read_header,
                lambda file: read_stem(file, 44100),
                lambda file: read_stem(file, 44100, 100, 20_000),
                lambda file: read_hrir(file, 44100),
                lambda file: sum(len(block) for block in read_blocks(file, {})),
            ):
                signal.alarm(SECONDS_EACH)
                try:
                    read(file)
                except AudioError as error:
                    refused += 1
                    assert str(file) in str(error), (seed, str(error))
                    assert "\n" not in str(error), (seed, str(error))
                finally:
                    signal.alarm(0)
    peak = most_memory()
    assert peak < MOST_MEMORY, f"{peak} bytes"
    print(refused)


def most_memory():
    """Bytes that this process has used at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss begins with the size of the process that started this one
        return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_damaged_files(tmp_path, kind):
    seed_file(tmp_path / kind, kind)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"from {__name__} import read_damaged as r; r({kind!r}, {str(tmp_path)!r}, 0, {INPUTS})",
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    at = (tmp_path / "current").read_text() if (tmp_path / "current").exists() else "none"
    assert done.returncode == 0, f"input {at}: {done.stderr[-2000:]}"
    assert int(done.stdout) > INPUTS / 10  # most of it is damage that shows


def test_a_flac_header_that_promises_billions_of_frames_reserves_no_memory(tmp_path):
    """Total samples of STREAMINFO: 36 bits from the fourth nibble of byte 21 on."""
    from cadrender.errors import AudioError
    from cadrender.store import read_hrir, read_stem

    file = tmp_path / "big.flac"
    seed_file(file, "flac")
    data = bytearray(file.read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff\xff\xff\xff"
    file.write_bytes(data)
    for read in (read_stem, read_hrir):
        with pytest.raises(AudioError, match=r"big\.flac"):
            read(file, 44100)


@pytest.mark.parametrize("size", [0, 44, 2**31, 2**32 - 1])
def test_a_wav_header_that_promises_gigabytes_is_refused(tmp_path, size):
    from cadrender.errors import AudioError
    from cadrender.store import read_stem

    file = tmp_path / "big.wav"
    seed_file(file, "wav16")
    data = bytearray(file.read_bytes())
    data[40:44] = size.to_bytes(4, "little")
    data[4:8] = max(0, size - 8 if size < 2**32 - 1 else size).to_bytes(4, "little")
    file.write_bytes(data)
    try:
        assert len(read_stem(file, 44100)) == 22050  # libsndfile takes what is there
    except AudioError as error:
        assert str(file) in str(error)
