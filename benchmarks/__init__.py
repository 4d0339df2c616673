"""How fast the engine is, how near the limit, and against what: ASV suites, tables, a plot, the reference."""
