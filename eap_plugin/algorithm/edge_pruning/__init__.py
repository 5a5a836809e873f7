"""Edge Pruning, the training of its gates, and its checkpoints."""
