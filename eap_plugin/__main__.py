"""``python -m eap_plugin`` is ``eap``."""

from __future__ import annotations

from eap_plugin.cli import main

if __name__ == "__main__":
    main(prog_name="eap")
