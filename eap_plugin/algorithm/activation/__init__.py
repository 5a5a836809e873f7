"""Methods that look at activations alone: forward passes on clean prompts."""
