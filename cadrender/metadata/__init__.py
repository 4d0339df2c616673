"""The JSON contracts: music, positions, gains, scenes, listeners. Reading, checking, drawing, writing."""
