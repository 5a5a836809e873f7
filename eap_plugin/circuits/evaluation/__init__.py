"""Evaluation of circuits: the model is run with everything outside of them ablated, and what is left is measured."""
