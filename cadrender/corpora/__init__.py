"""Supplementary corpora as people have them on disk, made into songs of a root.

Each corpus is a module with a function ``scan``, which finds its songs: `medleydb`, `bach10`, `fma` and
`folder`. `ingest` converts them.
"""

from cadrender.corpora import bach10, fma, folder, medleydb
from cadrender.corpora.convert import Outcome
from cadrender.corpora.ingest import Report, ingest
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack

__all__ = [
    "Corpus",
    "LeftOut",
    "Outcome",
    "Report",
    "SourceTrack",
    "bach10",
    "fma",
    "folder",
    "ingest",
    "medleydb",
]
