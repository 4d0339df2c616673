"""Supplementary corpora as people have them on disk, made into songs of a root.

Each corpus is a module with a function ``scan``, which finds its songs: `medleydb`, `bach10`, `fma` and
`folder`. `ingest` converts them.
"""

from cadrender.corpora import bach10, fma, folder, medleydb
from cadrender.corpora.convert import Outcome
from cadrender.corpora.ingest import Report, ingest, root_samplerate
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.corpora.remove import Removed, remove

__all__ = [
    "Corpus",
    "LeftOut",
    "Outcome",
    "Removed",
    "Report",
    "SourceTrack",
    "bach10",
    "fma",
    "folder",
    "ingest",
    "medleydb",
    "remove",
    "root_samplerate",
]
