"""Circuits: chosen from scores, and judged by what is left of the behaviour when only they are kept."""
