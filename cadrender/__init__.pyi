# What __init__.py imports lazily, spelled out for type checkers and editors.
from cadrender.dataset import Dataset
from cadrender.dsp.amplify import amplify
from cadrender.dsp.loudness import integrated_loudness
from cadrender.dsp.rebalance import rebalance
from cadrender.dsp.render import at_mic_stem
from cadrender.errors import AudioError, CadrenderError, MetadataError, UsageError
from cadrender.metadata.listeners import Listener
from cadrender.metadata.samples import Sample
from cadrender.root import Root, Scene, open_root
from cadrender.stems import STEMS

__version__: str

__all__ = [
    "STEMS",
    "AudioError",
    "CadrenderError",
    "Dataset",
    "Listener",
    "MetadataError",
    "Root",
    "Sample",
    "Scene",
    "UsageError",
    "__version__",
    "amplify",
    "at_mic_stem",
    "integrated_loudness",
    "open_root",
    "rebalance",
]
