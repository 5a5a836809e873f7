"""Methods that use activations alone, from forward passes on clean prompts."""
