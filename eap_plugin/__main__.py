"""Run the command ``eap`` as ``python -m eap_plugin``."""

from __future__ import annotations

from eap_plugin.cli import main

if __name__ == "__main__":
    main(prog_name="eap")
