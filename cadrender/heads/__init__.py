"""Heads from SOFA files as HRIR files and positions; positions rebuilt from HRIR files, which may be resampled.

See section 16 of ``docs/contract.md``.
"""

from cadrender.heads.add import ANGLES, Head, Import, plane_azimuths, prepare_heads, write_heads
from cadrender.heads.impulse import delayed, resampled
from cadrender.heads.rebuild import Rebuilt, rebuild_positions
from cadrender.heads.resample import resample_files, wrong_rates
from cadrender.heads.sofa import Receiver, Sofa, read_responses, read_sofa

__all__ = [
    "ANGLES",
    "Head",
    "Import",
    "Rebuilt",
    "Receiver",
    "Sofa",
    "delayed",
    "plane_azimuths",
    "prepare_heads",
    "read_responses",
    "read_sofa",
    "rebuild_positions",
    "resample_files",
    "resampled",
    "write_heads",
    "wrong_rates",
]
