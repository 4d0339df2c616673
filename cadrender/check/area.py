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
        What is counted, in the plural.
    checked : int
        The count.
    problems, remarks : list of str
        One line each. A remark is worth knowing, but not a fault.
    """

    name: str
    unit: str
    checked: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
