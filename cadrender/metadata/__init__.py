"""The JSON contracts: music, positions, gains, scenes, listeners; read, checked, written and generated."""
