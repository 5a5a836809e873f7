"""A model as algorithms see it: its graph of writers and readers, its norms and projections, and one forward pass.

This code is sent to servers as source: see ``eap_plugin.backend.nnsight.remote.code_shipping`` for what it may not use.
"""
