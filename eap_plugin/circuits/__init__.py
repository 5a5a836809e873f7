"""Circuits: selected from scores, and evaluated by how well they alone preserve the model's behaviour."""
