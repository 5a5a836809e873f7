"""Edge Pruning, and the training of its gates."""
