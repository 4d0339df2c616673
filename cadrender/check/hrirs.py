"""The HRIRs: readable, audible, and with the nearer ear on the right side."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cadrender.check.area import Area
from cadrender.errors import AudioError
from cadrender.metadata.positions import HeadPosition, on_median_plane
from cadrender.store import read_hrir
from cadrender.wording import plural

# A response begins at the first tap of this fraction of its peak.
_ONSET = 0.2


def check_hrirs(folder: Path, positions: Iterable[HeadPosition], samplerate: int) -> Area:
    """Check every HRIR that head positions refer to."""
    area = Area("HRIRs", "files")
    needed: dict[Path, tuple[float, list[str]]] = {}
    for position in positions:
        left, right = position.hrir_files(folder)
        for file, angle in ((left, -abs(position.left_angle)), (right, abs(position.right_angle))):
            users = needed.setdefault(file, (angle, []))[1]
            if position.id not in users:
                users.append(position.id)
    area.checked = len(needed)
    for file, (angle, users) in needed.items():
        try:
            hrir = read_hrir(file, samplerate)
        except AudioError as error:
            others = f" and {len(users) - 1} more" if len(users) > 1 else ""
            area.problems.append(f"{error} (needed by {users[0]}{others})")
            continue
        area.problems += [f"{file}: {problem}" for problem in hrir_problems(hrir, angle)]
    return area


def hrir_problems(hrir: npt.NDArray[np.floating], angle: float) -> list[str]:
    """Find what is implausible about an HRIR.

    Parameters
    ----------
    hrir : ndarray
        (taps, 2): left ear, right ear.
    angle : float
        Of the loudspeaker, in degrees; left is negative. Straight ahead and behind, no ear is nearer.

    Returns
    -------
    list of str
        A silent ear; an ear that is nearer to the loudspeaker but receives it later or quieter. A response begins
        where it first reaches a fifth of its peak.
    """
    silent = [ear for ear, response in zip(("left", "right"), hrir.T, strict=True) if not response.any()]
    if silent:
        return [f"the {ear} ear is silent" for ear in silent]
    if on_median_plane(angle):
        return []
    near, far = (0, 1) if angle < 0 else (1, 0)
    side = "left" if angle < 0 else "right"
    onsets = [int(np.argmax(np.abs(ear) >= _ONSET * np.abs(ear).max())) for ear in hrir.T]
    problems = []
    if onsets[near] > onsets[far]:
        late = onsets[near] - onsets[far]
        problems.append(
            f"the {side} ear is nearer to the loudspeaker but receives it {plural(late, 'tap')} later"
        )
    energies = (hrir**2).sum(axis=0)
    if energies[near] < energies[far]:
        less = 10 * np.log10(energies[far] / energies[near])
        problems.append(f"the {side} ear is nearer to the loudspeaker but receives it {less:.1f} dB quieter")
    return problems
