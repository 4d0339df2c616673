"""SOFA files written by sofar, for the tests of heads."""

import numpy as np
import sofar

from tests.roots import head_response

MICS = ("BTE_fr", "ITE")
AZIMUTHS = (0, 22.5, 30, 37.5, 180, 322.5, 330, 337.5)  # counter-clockwise, as in SOFA


def responses(measurements, receivers, taps=200, seed=0):
    """Responses that all differ, (measurements, receivers, taps) float64."""
    out = np.empty((measurements, receivers, taps))
    for row in range(measurements):
        for pair in range(0, receivers, 2):
            head = head_response(taps, 30 + row, 1000 * seed + 10 * row + pair)
            out[row, pair : pair + 2] = head.T[: receivers - pair]
    return out


def make_sofa(
    file,
    *,
    convention="SimpleFreeFieldHRIR",
    version="latest",
    azimuths=AZIMUTHS,
    elevations=0.0,
    distances=1.5,
    receivers=2,
    listener="KEMAR",
    samplerate=44100,
    ir=None,
    cartesian=False,
    descriptions=None,
    **fields,
):
    """Write a SOFA file and return its impulse responses; `fields` are sofar's own names."""
    positions = np.stack(np.broadcast_arrays(np.asarray(azimuths, float), elevations, distances), axis=-1)
    if ir is None:
        ir = responses(len(positions), receivers)
    sofa = sofar.Sofa(convention, version=version)
    sofa.Data_IR = ir
    sofa.Data_Delay = np.zeros((1, ir.shape[1]))
    sofa.Data_SamplingRate = samplerate
    sofa.ReceiverPosition = np.array([[0, 0.09, 0], [0, -0.09, 0]] * (ir.shape[1] // 2))
    sofa.SourcePosition = positions
    if cartesian:
        azimuth, elevation = np.radians(positions[:, 0]), np.radians(positions[:, 1])
        sofa.SourcePosition = positions[:, 2:] * np.stack(
            [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)],
            axis=1,
        )
        sofa.SourcePosition_Type, sofa.SourcePosition_Units = "cartesian", "metre"
    if descriptions is not None:
        sofa.add_variable("ReceiverDescriptions", np.array(descriptions), "string", "RS")
    if listener is not None:
        if convention == "GeneralFIR":
            sofa.add_attribute("GLOBAL_ListenerShortName", listener)
        else:
            sofa.GLOBAL_ListenerShortName = listener
    for name, value in fields.items():
        setattr(sofa, name, value)
    sofar.write_sofa(str(file), sofa)
    return ir
