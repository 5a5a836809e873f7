"""Interventions on a forward pass of any model: recording, patching, interpolation, modified backward passes.

Each is a set of visitors for ``ResidualModel.forward``: functions that the model calls with the value at a site, and
that may return a replacement. ``recording.merge`` combines several interventions into one run.

The code of this folder is sent to servers as source; ``eap_plugin.backend.nnsight.remote.code_shipping`` lists what it
must not use.
"""
