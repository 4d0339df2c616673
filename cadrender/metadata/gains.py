"""Gains: by how many decibels each stem is turned up or down (``gains.json``)."""

from pathlib import Path

from cadrender.metadata.contract import check_number, check_object, check_text, read_entries, shown


def read_gains(file: Path) -> dict[str, dict[str, float]]:
    """Read the gains in dB, by id and then by stem, in file order.

    The numbers are int or float, as the file has them.

    Raises
    ------
    MetadataError
        If the file breaks its contract.
    """
    gains = {}
    for name, item in read_entries(file, "gain").items():
        what = f"gain {shown(name)}"
        gains[name] = {
            check_text(stem, file, f"{what}: stem"): check_number(value, file, f"{what}: {shown(stem)}")
            for stem, value in check_object(item, file, what).items()
        }
    return gains
