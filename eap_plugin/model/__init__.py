"""A model as algorithms see it: its graph of writers and readers, its norms and projections, and one forward pass.

The code of this folder is sent to servers as source; what it may not use stands in
``eap_plugin.backend.nnsight.remote.code_shipping``.
"""
