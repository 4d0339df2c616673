"""SOFA files read by cadrender against what sofar wrote and reads."""

import h5py
import numpy as np
import pytest
import sofar

from cadrender import heads
from cadrender.errors import MetadataError
from tests.sofas import AZIMUTHS, make_sofa

RIGHT_IS_POSITIVE = [0, -22.5, -30, -37.5, 180, 37.5, 30, 22.5]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "head.sofa"


@pytest.mark.filterwarnings("ignore:Detected preliminary")
@pytest.mark.parametrize(
    ("convention", "version"),
    [("SimpleFreeFieldHRIR", "1.0"), ("SimpleFreeFieldHRIR", "0.4"), ("GeneralFIR", "1.0")],
)
@pytest.mark.parametrize("cartesian", [False, True])
def test_every_variant_is_read_as_sofar_reads_it(file, convention, version, cartesian):
    make_sofa(file, convention=convention, version=version, cartesian=cartesian, samplerate=48000)
    oracle = sofar.read_sofa(str(file), verbose=False)
    sofa = heads.read_sofa(file)
    assert sofa.convention == f"{convention} {version}"
    assert sofa.listener == "KEMAR"
    assert sofa.samplerate == oracle.Data_SamplingRate == 48000
    assert [receiver.side for receiver in sofa.receivers] == ["left", "right"]
    assert np.allclose(sofa.azimuths, RIGHT_IS_POSITIVE, atol=1e-9)
    assert np.allclose(sofa.elevations, 0, atol=1e-9)
    assert np.allclose(sofa.distances, 1.5)
    rows = [5, 0, 5, 7]
    assert np.array_equal(heads.read_responses(sofa, rows, [1, 0]), oracle.Data_IR[rows][:, [1, 0]])


@pytest.mark.parametrize("shape", ["(1, receivers)", "(measurements, receivers)"])
def test_delays_are_shared_or_of_each_measurement(file, shape):
    delays = np.array([[3.0, 7.25]])
    if "measurements" in shape:
        delays = np.arange(2.0 * len(AZIMUTHS)).reshape(-1, 2)
    make_sofa(file, Data_Delay=delays)
    assert np.array_equal(heads.read_sofa(file).delays, np.broadcast_to(delays, (len(AZIMUTHS), 2)))


@pytest.mark.parametrize("kind", ["cartesian", "spherical"])
def test_a_turned_head_before_one_loudspeaker_is_seen_from_the_head(file, kind):
    # The loudspeaker stays in front; a head turned left by 30 degrees has it 30 degrees to its right.
    turns = np.array([0.0, 30.0, 90.0, 270.0, 180.0])
    view = np.stack([turns, 0 * turns, 1 + 0 * turns], axis=1)
    up = np.array([[0.0, 90.0, 1.0]])
    if kind == "cartesian":
        view = np.stack([np.cos(np.radians(turns)), np.sin(np.radians(turns)), 0 * turns], axis=1)
        up = np.array([[0.0, 0.0, 2.0]])
    make_sofa(
        file,
        azimuths=0 * turns,
        ListenerView=view,
        ListenerUp=up,
        ListenerView_Type=kind,
        ListenerView_Units="degree, degree, metre" if kind == "spherical" else "metre",
        SourcePosition=np.array([[0.0, 0.0, 2.0]]),
    )
    assert np.allclose(heads.read_sofa(file).azimuths, [0, 30, 90, -90, 180], atol=1e-9)


def test_a_cartesian_up_beside_a_spherical_view_is_understood(file):
    make_sofa(
        file,
        ListenerView=np.array([[0.0, 0.0, 1.0]]),
        ListenerUp=np.array([[0.0, 0.0, 1.0]]),
        ListenerView_Type="spherical",
        ListenerView_Units="degree, degree, metre",
    )
    assert np.allclose(heads.read_sofa(file).azimuths, RIGHT_IS_POSITIVE, atol=1e-9)


def test_a_head_away_from_the_origin_sees_the_source_from_there(file):
    make_sofa(
        file,
        azimuths=[0, 0],
        cartesian=True,
        SourcePosition=np.array([[3.0, 2.0, 1.0], [1.0, 0.0, 1.0]]),
        ListenerPosition=np.array([[1.0, 2.0, 1.0]]),
    )
    sofa = heads.read_sofa(file)
    assert np.allclose(sofa.azimuths, [0, 90])
    assert np.allclose(sofa.elevations, 0)
    assert np.allclose(sofa.distances, [2, 2])


def test_a_spherical_origin_is_the_origin(file):
    make_sofa(
        file,
        ListenerPosition=np.array([[0.0, 0.0, 0.0]]),
        ListenerPosition_Type="spherical",
        ListenerPosition_Units="degree, degree, metre",
    )
    assert np.allclose(heads.read_sofa(file).azimuths, RIGHT_IS_POSITIVE, atol=1e-9)


def test_directions_without_a_distance_are_directions_still(file):
    make_sofa(file, distances=0.0)
    assert np.allclose(heads.read_sofa(file).azimuths, RIGHT_IS_POSITIVE, atol=1e-9)


@pytest.mark.parametrize(
    ("positions", "kind", "sides"),
    [
        ([[0, 0.09, 0], [0, -0.09, 0]], "cartesian", ["left", "right"]),
        ([[0, -0.09, 0], [0, 0.09, 0]], "cartesian", ["right", "left"]),
        ([[90, 0, 0.09], [270, 0, 0.09]], "spherical", ["left", "right"]),
        ([[-90, 0, 0.09], [90, 0, 0.09]], "spherical", ["right", "left"]),
        ([[0, 0, 0], [0, 0, 0]], "cartesian", ["", ""]),
    ],
)
def test_receiver_positions_say_which_ear(file, positions, kind, sides):
    units = "metre" if kind == "cartesian" else "degree, degree, metre"
    make_sofa(
        file,
        ReceiverPosition=np.array(positions, float),
        ReceiverPosition_Type=kind,
        ReceiverPosition_Units=units,
    )
    assert [receiver.side for receiver in heads.read_sofa(file).receivers] == sides


def test_receivers_may_be_placed_anew_for_each_measurement(file):
    places = np.zeros((2, 3, len(AZIMUTHS)))
    places[0, 1], places[1, 1] = -0.08, 0.08
    make_sofa(file, ReceiverPosition=places)
    assert [receiver.side for receiver in heads.read_sofa(file).receivers] == ["right", "left"]


def test_receivers_without_positions_are_placed_by_their_names(file):
    names = ["BTE_fr Right", "BTE_fr left", "ITE, L", "ITE, R"]
    make_sofa(
        file,
        convention="GeneralFIR",
        receivers=4,
        ReceiverPosition=np.zeros((1, 3)),
        descriptions=names,
    )
    receivers = heads.read_sofa(file).receivers
    assert [receiver.description for receiver in receivers] == names
    assert [receiver.side for receiver in receivers] == ["right", "left", "left", "right"]
    assert [receiver.name for receiver in receivers] == ["BTE_fr", "BTE_fr", "ITE", "ITE"]


def rewrite(file, change):
    with h5py.File(file, "r+") as data:
        change(data)


def replace(data, name, value):
    attributes = dict(data[name].attrs)
    del data[name]
    data[name] = value
    for key in ("Type", "Units"):
        if key in attributes:
            data[name].attrs[key] = attributes[key]


def test_descriptions_may_be_variable_strings(file):
    make_sofa(file, descriptions=["a left", "b right"])
    names = np.array(["ÖHR left", "ÖHR right"], dtype=h5py.string_dtype())
    rewrite(file, lambda data: replace(data, "ReceiverDescriptions", names))
    assert [receiver.name for receiver in heads.read_sofa(file).receivers] == ["ÖHR", "ÖHR"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.attrs.__setitem__("Conventions", "CF-1.8"), "not a SOFA file"),
        (lambda d: d.attrs.__delitem__("Conventions"), "not a SOFA file"),
        (lambda d: d.attrs.__setitem__("SOFAConventions", "SimpleHeadphoneIR"), "'SimpleHeadphoneIR'; supported"),
        (lambda d: d.attrs.__setitem__("DataType", "TF"), "DataType is 'TF'"),
        (lambda d: d.__delitem__("Data.IR"), "has no Data.IR"),
        (lambda d: d.__delitem__("Data.SamplingRate"), "has no Data.SamplingRate"),
        (lambda d: d.__delitem__("SourcePosition"), "has no SourcePosition"),
        (lambda d: (d.create_group("x") and d.move("Data.IR", "y")) or d.move("x", "Data.IR"), "has no Data.IR"),
        (lambda d: replace(d, "Data.IR", np.ones((8, 2))), r"the shape \(8, 2\)"),
        (lambda d: replace(d, "Data.IR", np.ones((8, 2, 0))), r"the shape \(8, 2, 0\)"),
        (lambda d: replace(d, "Data.IR", np.ones((8, 2, 4), complex)), "Data.IR is complex128"),
        (lambda d: replace(d, "Data.IR", np.ones((7, 2, 4))), r"SourcePosition has the shape \(8, 3\)"),
        (lambda d: replace(d, "Data.IR", np.ones((1, 2, 2**20 + 1), "f4")), "1048577 samples"),
        (lambda d: replace(d, "Data.Delay", np.ones((1, 3))), r"Data.Delay has the shape \(1, 3\)"),
        (lambda d: replace(d, "Data.Delay", [[0.0, -1.0]]), "Data.Delay is not from 0"),
        (lambda d: replace(d, "Data.Delay", [[0.0, 1e12]]), "Data.Delay is not from 0"),
        (lambda d: replace(d, "Data.Delay", [[0.0, np.nan]]), "Data.Delay holds NaN"),
        (lambda d: replace(d, "Data.SamplingRate", [0.0]), "Data.SamplingRate is 0"),
        (lambda d: replace(d, "Data.SamplingRate", [44100.0, 48000.0]), "44100, 48000; expected one rate"),
        (lambda d: replace(d, "Data.SamplingRate", b"44100"), "expected real numbers"),
        (lambda d: d["Data.SamplingRate"].attrs.__setitem__("Units", "kilohertz"), "'kilohertz'"),
        (lambda d: replace(d, "SourcePosition", np.full((8, 3), np.inf)), "SourcePosition holds NaN or infinite"),
        (lambda d: replace(d, "SourcePosition", np.ones((8, 2))), r"SourcePosition has the shape \(8, 2\)"),
        (lambda d: d["SourcePosition"].attrs.__setitem__("Type", "polar"), "'polar'; expected cartesian"),
        (lambda d: d["SourcePosition"].attrs.__setitem__("Units", "radian, radian, metre"), "'radian, radian"),
        (lambda d: replace(d, "ListenerView", [[0.0, 0.0, 0.0]]), "ListenerView has no direction"),
        (lambda d: replace(d, "ListenerUp", [[1.0, 0.0, 0.0]]), "ListenerUp has no direction"),
        (lambda d: replace(d, "ListenerPosition", [[0.0, 1.5, 0.0]]) or
         replace(d, "SourcePosition", np.full((8, 3), [90.0, 0.0, 1.5])), "is the listener's own"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves_are_one_line(file, change, said):
    make_sofa(file)
    rewrite(file, change)
    with pytest.raises(MetadataError, match=said) as caught:
        heads.read_sofa(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_responses_that_are_no_numbers_are_named(file, bad):
    ir = make_sofa(file)
    ir[3, 1, 17] = bad
    rewrite(file, lambda data: replace(data, "Data.IR", ir))
    sofa = heads.read_sofa(file)
    assert heads.read_responses(sofa, [2, 4], [0, 1]).shape == (2, 2, 200)
    with pytest.raises(MetadataError, match=r"NaN or infinite values \(measurement 3\)"):
        heads.read_responses(sofa, [2, 3], [0, 1])


def test_a_file_cut_anywhere_is_one_line(file, tmp_path):
    make_sofa(file)
    content = file.read_bytes()
    for length in (0, 7, 500, len(content) // 2, len(content) - 1):
        cut = tmp_path / f"cut{length}.sofa"
        cut.write_bytes(content[:length])
        with pytest.raises(MetadataError, match=r"damaged|not a SOFA file") as caught:
            heads.read_sofa(cut)
        assert str(caught.value).startswith(f"{cut}: ") and "\n" not in str(caught.value)


def test_any_damaged_byte_gives_an_error_of_one_line_or_a_file_that_is_read(file, tmp_path):
    make_sofa(file, azimuths=[30, 330])
    content = file.read_bytes()
    random = np.random.default_rng(3)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 20):
            damaged[place] ^= 1 << random.integers(8)
        other = tmp_path / "damaged.sofa"
        other.write_bytes(damaged)
        try:
            sofa = heads.read_sofa(other)
            heads.read_responses(sofa, [0], [0])
        except MetadataError as error:
            refused += 1
            assert str(error).startswith(f"{other}: ") and "\n" not in str(error)
    assert refused > 20
