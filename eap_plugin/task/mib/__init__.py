"""The tasks of MIB, the Mechanistic Interpretability Benchmark: rows of its datasets as prompt pairs."""
