"""Supplementary corpora, in their original layout, converted into songs of a root.

Each corpus is a module whose function ``scan`` finds its songs: `medleydb`, `bach10`, `fma` and `folder`. A
`SongCatalogue` of the songs found lists the outputs; planning and running it makes them.
See section 10 of ``docs/contract.md``.
"""

from cadrender.corpora import bach10, fma, folder, medleydb
from cadrender.corpora.catalogue import SongCatalogue, by_reason, root_samplerate
from cadrender.corpora.layout import Corpus, LeftOut, SourceTrack
from cadrender.corpora.remove import Removed, remove
from cadrender.corpora.song import SongStem

__all__ = [
    "Corpus",
    "LeftOut",
    "Removed",
    "SongCatalogue",
    "SongStem",
    "SourceTrack",
    "bach10",
    "by_reason",
    "fma",
    "folder",
    "medleydb",
    "remove",
    "root_samplerate",
]
