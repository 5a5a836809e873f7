"""One environment for the whole run; each module installs what it needs in it and removes it again."""

from __future__ import annotations

import pytest

from tests.plugins.environment import Environment


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Make the environment."""
    return Environment(tmp_path_factory.mktemp("environment"))
