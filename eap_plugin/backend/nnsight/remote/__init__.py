"""Runs on a server: what is sent there, how the answer is waited for, and what comes back."""
