"""Listeners and their audiograms (``listeners.<split>.json``); section 9 of ``docs/contract.md``."""

import bisect
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cadrender.errors import MetadataError
from cadrender.metadata.contract import (
    check_list,
    check_number,
    check_object,
    check_text,
    collecting,
    field,
    read_entries,
    shown,
)

# World report on hearing, World Health Organization 2021, table 1.3: where each grade begins, in dB HL.
_WHO_GRADES = ("normal", "mild", "moderate", "moderately severe", "severe", "profound", "complete")
_WHO_STARTS = (20, 35, 50, 65, 80, 95)
_WHO_FREQUENCIES = (500, 1000, 2000, 4000)

# Recommended Procedure: Pure-tone audiometry, British Society of Audiology 2018, audiometric descriptors:
# where each ends, in dB HL. Below 20 dB there is none.
_BSA_DESCRIPTORS = ("mild", "moderate", "severe", "profound")
_BSA_ENDS = (40, 70, 95)
_BSA_FREQUENCIES = (250, 500, 1000, 2000, 4000)


@dataclass(frozen=True)
class Listener:
    """A listener's hearing.

    Attributes
    ----------
    id : str
        Such as ``L0001``.
    cfs : tuple of numbers
        The audiogram's frequencies in Hz, rising.
    levels_left, levels_right : tuple of numbers
        Each ear's hearing threshold at those frequencies, in dB HL.
    """

    id: str
    cfs: tuple[float, ...]
    levels_left: tuple[float, ...]
    levels_right: tuple[float, ...]

    @property
    def better_ear_average(self) -> float:
        """The lower of the two ears' mean thresholds over 500, 1000, 2000 and 4000 Hz, in dB HL.

        Raises
        ------
        MetadataError
            If the audiogram lacks one of these frequencies.
        """
        return self._better_ear(_WHO_FREQUENCIES)

    @property
    def severity_who(self) -> str:
        """The World Health Organization's grade of hearing loss (World report on hearing, 2021, table 1.3).

        By `better_ear_average`: below 20 dB HL ``normal``, then ``mild``, from 35 ``moderate``, from 50
        ``moderately severe``, from 65 ``severe``, from 80 ``profound``, from 95 ``complete``.
        """
        return _WHO_GRADES[bisect.bisect_right(_WHO_STARTS, self.better_ear_average)]

    @property
    def severity_bsa(self) -> str:
        """The British Society of Audiology's descriptor (Pure-tone audiometry, 2018), for the better ear.

        By the mean threshold over 250, 500, 1000, 2000 and 4000 Hz: from 20 dB HL ``mild``, above 40
        ``moderate``, above 70 ``severe``, above 95 ``profound``; below 20 ``normal``.

        Raises
        ------
        MetadataError
            If the audiogram lacks one of these frequencies.
        """
        average = self._better_ear(_BSA_FREQUENCIES)
        return "normal" if average < 20 else _BSA_DESCRIPTORS[bisect.bisect_left(_BSA_ENDS, average)]

    def _better_ear(self, frequencies: tuple[int, ...]) -> float:
        try:
            places = [self.cfs.index(frequency) for frequency in frequencies]
        except ValueError:
            lacking = next(frequency for frequency in frequencies if frequency not in self.cfs)
            raise MetadataError(f"listener {shown(self.id)}: no threshold at {lacking} Hz") from None
        ears = (self.levels_left, self.levels_right)
        return min(sum(levels[place] for place in places) / len(places) for levels in ears)


def read_listeners(file: Path, problems: list[str] | None = None) -> dict[str, Listener]:
    """Read the listeners by their ids, in file order.

    Raises
    ------
    MetadataError
        If the file breaks its contract: wrong structure, frequencies that do not rise, or a different number of
        levels and frequencies.
    """
    listeners = {}
    for name, item in read_entries(file, "listener", problems).items():
        with collecting(problems):
            listeners[name] = _listener(name, item, file)
    return listeners


def _listener(name: str, item: object, file: Path) -> Listener:
    what = f"listener {shown(name)}"
    item = check_object(item, file, what)
    if (own_name := check_text(item.get("name", name), file, f"{what}: name")) != name:
        raise MetadataError(f"{file}: {what}: its name is {shown(own_name)}, not its id")
    listener = Listener(name, *(_numbers(item, key, file, what) for key in ("audiogram_cfs", *_LEVELS)))
    rises = all(low < high for low, high in zip((0, *listener.cfs), listener.cfs, strict=False))
    if not listener.cfs or not rises:
        raise MetadataError(f"{file}: {what}: audiogram_cfs must be rising frequencies above 0 Hz")
    for key, levels in zip(_LEVELS, (listener.levels_left, listener.levels_right), strict=True):
        if len(levels) != len(listener.cfs):
            numbers = f"{len(levels)} numbers for {len(listener.cfs)} frequencies"
            raise MetadataError(f"{file}: {what}: {key} has {numbers}")
    return listener


_LEVELS = ("audiogram_levels_l", "audiogram_levels_r")


def _numbers(item: dict[str, object], key: str, file: Path, what: str) -> tuple[float, ...]:
    values = check_list(field(item, key, file, what), file, f"{what}: {key}")
    return tuple(check_number(value, file, f"{what}: {key}: item {n}") for n, value in enumerate(values, 1))


def listeners_json(listeners: Iterable[Listener]) -> str:
    """Write listeners as JSON text, in the layout of the distributed ``listeners.train.json``."""
    entries = {
        listener.id: {
            "name": listener.id,
            "audiogram_cfs": listener.cfs,
            "audiogram_levels_l": listener.levels_left,
            "audiogram_levels_r": listener.levels_right,
        }
        for listener in listeners
    }
    return json.dumps(entries, indent=4)
