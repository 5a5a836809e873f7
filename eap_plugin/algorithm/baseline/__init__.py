"""Scores to compare with that know nothing of the model."""
