"""What ``eap plugins new`` writes passes its own tests at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from eap_plugin.host.skeleton import SAMPLES
from tests.plugins.environment import Environment


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_new_plugin_is_installed_found_and_passes_its_tests(
    environment: Environment, tmp_path: Path, kind: str
) -> None:
    name = f"my-{kind}"
    done = environment.eap("plugins", "new", name, "--kind", kind, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    environment.install(tmp_path / name)
    try:
        assert name in [entry["name"] for entry in environment.json(f"{kind}s")]
        assert "passed" in environment.pytest(tmp_path / name)
    finally:
        environment.uninstall(name)
