"""The commands of ``eap``, a file for each, or for several that are alike."""
