"""Every algorithm with its options, on every family and backend, with and without padding, against the oracle."""
