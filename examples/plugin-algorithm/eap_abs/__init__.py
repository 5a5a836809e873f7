"""An algorithm for eap-plugin."""
