"""What the public array functions accept, and how they reject the rest: never silent zeros."""

import numpy as np
import pytest

import cadrender
from tests.roots import head_response, music, pcm16

RATE = 44100
SONG = pcm16(music(0.5, 3))
LEFT, RIGHT = head_response(100, 20, 1), head_response(90, 25, 2)
AUDIOGRAM = ((250, 6000), (40, 60))


def at_mic(signal):
    return cadrender.at_mic_stem(signal, RATE, LEFT, RIGHT)


def loudness(signal):
    return cadrender.integrated_loudness(signal, RATE)


def rebalanced(signal):
    stems = dict.fromkeys(("vocals", "drums", "bass", "other"), signal)
    return cadrender.rebalance(stems, dict.fromkeys(stems, -3.0), signal, RATE)


def amplified(signal):
    return cadrender.amplify(signal, RATE, AUDIOGRAM, AUDIOGRAM)


FUNCTIONS = [at_mic, loudness, rebalanced, amplified]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_every_byte_order_and_layout(function, dtype):
    full = {"int16": 2.0**15, "int32": 2.0**31}.get(dtype, 1.0)
    signal = (SONG / 32768 * full).astype(dtype)
    expected = function(signal)
    wider = np.zeros((2 * len(signal), 4), dtype)
    wider[::2, ::2] = signal
    read_only = signal.copy()
    read_only.flags.writeable = False
    for other in (
        signal.astype(signal.dtype.newbyteorder(">")),
        np.asfortranarray(signal),
        wider[::2, ::2],
        np.ascontiguousarray(signal[::-1])[::-1],
        read_only,
    ):
        np.testing.assert_array_equal(function(other), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_float16_is_converted_without_loss(function):
    signal = (SONG / 32768).astype(np.float16)
    np.testing.assert_array_equal(function(signal), function(signal.astype(np.float32)))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "dtype", ["int64", "uint64", "int8", "uint8", "uint16", "uint32", "bool", "complex64", "complex128", "U1"]
)
def test_other_types_are_refused(function, dtype):
    signal = SONG.astype("uint8").astype(dtype) if dtype == "U1" else SONG.astype(dtype)
    with pytest.raises(
        TypeError, match=r"(signal|vocals) has the dtype .*; int16, int32, float32 or float64"
    ) as e:
        function(signal)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_that_are_not_finite_are_refused(function, value, dtype):
    signal = (SONG / 32768).astype(dtype)
    signal[777, 1] = value
    with pytest.raises(ValueError, match="holds NaN or infinite values"):
        function(signal)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    "shape", [(22050,), (22050, 1), (2, 22050), (22050, 2, 1)], ids=lambda shape: str(shape)
)
def test_other_shapes_are_refused(function, shape):
    with pytest.raises(ValueError, match=r"(signal|vocals) has the shape .*; \(n, 2\) is needed"):
        function(np.zeros(shape))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_lists(function):
    small = (SONG / 32768)[:18000]
    np.testing.assert_array_equal(function(small.tolist()), function(small))
    with pytest.raises(TypeError, match="has the dtype int64"):
        function(SONG.tolist())
    with pytest.raises(TypeError, match="is a list of no one shape"):
        function([[1.0, 2.0], [3.0]])


@pytest.mark.parametrize("name", ["left_hrir", "right_hrir"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda hrir: hrir.astype(int), TypeError, "has the dtype int64; float32 or float64 is needed"),
        (lambda hrir: hrir.astype(complex), TypeError, "has the dtype complex128"),
        (lambda hrir: hrir * np.nan, ValueError, "holds NaN or infinite values"),
        (lambda hrir: hrir[:, 0], ValueError, "has the shape"),
    ],
)
def test_hrirs(name, change, error, message):
    hrirs = {"left_hrir": LEFT, "right_hrir": RIGHT}
    hrirs[name] = change(hrirs[name])
    with pytest.raises(error, match=f"^{name} {message}"):
        cadrender.at_mic_stem(SONG, RATE, **hrirs)


def test_hrirs_of_other_layouts():
    expected = at_mic(SONG)
    for change in (lambda x: x.astype(">f8"), np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(
            cadrender.at_mic_stem(SONG, RATE, change(LEFT), change(RIGHT)), expected
        )


@pytest.mark.parametrize("rate", [0, -44100, 44100.5, float("nan"), True])
def test_sample_rates(rate):
    with pytest.raises(ValueError, match="samplerate"):
        cadrender.integrated_loudness(SONG, rate)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "no such", None])
def test_output_types(dtype):
    with pytest.raises(ValueError, match="is neither 'int16' nor 'float64'"):
        cadrender.at_mic_stem(SONG, RATE, LEFT, RIGHT, dtype)


def test_gains_that_are_not_finite():
    stems = dict.fromkeys(("vocals", "drums", "bass", "other"), SONG)
    gains = dict.fromkeys(stems, 0.0) | {"bass": float("nan")}
    with pytest.raises(ValueError, match=r"gains_db\['bass'\] is nan"):
        cadrender.rebalance(stems, gains, SONG, RATE)
