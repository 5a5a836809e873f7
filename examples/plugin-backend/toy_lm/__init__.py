"""A model backend for eap-plugin."""
