"""Which tests fit the installed TransformerLens: ``legacy`` needs a version before 4, the rest version 4."""

from __future__ import annotations

from importlib.metadata import version

LEGACY = int(version("transformer-lens").split(".")[0]) < 4
collect_ignore_glob = (
    ["test_eap_*.py", "test_backend_*.py", "test_cli*.py", "test_patching.py", "test_shipped*.py", "oracle/*"]
    if LEGACY
    else ["legacy/*"]
)
