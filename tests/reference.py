"""What the tests compare the engine with: the repository's one reference, and a slow twin of every kernel."""

from benchmarks.reference import convolve, loudness, render, to_pcm16

__all__ = ["convolve", "loudness", "render", "to_pcm16"]
