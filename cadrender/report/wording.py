"""Numbers as a reader wants them: with their nouns, units and proper signs."""

import math


def thousands(count: int) -> str:
    """A number with narrow no-break spaces between thousands: ``12 345``."""
    return f"{count:,}".replace(",", "\u202f")


def plural(what: str, count: int) -> str:
    """A noun after a number."""
    return what if count == 1 else f"{what}s"


def counted(count: int, what: str) -> str:
    """A number and its noun: ``1 scene``, ``4 scenes``."""
    return f"{thousands(count)} {plural(what, count)}"


def size(count: int) -> str:
    """Bytes as text: ``512 MB``."""
    for unit, step in (("GB", 1e9), ("MB", 1e6)):
        if count >= step:
            return f"{count / step:.3g} {unit}"
    return f"{count / 1e3:.0f} kB"


def typographic(number: str) -> str:
    """A formatted number with a proper minus sign."""
    return number.replace("-", "−")


def signed(azimuth: float) -> str:
    """An azimuth as text: ``−37.5°``."""
    return typographic(f"{azimuth:+g}°") if azimuth else "0°"


def decibels(value: float, sign: bool = False) -> str:
    """A level to a tenth of a decibel, or an infinite one; on request, with a plus."""
    if math.isinf(value):
        return "−∞"
    text = f"{value:+.1f}" if sign else f"{value:.1f}"
    return text.lstrip("+-") if float(text) == 0 else typographic(text)
