import json
import math
import shutil

import numpy as np
import pyloudnorm
import pytest
import soundfile

from cadrender.config import load_settings
from cadrender.report.levels import FileLevel, known_levels
from cadrender.report.survey import render, take_survey
from cadrender.store import read_stem
from cadrender.store.manifest import Manifest


def survey(root):
    return take_survey(load_settings(root=root))


def test_the_manifest_is_read_in_order_and_tells_the_truth(rendered):
    found = survey(rendered)
    levels = known_levels(found)
    stems = ["mixture", "vocals", "drums", "bass", "other"]
    assert [(level.sample, level.stem) for level in levels] == [
        (name, stem) for name in found.samples for stem in stems
    ]
    meter = pyloudnorm.Meter(44100)
    for level in levels[:5]:
        sample = found.samples[level.sample]
        source, _ = soundfile.read(found.sources[sample.source].files[level.stem])
        at_mic, _ = soundfile.read(found.file_of(sample, level.stem))
        assert level.before == pytest.approx(meter.integrated_loudness(source), abs=1e-6)
        assert level.before == pytest.approx(meter.integrated_loudness(at_mic), abs=0.02)
        assert level.after + level.gain_db == pytest.approx(level.before, abs=1e-9)
        assert level.frames == len(source)


def test_rendering_gives_the_very_files_and_their_levels(rendered):
    found = survey(rendered)
    for sample in found.samples.values():
        pair = [found.hrirs[sample.position.left_hrir], found.hrirs[sample.position.right_hrir]]
        for stem in ("mixture", "vocals"):
            signal = read_stem(found.sources[sample.source].files[stem], 44100)
            pcm, (before, after, gain, clipped) = render(signal, 44100, *pair)
            written = read_stem(found.file_of(sample, stem), 44100)
            np.testing.assert_array_equal(pcm, written)
            entry = found.entry_of(sample, stem)
            assert before == pytest.approx(entry.levels["loudness_before"], abs=1e-9)
            assert after == pytest.approx(entry.levels["loudness_after"], abs=1e-9)
            assert gain == pytest.approx(entry.levels["gain"]) and clipped == entry.levels["clipped"]


def test_clipped_samples_are_counted():
    square = np.where(np.arange(44100) % 100 < 50, 32767, -32768).astype(np.int16)
    signal = np.stack([square, np.zeros_like(square)], axis=1)
    # The K-weighting makes a narrow pulse train as loud as the square wave only by making it clip.
    spike = np.zeros((4, 2))
    spike[0], spike[1] = 1.0, -1.0
    pcm, (*_, clipped) = render(signal, 44100, spike, spike)
    assert clipped == np.isin(pcm, (-32768, 32767)).sum() > 0


def test_silence():
    pcm, measured = render(np.zeros((44100, 2), np.int16), 44100, np.ones((1, 2)), np.ones((1, 2)))
    assert not pcm.any() and measured == (-math.inf, -math.inf, 0.0, 0)
    level = FileLevel("sample", "vocals", 44100, *measured)
    assert level.silent and level.gain_db == -math.inf
    assert FileLevel("sample", "vocals", 44100, -20.0, -26.0, 10 ** (6 / 20), 0).gain_db == pytest.approx(6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loudness_before", math.inf),
        ("loudness_after", math.nan),
        ("loudness_before", 1e300),
        ("gain", -1.0),
        ("gain", math.nan),
        ("gain", math.inf),
        ("clipped", -1),
        ("clipped", 10**9),
    ],
)
def test_what_cannot_be_a_level_is_left_out(rendered, tmp_path, key, value):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    settings = load_settings(root=root)
    file = Manifest.beside(settings.output_music_file, root).file
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    files = [line for line in lines if "path" in line]
    files[3]["levels"][key] = value
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(known_levels(take_survey(settings))) == len(files) - 1 == 29


def test_a_line_without_its_file_says_nothing(rendered, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(rendered, root)
    found = survey(root)
    sample = next(iter(found.samples.values()))
    found.file_of(sample, "bass").unlink()
    assert len(known_levels(survey(root))) == len(found.manifest) - 1
