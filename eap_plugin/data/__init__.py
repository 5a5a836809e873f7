"""Prompt pairs: the batches that are judged together, and the microbatches that are run together.

The code of this folder is sent to servers as source; what it may not use stands in
``eap_plugin.backend.nnsight.remote.code_shipping``.
"""
