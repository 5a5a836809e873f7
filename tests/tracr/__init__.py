"""Models whose circuits are known, because they were compiled from programs."""
