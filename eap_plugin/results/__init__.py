"""The results of a run: scores of edges, writers and neurons, the score file, and conversion for other tools."""
