"""The self-check, which compares the graph of edges with what a model computes."""
