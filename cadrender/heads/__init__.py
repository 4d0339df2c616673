"""Heads from SOFA files as HRIR files and positions, and HRIR files resampled to a root's rate.

See section 16 of ``docs/contract.md``.
"""

from cadrender.heads.add import ANGLES, Head, Import, plane_azimuths, prepare_heads, write_heads
from cadrender.heads.impulse import delayed, resampled
from cadrender.heads.resample import resample_files, wrong_rates
from cadrender.heads.sofa import Receiver, Sofa, read_responses, read_sofa

__all__ = [
    "ANGLES",
    "Head",
    "Import",
    "Receiver",
    "Sofa",
    "delayed",
    "plane_azimuths",
    "prepare_heads",
    "read_responses",
    "read_sofa",
    "resample_files",
    "resampled",
    "write_heads",
    "wrong_rates",
]
