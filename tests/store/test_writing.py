import io
import os
import struct

import numpy as np
import pytest
import soundfile
from blake3 import blake3

from cadrender.errors import AudioError
from cadrender.store import AudioFormat, AudioWriter, ClaimedError, is_complete
from cadrender.store.writing import wav_header
from tests import disks

RATE = 44100
FORMATS = [
    AudioFormat("wav", "PCM_16"),
    AudioFormat("wav", "PCM_24"),
    AudioFormat("wav", "FLOAT"),
    AudioFormat("flac", "PCM_16"),
    AudioFormat("flac", "PCM_24"),
]
formats = pytest.mark.parametrize("audio_format", FORMATS, ids=lambda f: f"{f.container}-{f.subtype}")


def samples(audio_format, frames, seed=3):
    """What the engine would give the writer, over full scale where the type allows it."""
    random = np.random.default_rng(seed)
    if audio_format.subtype == "PCM_16":
        return random.integers(-(2**15), 2**15, (frames, 2), dtype=np.int16)
    return random.uniform(-1.2, 1.2, (frames, 2))


def write(file, signal, audio_format, piece=1000):
    with AudioWriter(file, len(signal), RATE, audio_format) as writer:
        for start in range(0, len(signal), piece):
            writer.write(signal[start : start + piece])
        digest, size, _ = writer.finish()
        writer.commit()
    return digest, size


def by_soundfile(signal, subtype):
    stream = io.BytesIO()
    soundfile.write(stream, signal, RATE, format="WAV", subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize("frames", [0, 1, 7, RATE])
@pytest.mark.parametrize("samplerate", [8000, 44100, 48000, 192000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_wav_header_is_libsndfiles(frames, samplerate, subtype):
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros((frames, 2)), samplerate, format="WAV", subtype=subtype)
    assert wav_header(frames, samplerate, subtype) == stream.getvalue()[:44]


def test_float_header_is_libsndfiles_without_the_time_of_day():
    header = by_soundfile(np.zeros((7, 2)), "FLOAT")
    peak = header.index(b"PEAK")
    assert header[peak + 32 : peak + 36] == b"data"
    expected = bytearray(header[:peak] + header[peak + 32 : peak + 40])
    struct.pack_into("<I", expected, 4, len(header) - 32 - 8)
    assert wav_header(7, RATE, "FLOAT") == expected


@pytest.mark.parametrize("piece", [1, 999, 10**9])
def test_pcm_16_file_is_libsndfiles(tmp_path, piece):
    signal = samples(FORMATS[0], 3000)
    write(tmp_path / "a.wav", signal, FORMATS[0], piece)
    assert (tmp_path / "a.wav").read_bytes() == by_soundfile(signal, "PCM_16")


@formats
def test_values(tmp_path, audio_format):
    signal = samples(audio_format, 200_000)  # several of the writer's buffers
    file = tmp_path / "a"
    digest, size = write(file, signal, audio_format, 30_011)
    assert (digest, size) == (blake3(file.read_bytes()).hexdigest(), file.stat().st_size)
    info = soundfile.info(file)
    assert (info.format, info.subtype) == (audio_format.container.upper(), audio_format.subtype)
    assert (info.samplerate, info.channels, info.frames) == (RATE, 2, len(signal))
    if audio_format.subtype == "PCM_16":
        np.testing.assert_array_equal(soundfile.read(file, dtype="int16")[0], signal)
    elif audio_format.subtype == "FLOAT":
        np.testing.assert_array_equal(soundfile.read(file, dtype="float32")[0], signal.astype(np.float32))
    else:
        expected = np.clip(np.rint(signal * 2**23), -(2**23), 2**23 - 1)
        np.testing.assert_array_equal(soundfile.read(file, dtype="int32")[0] / 256, expected)


@formats
def test_bytes_depend_on_the_samples_alone(tmp_path, audio_format, monkeypatch):
    signal = samples(audio_format, 30_000)
    write(tmp_path / "a", signal, audio_format, 29_999)
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    write(tmp_path / "b", signal, audio_format, 77)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    changed = signal.copy()
    changed[777, 1] /= 2
    write(tmp_path / "c", changed, audio_format)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT"])
def test_strided_pieces(tmp_path, subtype):
    audio_format = AudioFormat("wav", subtype)
    signal = samples(audio_format, 6000)
    write(tmp_path / "a", np.ascontiguousarray(signal[::2]), audio_format)
    write(tmp_path / "b", signal[::2], audio_format)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@formats
def test_too_few_frames(tmp_path, audio_format):
    file = tmp_path / "a"
    with (
        pytest.raises(AudioError, match="3 frames were never written"),
        AudioWriter(file, 1003, RATE, audio_format) as writer,
    ):
        writer.write(samples(audio_format, 1000))
        writer.finish()
    assert list(tmp_path.iterdir()) == []


@formats
def test_exception_leaves_nothing(tmp_path, audio_format):
    with pytest.raises(KeyError), AudioWriter(tmp_path / "a", 1000, RATE, audio_format) as writer:
        writer.write(samples(audio_format, 10))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


@formats
def test_second_writer_is_refused(tmp_path, audio_format):
    with AudioWriter(tmp_path / "a", 1000, RATE, audio_format) as writer:
        with pytest.raises(ClaimedError):
            AudioWriter(tmp_path / "a", 1000, RATE, audio_format)
        writer.write(samples(audio_format, 1000))
        writer.finish()
        writer.commit()
    assert is_complete(tmp_path / "a", 1000, RATE, audio_format)


@formats
def test_link_is_replaced(tmp_path, audio_format):
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "a").symlink_to(tmp_path / "other")
    write(tmp_path / "a", samples(audio_format, 500), audio_format)
    assert (tmp_path / "other").read_bytes() == b"precious"
    assert is_complete(tmp_path / "a", 500, RATE, audio_format)


@pytest.mark.parametrize(("subtype", "size"), [("PCM_16", 4), ("PCM_24", 6), ("FLOAT", 8)])
def test_more_than_a_wav_file_can_hold(tmp_path, subtype, size):
    audio_format = AudioFormat("wav", subtype)
    assert audio_format.bytes_per_frame == size
    with pytest.raises(AudioError, match="more than a WAV file can hold"):
        AudioWriter(tmp_path / "a", 2**32 // size, RATE, audio_format)
    most = (2**32 - 64) // size
    AudioWriter(tmp_path / "a", most, RATE, audio_format).__exit__()
    riff = struct.unpack_from("<I", wav_header(most, RATE, subtype), 4)[0]
    assert riff + 8 == len(wav_header(0, RATE, subtype)) + most * size


@formats
def test_complete(tmp_path, audio_format):
    file = tmp_path / "a"
    assert not is_complete(file, 5000, RATE, audio_format)
    write(file, samples(audio_format, 5000), audio_format)
    assert is_complete(file, 5000, RATE, audio_format)
    assert not is_complete(file, 4999, RATE, audio_format)
    assert not is_complete(file, 5001, RATE, audio_format)
    assert not is_complete(file, 5000, 48000, audio_format)
    for other in FORMATS:
        assert is_complete(file, 5000, RATE, other) == (other == audio_format)


@formats
def test_empty_file_and_folder_are_not_complete(tmp_path, audio_format):
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    for file in ("empty", "folder", "empty/below"):
        assert not is_complete(tmp_path / file, 5000, RATE, audio_format)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("missing", [1, 2, 8, 5000])
def test_truncated_file_is_not_complete(tmp_path, subtype, missing):
    audio_format = AudioFormat("wav", subtype)
    write(tmp_path / "a", samples(audio_format, 5000), audio_format)
    os.truncate(tmp_path / "a", (tmp_path / "a").stat().st_size - missing)
    assert not is_complete(tmp_path / "a", 5000, RATE, audio_format)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_mono_is_not_complete(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", np.zeros(5000), RATE, subtype=subtype)
    assert not is_complete(tmp_path / "a.wav", 5000, RATE, AudioFormat("wav", subtype))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_other_programs_files_can_be_complete(tmp_path, subtype):
    """Their headers may hold more chunks than ours."""
    with soundfile.SoundFile(tmp_path / "a.wav", "w", RATE, 2, subtype, format="WAV") as sound:
        sound.title = "a song"
        sound.write(np.zeros((5000, 2)))
    audio_format = AudioFormat("wav", subtype)
    assert (tmp_path / "a.wav").read_bytes()[: len(wav_header(5000, RATE, subtype))] != wav_header(
        5000, RATE, subtype
    )
    assert is_complete(tmp_path / "a.wav", 5000, RATE, audio_format)
    os.truncate(tmp_path / "a.wav", (tmp_path / "a.wav").stat().st_size - 1)
    assert not is_complete(tmp_path / "a.wav", 5000, RATE, audio_format)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A file system of one megabyte."""
    with disks.small_disk(tmp_path_factory.mktemp("disk") / "small", "1m") as folder:
        yield folder


@formats
def test_full_disk(small_disk, audio_format):
    """The system's own error, whoever does the writing, and nothing is left."""
    signal = samples(audio_format, 600_000)
    with (
        pytest.raises(OSError, match="No space left on device"),
        AudioWriter(small_disk / "a", len(signal), RATE, audio_format) as writer,
    ):
        for start in range(0, len(signal), 10_000):
            writer.write(signal[start : start + 10_000])
        writer.finish()
    assert list(small_disk.iterdir()) == []


def test_disk_that_is_full_at_the_very_end(small_disk):
    """FLAC's last frame is written when the encoder is closed."""
    audio_format = AudioFormat("flac", "PCM_16")
    signal = samples(audio_format, 4000)
    (small_disk / "ballast").write_bytes(bytes(2**20 - 4096))
    with (
        pytest.raises(OSError, match="No space left on device"),
        AudioWriter(small_disk / "a", len(signal), RATE, audio_format) as writer,
    ):
        writer.write(signal)
        writer.finish()
    (small_disk / "ballast").unlink()
    assert list(small_disk.iterdir()) == []


@formats
@pytest.mark.parametrize("frames", [0, 1, 100_003])
def test_a_length_that_is_not_known_gives_the_same_file(tmp_path, audio_format, frames):
    signal = samples(audio_format, frames)
    expected = write(tmp_path / "known", signal, audio_format)
    with AudioWriter(tmp_path / "unknown", None, RATE, audio_format) as writer:
        for start in range(0, frames, 1000):
            writer.write(signal[start : start + 1000])
        assert writer.frames is None
        assert writer.finish()[:2] == expected
        assert writer.frames == frames
        writer.commit()
    assert (tmp_path / "unknown").read_bytes() == (tmp_path / "known").read_bytes()
    assert expected[0] == blake3((tmp_path / "unknown").read_bytes()).hexdigest()


@formats
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("first", [10, 200_000])
def test_what_was_written_before_a_restart_is_gone(tmp_path, audio_format, known, first):
    signal = samples(audio_format, 50_000)
    expected = write(tmp_path / "at once", signal, audio_format)
    frames = len(signal) if known else None
    with AudioWriter(tmp_path / "restarted", frames, RATE, audio_format) as writer:
        writer.write(samples(audio_format, first, seed=7))
        writer.restart()
        writer.write(signal)
        assert writer.finish()[:2] == expected
        writer.commit()
    assert (tmp_path / "restarted").read_bytes() == (tmp_path / "at once").read_bytes()


def test_a_length_that_is_not_known_has_the_same_limit(tmp_path):
    with AudioWriter(tmp_path / "long.wav", None, RATE, AudioFormat()) as writer:
        writer.write(np.zeros((10, 2), np.int16))
        # As if 4 GiB had been written before.
        writer._written = 2**30 - 100
        with pytest.raises(AudioError, match=r"long\.wav: .* frames are more than a WAV file can hold"):
            writer.write(np.zeros((100, 2), np.int16))
    assert list(tmp_path.iterdir()) == []
