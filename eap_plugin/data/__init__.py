"""Prompt pairs: the batches that are judged together, and the microbatches that are run together.

This code is sent to servers as source: see ``eap_plugin.backend.nnsight.remote.code_shipping`` for what it may not use.
"""
