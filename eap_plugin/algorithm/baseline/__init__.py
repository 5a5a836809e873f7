"""Baselines that do not use the model."""
