"""What is done to a run of any model: recording, patching, interpolation, changed backward passes.

The code of this folder is sent to servers as source; what it may not use stands in
``eap_plugin.backend.nnsight.remote.code_shipping``.
"""
