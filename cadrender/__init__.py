"""cadrender: music as a hearing aid's microphones pick it up, sample for sample as the challenge makes it.

>>> import cadrender
>>> root = cadrender.open_root("/data/icassp_2024")  # doctest: +SKIP
>>> pcm = root.render(root.samples[0], "vocals")  # doctest: +SKIP
"""

import importlib

# Public names and where they live; imported when first used, so that `import cadrender` costs nothing.
_PUBLIC = {
    "AudioError": "cadrender.errors",
    "CadrenderError": "cadrender.errors",
    "Dataset": "cadrender.dataset",
    "Listener": "cadrender.metadata.listeners",
    "MetadataError": "cadrender.errors",
    "Root": "cadrender.root",
    "STEMS": "cadrender.stems",
    "Sample": "cadrender.metadata.samples",
    "Scene": "cadrender.root",
    "UsageError": "cadrender.errors",
    "amplify": "cadrender.dsp.amplify",
    "at_mic_stem": "cadrender.dsp.render",
    "integrated_loudness": "cadrender.dsp.loudness",
    "open_root": "cadrender.root",
    "rebalance": "cadrender.dsp.rebalance",
}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name):
    if name == "__version__":
        from cadrender.version import version

        return version()
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
