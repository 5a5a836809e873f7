"""The formats of prompt files, one per module."""
