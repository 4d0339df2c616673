"""The engine's speed, alone, against the limit and against rivals: ASV suites, tables, a plot, the reference."""
