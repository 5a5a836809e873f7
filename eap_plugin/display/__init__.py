"""Pictures of scores, circuits and evaluations."""
