"""What a check found in one area of a root."""

from dataclasses import dataclass, field


@dataclass
class Area:
    """One area of a root that was checked.

    Attributes
    ----------
    name : str
        Such as ``gains`` or ``train: scenes``.
    unit : str
        What is counted.
    checked : int
        How many of them there are.
    problems : list of str
        One line each; empty if all is well.
    remarks : list of str
        What is worth knowing and no fault, one line each.
    """

    name: str
    unit: str
    checked: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
