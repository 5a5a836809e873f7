"""Integrations with other tools: AutoCircuit, TransformerLens' results, and pytest."""
