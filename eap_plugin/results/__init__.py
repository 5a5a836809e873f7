"""What a run gives: scores of edges, writers and neurons, their file, and their forms for other tools."""
