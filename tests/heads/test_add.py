"""Heads of SOFA files in a root: choices, names, positions, and that nothing is half done."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr

from cadrender import heads
from cadrender.config import load_settings
from cadrender.errors import CadrenderError, MetadataError, UsageError
from cadrender.heads.add import angles_between
from cadrender.metadata.positions import build_positions, positions_json, read_positions
from tests.roots import POSITIONS, environment
from tests.sofas import AZIMUTHS, make_sofa, responses

OFFICIAL = ("n37.5", "n30.0", "n22.5", "p22.5", "p30.0", "p37.5")


@pytest.fixture
def settings(tmp_path):
    return load_settings(root=tmp_path / "root")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "head.sofa"


def add(files, settings, **options):
    planned = heads.prepare_heads(files, settings, **options)
    heads.write_heads(planned)
    return planned


def hrir(settings, name):
    return soundfile.read(settings.hrtf_dir / name, always_2d=True)[0]


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("cartesian", [False, True])
def test_the_challenges_directions_are_taken_by_default(file, settings, cartesian):
    ir = make_sofa(file, cartesian=cartesian)
    planned = add([file], settings)
    assert sorted(path.name for path in settings.hrtf_dir.iterdir()) == sorted(
        f"ear-KEMAR-{side}.wav" for side in OFFICIAL
    )
    for side, azimuth in zip(OFFICIAL, (37.5, 30, 22.5, 337.5, 330, 322.5), strict=True):
        taps = ir[AZIMUTHS.index(azimuth)].T
        assert np.abs(hrir(settings, f"ear-KEMAR-{side}.wav") - taps).max() < 1e-6 * np.abs(taps).max()
    info = soundfile.info(settings.hrtf_dir / "ear-KEMAR-n30.0.wav")
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "FLOAT", 44100)
    positions = read_positions(settings.head_loudspeaker_positions_file)
    assert positions == build_positions(path.name for path in settings.hrtf_dir.iterdir())
    assert len(positions) == 9
    assert planned.ids == list(positions)


def test_positions_that_are_there_stay_and_ids_continue(file, settings):
    make_sofa(file)
    written = settings.head_loudspeaker_positions_file
    written.parent.mkdir(parents=True)
    present = json.loads(positions_json({p.id: p for p in POSITIONS}))
    present["mine"] = {**present["hlp_0002"], "mic": "X", "note": "kept"}
    present["hlp_0144"] = {**present["hlp_0002"], "mic": "Y"}
    written.write_text(json.dumps(present))
    planned = add([file], settings, pairs="symmetric")
    content = json.loads(written.read_text())
    assert list(content) == [*present, "hlp_0145", "hlp_0146", "hlp_0147"]
    assert {name: content[name] for name in present} == present
    assert type(content["hlp_0002"]["left_angle"]) is int
    pairs = [(content[name]["left_angle"], content[name]["right_angle"]) for name in planned.ids]
    assert pairs == [(-37.5, 37.5), (-30.0, 30.0), (-22.5, 22.5)]
    before = written.read_bytes()
    again = add([file], settings)
    assert (again.files, again.kept) == ({}, 6)
    assert again.ids == [f"hlp_{number:04d}" for number in range(148, 154)]  # the other pairs
    assert json.loads(written.read_text())["hlp_0145"] == json.loads(before)["hlp_0145"]
    written.write_text(json.dumps(json.loads(written.read_text())))  # in another layout
    before = written.read_bytes()
    assert add([file], settings).ids == []
    assert written.read_bytes() == before


@pytest.mark.parametrize(
    ("listener", "given", "expected"),
    [
        ("KEMAR, normal pinna", None, "KEMAR, normal pinna"),
        ("", None, "head"),
        ("  ", None, "head"),
        ("a/b", None, "head"),
        ("KEMAR", "VP_E1", "VP_E1"),
    ],
)
def test_the_subject_is_the_listener_or_the_files_name(file, settings, listener, given, expected):
    make_sofa(file, listener=listener)
    assert heads.prepare_heads([file], settings, subject=given).heads[0].subject == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"subject": "a/b"}, "'a/b'"),
        ({"subject": ""}, "''"),
        ({"mic": "BTE-fr"}, "'BTE-fr'"),
        ({"mic": ".x"}, "'.x'"),
        ({"subject": "x" * 245}, "xxx"),
        ({"angles": (-30.0, 45.0)}, r"within 1 degree of 45; the nearest are 30, 37\.5 "),
        ({"angles": (24.0,)}, r"within 1 degree of 24; the nearest are 22\.5, 30 "),
        ({"angles": (100.0,), "tolerance": 2.5}, r"within 2\.5 degrees of 100; the nearest are 30, 37\.5 "),
        ({"distance": 3.0}, r"nothing measured at 3 m; there are: 1\.5 m"),
        ({"receivers": (0, 2)}, "no receivers 0,2; there are: 0 left; 1 right"),
        ({"receivers": (1, 1)}, "no receivers 1,1"),
    ],
)
def test_what_cannot_be_had_is_named_and_nothing_written(file, settings, options, said):
    make_sofa(file)
    with pytest.raises(UsageError, match=said):
        add([file], settings, **options)
    assert not settings.root.exists()


def test_the_nearest_direction_within_the_tolerance_is_taken(file, settings):
    ir = make_sofa(file, azimuths=[29.2, 30.4, 330, 331], elevations=[0, 0, 2.0, 0])
    (head,) = add([file], settings, angles=(-30.0, 30.0)).heads
    assert head.measurements == {-30.0: 1, 30.0: 3}
    assert head.deviations == pytest.approx({-30.0: 0.4, 30.0: 1.0})
    assert np.allclose(hrir(settings, "ear-KEMAR-n30.0.wav"), ir[1].T, atol=1e-6)
    with pytest.raises(UsageError, match=r"within 0\.3 degrees of -30, 30; the nearest are -30\.4, -29\.2, "):
        heads.prepare_heads([file], settings, angles=(-30.0, 30.0), tolerance=0.3)


def test_angles_between_directions_are_those_of_the_sphere(file):
    azimuths, elevations = np.array([0.0, 75, 190, 300]), np.array([60.0, -50, 30, 0])
    make_sofa(file, azimuths=azimuths, elevations=elevations)
    away = angles_between(heads.read_sofa(file), -20.0)
    a, e = np.radians(azimuths - 20), np.radians(elevations)
    assert np.allclose(away, np.degrees(np.arccos(np.cos(a) * np.cos(e))), atol=1e-6)


def test_two_equally_near_directions_are_mirrored_on_both_sides(file, settings):
    make_sofa(file, azimuths=[25, 20, 340, 335])
    (head,) = heads.prepare_heads([file], settings, angles=(-22.5, 22.5), tolerance=2.5).heads
    assert head.measurements == {-22.5: 1, 22.5: 2}


def test_elevated_directions_are_not_in_the_plane(file, settings):
    make_sofa(file, azimuths=[30, 330, 30, 330], elevations=[40, 40, -40, -40])
    with pytest.raises(UsageError, match=r"the nearest are 30 at elevation -?40.*|-30 at elevation"):
        heads.prepare_heads([file], settings, angles=(-30.0, 30.0))
    with pytest.raises(UsageError, match="nearest elevation is"):
        heads.prepare_heads([file], settings, angles=None)


def test_all_angles_are_those_of_the_horizontal_plane(file, settings):
    ir = make_sofa(
        file,
        azimuths=[0, 360, 33.3333333, 326.6666667, 90, 180, 45],
        elevations=[0, 0, 0, 0, 30, 0, 0.5],
    )
    planned = add([file], settings, angles=None)
    (head,) = planned.heads
    assert head.measurements == {-45.0: 6, -33.33: 2, 0.0: 0, 33.33: 3, 180.0: 5}
    assert sorted(path.name for path in planned.files) == [
        "ear-KEMAR-n33.33.wav",
        "ear-KEMAR-n45.0.wav",
        "ear-KEMAR-p0.0.wav",
        "ear-KEMAR-p180.0.wav",
        "ear-KEMAR-p33.33.wav",
    ]
    assert np.allclose(hrir(settings, "ear-KEMAR-p0.0.wav"), ir[0].T, atol=1e-6)
    pairs = {
        (p.left_angle, p.right_angle)
        for p in read_positions(settings.head_loudspeaker_positions_file).values()
    }
    assert pairs == {(left, right) for left in (-180, -45, -33.33, 0) for right in (0, 33.33, 180)}


def test_one_of_several_distances_must_be_chosen(file, settings):
    make_sofa(file, azimuths=[30, 330, 30, 330], distances=[1.0, 1.0, 3.0, 3.0])
    with pytest.raises(UsageError, match="-30 degrees was measured at 1 m, 3 m: --distance"):
        heads.prepare_heads([file], settings, angles=(-30.0, 30.0))
    (head,) = heads.prepare_heads([file], settings, angles=(-30.0, 30.0), distance=3.0).heads
    assert head.measurements == {-30.0: 2, 30.0: 3}


@pytest.mark.parametrize(
    "positions", [[[0, -0.09, 0], [0, 0.09, 0]], [[0, 0.09, 0], [0, -0.09, 0]], [[0, 0, 0], [0, 0, 0]]]
)
def test_column_0_is_the_left_ear(file, settings, positions):
    ir = make_sofa(file, ReceiverPosition=np.array(positions, float))
    add([file], settings)
    left = 1 if positions[0][1] < 0 else 0
    expected = ir[AZIMUTHS.index(30)][[left, 1 - left]].T
    assert np.allclose(hrir(settings, "ear-KEMAR-n30.0.wav"), expected, atol=1e-6)


def test_a_device_microphone_is_chosen_by_its_name(file, settings):
    names = ["ITE left", "ITE right", "BTE_fr (left)", "BTE_fr (right)"]
    ir = make_sofa(file, receivers=4, convention="GeneralFIR", descriptions=names, listener="VP_E1")
    with pytest.raises(UsageError, match=r"4 receivers need a choice: 0 left 'ITE left'; .*--mic NAME"):
        heads.prepare_heads([file], settings)
    with pytest.raises(UsageError, match="called 'CIC'"):
        heads.prepare_heads([file], settings, mic="CIC")
    planned = add([file], settings, mic="BTE_fr")
    assert [receiver.number for receiver in planned.heads[0].receivers] == [2, 3]
    expected = ir[AZIMUTHS.index(330), 2:].T
    assert np.allclose(hrir(settings, "BTE_fr-VP_E1-p30.0.wav"), expected, atol=1e-6)


def test_nameless_receivers_are_chosen_by_number(file, settings):
    ir = make_sofa(file, receivers=4)
    with pytest.raises(UsageError, match=r"--receivers LEFT,RIGHT"):
        heads.prepare_heads([file], settings, mic="BTE_fr")
    add([file], settings, receivers=(2, 1), mic="mixed")
    expected = ir[AZIMUTHS.index(330)][[2, 1]].T
    assert np.allclose(hrir(settings, "mixed-KEMAR-p30.0.wav"), expected, atol=1e-6)


def test_two_receivers_name_their_microphone(file, settings):
    make_sofa(file, descriptions=["BTE_rear left", "BTE_rear right"])
    assert heads.prepare_heads([file], settings).heads[0].mic == "BTE_rear"
    assert heads.prepare_heads([file], settings, mic="B").heads[0].mic == "B"


def test_two_receivers_on_one_side_are_no_head(file, settings):
    make_sofa(file, ReceiverPosition=np.array([[0, 0.09, 0], [0.02, 0.09, 0]]))
    with pytest.raises(UsageError, match="both receivers are on one side"):
        heads.prepare_heads([file], settings)
    make_sofa(file, convention="GeneralFIR", ir=responses(8, 2)[:, :1], ReceiverPosition=np.zeros((1, 3)))
    with pytest.raises(UsageError, match="1 receiver"):
        heads.prepare_heads([file], settings)


@pytest.mark.parametrize("each", [False, True])
def test_delays_of_each_ear_and_direction_are_applied(file, settings, each):
    delays = np.array([[4.0, 9.0]])
    if each:
        delays = np.stack([np.arange(8.0), 8 - np.arange(8.0)], axis=1)
    ir = make_sofa(file, Data_Delay=delays)
    (head,) = add([file], settings).heads
    assert head.longest_delay == (7 if each else 9)
    for name, azimuth in (("n30.0", 30), ("p37.5", 322.5)):
        row = AZIMUTHS.index(azimuth)
        taps = hrir(settings, f"ear-KEMAR-{name}.wav")
        assert len(taps) == 200 + head.longest_delay
        for ear in (0, 1):
            late = int(delays[row if each else 0, ear])
            assert not taps[:late, ear].any()
            assert np.allclose(taps[late : late + 200, ear], ir[row, ear], atol=1e-6)
            assert not taps[late + 200 :, ear].any()


def test_other_rates_are_resampled(file, settings):
    ir = make_sofa(file, samplerate=48000, Data_Delay=np.array([[3.0, 0.0]]))
    add([file], settings)
    taps = np.zeros((203, 2))
    taps[3:, 0], taps[:200, 1] = ir[AZIMUTHS.index(30)]
    expected = soxr.resample(taps, 48000, 44100, quality="VHQ") * 48000 / 44100
    assert np.allclose(hrir(settings, "ear-KEMAR-n30.0.wav"), expected, atol=1e-6)
    assert soundfile.info(settings.hrtf_dir / "ear-KEMAR-n30.0.wav").samplerate == 44100


def test_one_factor_scales_everything(file, settings):
    ir = make_sofa(file)
    add([file], settings, factor=-0.25)
    assert np.allclose(hrir(settings, "ear-KEMAR-n30.0.wav"), -0.25 * ir[AZIMUTHS.index(30)].T, atol=1e-6)


def test_a_silent_ear_is_refused(file, settings):
    ir = responses(8, 2)
    ir[AZIMUTHS.index(330), 1] = 0
    make_sofa(file, ir=ir)
    with pytest.raises(MetadataError, match=r"all zeros \(measurement 6, receiver 1\)"):
        heads.prepare_heads([file], settings)


def test_delays_that_make_a_response_too_long_are_refused(file, settings):
    make_sofa(file, Data_Delay=np.array([[2.0**20, 0.0]]))
    with pytest.raises(MetadataError, match="an HRIR has 1048576 at most"):
        heads.prepare_heads([file], settings)


def test_taps_that_no_float_holds_are_refused(file, settings):
    make_sofa(file, ir=1e300 * responses(8, 2))
    with pytest.raises(MetadataError, match="too large for 32-bit floats"):
        heads.prepare_heads([file], settings)


def test_different_hrirs_need_force(file, settings):
    make_sofa(file)
    add([file], settings)
    other = make_sofa(file, ir=responses(8, 2, seed=5))
    before = tree(settings.root)
    with pytest.raises(UsageError, match=r"n37\.5\.wav: already exists with different content \(1 of 6"):
        add([file], settings)
    assert tree(settings.root) == before
    planned = add([file], settings, force=True)
    assert (len(planned.files), planned.ids) == (6, [])
    assert np.allclose(hrir(settings, "ear-KEMAR-n30.0.wav"), other[AZIMUTHS.index(30)].T, atol=1e-6)


def test_heads_of_one_name_are_not_mixed_up(file, settings, tmp_path):
    make_sofa(file)
    other = tmp_path / "other.sofa"
    make_sofa(other, ir=responses(8, 2, seed=3))
    with pytest.raises(
        UsageError, match=r"other\.sofa: subject 'KEMAR' with microphone 'ear', as in .*head\.sofa"
    ):
        add([file, other], settings)
    with pytest.raises(UsageError, match="2 files"):
        add([file, other], settings, subject="X")
    make_sofa(other, listener="HATS")
    planned = add([file, other], settings)
    assert len(planned.files) == 12 and len(planned.ids) == 18


@pytest.mark.parametrize("bad", ["second file", "positions file"])
def test_what_is_wrong_is_found_before_anything_is_written(file, settings, tmp_path, bad):
    make_sofa(file)
    other = tmp_path / "other.sofa"
    make_sofa(other, listener="HATS")
    if bad == "second file":
        other.write_bytes(other.read_bytes()[:-1])
    else:
        settings.metadata_dir.mkdir(parents=True)
        settings.head_loudspeaker_positions_file.write_text('{"hlp_0001": {}}')
    before = tree(tmp_path)
    with pytest.raises(MetadataError):
        add([file, other], settings)
    assert tree(tmp_path) == before


def test_a_failed_write_leaves_nothing(file, settings):
    make_sofa(file)
    settings.hrtf_dir.mkdir(parents=True)
    settings.metadata_dir.mkdir(parents=True)
    (settings.hrtf_dir / "ear-KEMAR-p37.5.wav").mkdir()
    with pytest.raises(CadrenderError, match=r"p37\.5\.wav"):
        add([file], settings, force=True)
    assert [path.name for path in settings.hrtf_dir.iterdir()] == ["ear-KEMAR-p37.5.wav"]
    assert not any(settings.metadata_dir.iterdir())


def test_without_h5py_it_is_said_what_to_install(tmp_path, file):
    make_sofa(file)
    (tmp_path / "h5py.py").write_text("raise ImportError('no h5py here')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "cadrender", "heads", str(file), "--dry-run"],
        env=environment(PYTHONPATH=path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "pip install 'cadrender[sofa]'" in done.stderr
