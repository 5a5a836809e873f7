"""Prompt pairs: batches, over which a metric is averaged, and microbatches, which run through the model together.

The code of this folder is sent to servers as source; ``eap_plugin.backend.nnsight.remote.code_shipping`` lists what it
must not use.
"""
