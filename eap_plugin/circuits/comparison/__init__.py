"""Comparison of scores and of circuits: with each other, with their own halves, and with a circuit that is known."""
