"""One stem and its head positions -> at-mic samples; arrays in, arrays out."""

from cadrender.render.stem import Level, at_mic, at_mic_stem, levels

__all__ = ["Level", "at_mic", "at_mic_stem", "levels"]
