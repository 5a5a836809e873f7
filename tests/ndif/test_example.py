"""The example in the documentation runs against a server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.ndif.server import NdifServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "remote_ndif.py"


def test_the_example(server: NdifServer) -> None:
    command = [sys.executable, str(EXAMPLE), "ioi-gpt2", "--server", server.url]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    assert "running: " in out and "->logits" in out
    assert int(re.findall(r"preserves (\d+)%", out)[0]) > 50
    assert int(re.findall(r"(\d+) bytes sent", out)[0]) < 100_000
