"""What is done to a run of any model: recording, patching, interpolation, changed backward passes.

This code is sent to servers as source: see ``eap_plugin.backend.nnsight.remote.code_shipping`` for what it may not use.
"""
