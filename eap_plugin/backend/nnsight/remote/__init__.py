"""Runs on an NDIF server: sending the code, waiting for the result, decoding it, and a simulation for tests."""
