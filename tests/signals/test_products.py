"""Every product: what its batch writes is what its signal reads, to the bit, for any part, before and after."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

import cadrender
from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.excerpts import ExcerptCatalogue
from cadrender.catalogue.songs import look_at_song
from cadrender.catalogue.targets import SubmissionCatalogue, TargetCatalogue
from cadrender.config import load_settings
from cadrender.errors import AudioError, UsageError
from cadrender.metadata.gains import build_gains, gains_json
from cadrender.metadata.listeners import Listener, listeners_json
from cadrender.metadata.samples import Sample
from cadrender.metadata.scenes import scene_listeners_json
from cadrender.pipeline.plan import make_plan
from cadrender.stems import STEMS
from cadrender.store import AudioFormat
from tests.roots import POSITIONS, SONGS, make_root, make_song, tree, write_wav

CFS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000)
LISTENERS = [
    Listener("L0001", CFS, (20, 20, 25, 35, 40, 45, 50, 55), (35, 35, 40, 50, 55, 60, 65, 70)),
    Listener("L0002", CFS, (0,) * 8, (20, 20, 25, 55, 75, 95, 95, 100)),
]
DTYPES = ("int16", "int32", "float32", "float64")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Songs with loud and silent stretches, one of which is 24-bit; nothing is rendered."""
    folder = make_root(tmp_path_factory.mktemp("signals") / "root", seconds=(1.7, 0.8))
    song = folder / "audio/music/train" / SONGS[1]
    signal, rate = soundfile.read(song / "bass.wav")
    write_wav(song / "bass.wav", signal * 3, rate, "PCM_24")
    write_wav(song / "vocals.wav", np.zeros_like(signal))
    metadata = folder / "metadata"
    (metadata / "gains.json").write_text(gains_json(build_gains()))
    (metadata / "listeners.train.json").write_text(listeners_json(LISTENERS))
    scenes = [f"scene_{10001 + k}" for k in range(7)]
    pairs = {scene: [LISTENERS[k % 2].id] for k, scene in enumerate(scenes)}
    (metadata / "scene_listeners.train.json").write_text(scene_listeners_json(pairs))
    return folder


def excerpts(settings):
    tracks = cadrender.open_root(settings.root).tracks
    samples = [
        Sample(
            f"{track.name}-e{start}",
            "valid",
            f"valid/{track.name}-e{start}",
            track,
            POSITIONS[0],
            start,
            20_001,
        )
        for track in tracks
        for start in (0, 1234)
    ]
    songs = {t.name: look_at_song(t.name, settings.music_dir / t.path, settings.sample_rate) for t in tracks}
    return ExcerptCatalogue(settings, samples, songs)


PRODUCTS = {
    "at-mic": lambda settings: AtMicCatalogue(settings),
    "at-mic PCM_24": lambda settings: AtMicCatalogue(settings, audio_format=AudioFormat("flac", "PCM_24")),
    "at-mic FLOAT": lambda settings: AtMicCatalogue(settings, audio_format=AudioFormat("wav", "FLOAT")),
    "target": lambda settings: TargetCatalogue(settings),
    "target FLOAT": lambda settings: TargetCatalogue(settings, audio_format=AudioFormat("wav", "FLOAT")),
    "target at 32 kHz": lambda settings: TargetCatalogue(settings, output_rate=32000),
    "amplified": lambda settings: TargetCatalogue(settings, listeners=True),
    "amplified PCM_16": lambda settings: TargetCatalogue(
        settings, listeners=True, listener_format=AudioFormat("wav", "PCM_16")
    ),
    "submission at 32 kHz": lambda settings: SubmissionCatalogue(settings),
    "excerpt": excerpts,
}


def dtype_of(signal):
    """A type that holds all that a file of the signal would hold."""
    return "int16" if signal.subtype == "PCM_16" else "float64"


# These compile kernels of their own.
COSTLY = ("at-mic PCM_24", "at-mic FLOAT")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in COSTLY)) for name in PRODUCTS],
)
def made(request, root, tmp_path_factory):
    """Some signals, read in parts by two threads before anything was made, and then the files of a run."""
    out = tmp_path_factory.mktemp("out")
    settings = load_settings(
        root=root,
        excerpts_dir=out / "excerpts",
        excerpts_file=out / "excerpts.json",
        **{
            f"output_{name}": out / name
            for name in (
                "music_dir",
                "music_file",
                "remix_dir",
                "remix_listeners_dir",
                "remix_file",
                "submission_dir",
            )
        },
    )
    catalogue = PRODUCTS[request.param](settings)
    outputs = list(catalogue.outputs())[::3] + list(catalogue.outputs())[-1:]
    before = tree(root / "audio")
    random = np.random.default_rng(2)
    asked = [
        (output, start, int(random.integers(1, 9000)))
        for output in outputs
        for start in (100, int(random.integers(output.signal.frames)))
    ]
    with ThreadPoolExecutor(2) as pool:
        parts = pool.map(lambda one: one[0].signal.read(*one[1:], dtype_of(one[0].signal)), asked)
        first = [(*one, part) for one, part in zip(asked, parts, strict=True)]
    assert tree(root / "audio") == before and not any(output.file.exists() for output in outputs)
    summary = make_plan(catalogue).run(1)
    assert not summary.failures
    return request.param, outputs, first


def close(name, ours, stored):
    """Equal; to a rounding of float32 where no integer quantisation hides it, or where soxr works in blocks."""
    assert ours.dtype == stored.dtype and ours.shape == stored.shape
    if "FLOAT" in name or name == "amplified":
        np.testing.assert_allclose(ours, stored, rtol=2**-22, atol=1e-9)
    elif "32 kHz" in name or name == "amplified PCM_16":
        step = {"int16": 1, "int32": 2**16}.get(ours.dtype.name, 2.0**-15)
        assert np.abs(ours.astype(float) - stored).max(initial=0) <= step
        assert np.count_nonzero(ours != stored) <= 2
    elif "PCM_24" in name:
        step = {"int16": 1, "int32": 2**8}.get(ours.dtype.name, 2.0**-23)
        assert np.abs(ours.astype(float) - stored).max(initial=0) <= step
        assert np.count_nonzero(ours != stored) <= 1
    else:
        np.testing.assert_array_equal(ours, stored)


@pytest.mark.parametrize("all_dtypes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_parts_equal_the_files(made, all_dtypes):
    """As the type that is the file's own, or, which takes a minute to compile, as each there is."""
    name, outputs, first = made
    random = np.random.default_rng(1)
    for output, start, frames, seen in first:
        stored = soundfile.read(output.file, frames, start, dtype=dtype_of(output.signal))[0]
        close(name, seen, stored)
    for output in outputs:
        signal = output.signal
        info = soundfile.info(output.file)
        assert (info.frames, info.samplerate, info.channels, info.subtype) == (
            signal.frames,
            signal.samplerate,
            signal.channels,
            signal.subtype,
        )
        parts = [
            (0, -1),
            (0, 1),
            (0, 0),
            (signal.frames - 1, 1),
            (signal.frames - 3, 10),
            (signal.frames, 5),
            (-7, -1),
        ]
        parts += [(int(random.integers(signal.frames)), int(random.integers(1, 9000))) for _ in range(6)]
        for start, frames in parts:
            for dtype in DTYPES if all_dtypes else [dtype_of(signal)]:
                if signal.subtype == "FLOAT" and dtype.startswith("int"):
                    continue
                expected = soundfile.read(output.file, frames, start, dtype=dtype)[0]
                close(name, signal.read(start, frames, dtype), expected)


def test_a_read_does_not_change_what_the_next_one_gives(made):
    _, outputs, _ = made
    signal = outputs[0].signal
    whole = signal.read(dtype="float32")
    whole.copy()[:] = 7
    signal.read(0, 100, "float32")[:] = 7
    np.testing.assert_array_equal(signal.read(dtype="float32"), whole)


def test_out_is_filled(made):
    _, outputs, _ = made
    signal = outputs[0].signal
    out = np.full((1000, 2), np.nan, np.float32)
    assert signal.read(50, out=out) is not None
    np.testing.assert_array_equal(out, signal.read(50, 1000, "float32"))
    tail = signal.read(signal.frames - 10, out=out)
    assert tail.shape == (10, 2) and np.shares_memory(tail, out)
    with pytest.raises(ValueError, match="out has the shape"):
        signal.read(out=np.zeros((10, 3)))
    with pytest.raises(ValueError, match="is none of int16, int32, float32, float64"):
        signal.read(out=np.zeros((10, 2), np.int64))
    with pytest.raises(ValueError, match="'uint8' is none of"):
        signal.read(dtype="uint8")


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", None])
def test_blocks_of_an_unknown_type(root, dtype):
    with pytest.raises(ValueError, match="is neither 'int16' nor 'float64'"):
        cadrender.open_root(root).blocks(f"{SONGS[0]}-hlp_0001", "drums", dtype=dtype)


def test_a_float_signal_is_not_read_as_integers(root):
    signal = cadrender.open_root(root).at_mic(f"{SONGS[0]}-hlp_0001", "drums", subtype="FLOAT")
    with pytest.raises(ValueError, match="a FLOAT signal is read as float32 or float64"):
        signal.read()


def test_by_name_and_by_path(root):
    opened = cadrender.open_root(root)
    sample = opened.samples[0]
    for stem in STEMS:
        signal = opened.at_mic(sample, stem)
        assert signal == opened.at_mic(sample.name, stem) == opened.signal(f"{sample.path}/{stem}.wav")
        np.testing.assert_array_equal(signal.read(), opened.render(sample, stem))
    scene = opened.scenes[0]
    assert opened.target(scene) == opened.target(scene.id) == opened.signal(f"train/{scene.id}.wav")
    listener = scene.listeners[0]
    assert opened.target(scene, listener) == opened.target(scene.id, listener=listener.id)
    assert repr(opened) == f"<Root {str(root)!r}, train>"


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda root: root.at_mic("nobody", "drums"), "no scene names a sample 'nobody'"),
        (lambda root: root.at_mic(root.samples[0], "piano"), "unknown stem 'piano'"),
        (lambda root: root.at_mic(root.samples[0], "drums", "MP3"), "unknown subtype 'MP3'"),
        (lambda root: root.target("scene_1"), "no scene 'scene_1'"),
        (lambda root: root.target(root.scenes[0], "L9999"), "no listener 'L9999'"),
        (lambda root: root.signal("train/nothing/drums.wav"), "asks for such a file"),
        (lambda root: root.signal(f"{root.samples[0].path}/drums.flac"), r"its name would be .*drums\.wav"),
        (lambda root: root.catalogue("songs"), "unknown product 'songs'"),
        (lambda root: cadrender.open_root(root.settings.root / "nowhere"), "nowhere: no such folder"),
    ],
)
def test_what_is_not_there(root, ask, message):
    with pytest.raises(UsageError, match=message) as error:
        ask(cadrender.open_root(root))
    assert "\n" not in str(error.value)


def test_a_damaged_song_raises_and_others_go_on(tmp_path):
    root = make_root(tmp_path / "root")
    broken = root / "audio/music/train" / SONGS[0] / "drums.wav"
    broken.write_bytes(broken.read_bytes()[:1000])
    opened = cadrender.open_root(root)
    with pytest.raises(AudioError, match=r"drums\.wav: truncated"):
        opened.at_mic(f"{SONGS[0]}-hlp_0001", "bass")
    assert opened.at_mic(f"{SONGS[1]}-hlp_0001", "bass").read().any()


def test_a_source_that_changes_is_noticed_at_the_next_read(tmp_path):
    root = make_root(tmp_path / "root")
    opened = cadrender.open_root(root)
    signal = opened.at_mic(f"{SONGS[1]}-hlp_0001", "bass")
    before = signal.read()
    make_song(root, SONGS[1], 1.3, 999)
    after = signal.read()
    assert (before != after).any()
    np.testing.assert_array_equal(after, cadrender.open_root(root).render(f"{SONGS[1]}-hlp_0001", "bass"))
    make_song(root, SONGS[1], 1.0, 999)
    with pytest.raises(AudioError, match="frames, and 57330 when it was looked at first"):
        signal.read()
