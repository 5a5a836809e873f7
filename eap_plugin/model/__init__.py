"""A model as algorithms see it: its graph of writers and readers, its norms and projections, and one forward pass.

The code of this folder is sent to servers as source; ``eap_plugin.backend.nnsight.remote.code_shipping`` says what such
code may not use.
"""
