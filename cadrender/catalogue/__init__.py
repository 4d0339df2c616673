"""What a root can give: the outputs of each product, found by name or path, in batches; nothing is written here."""

from cadrender.catalogue.at_mic import AtMicCatalogue
from cadrender.catalogue.base import Catalogue
from cadrender.catalogue.excerpts import ExcerptCatalogue
from cadrender.catalogue.output import Batch, Output
from cadrender.catalogue.targets import SubmissionCatalogue, TargetCatalogue

__all__ = [
    "AtMicCatalogue",
    "Batch",
    "Catalogue",
    "ExcerptCatalogue",
    "Output",
    "SubmissionCatalogue",
    "TargetCatalogue",
]
