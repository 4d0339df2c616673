"""What each product is: a signal that can be read anywhere without a file, and the fast way to make several."""

from cadrender.signals.at_mic import AtMic
from cadrender.signals.base import Made, NotReadyError, Signal
from cadrender.signals.excerpt import ExcerptStem
from cadrender.signals.target import Amplified, Stored, Submission, Target

__all__ = [
    "Amplified",
    "AtMic",
    "ExcerptStem",
    "Made",
    "NotReadyError",
    "Signal",
    "Stored",
    "Submission",
    "Target",
]
