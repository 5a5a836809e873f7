"""One run of an algorithm: the self-check, the scores, requests to a server, and provenance."""
