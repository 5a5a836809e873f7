"""One run from arguments to a matrix: self-check, algorithm, requests to a server, provenance."""
