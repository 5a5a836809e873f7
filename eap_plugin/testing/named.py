"""The tests run by ``pytest --eap-algorithm NAME``."""

from __future__ import annotations

import pytest

from eap_plugin.testing.algorithm import AlgorithmTests, Chosen


class TestNamed(AlgorithmTests):
    """The checks of algorithms named on the command line, with default options."""

    @pytest.fixture
    def chosen(self, named_algorithm: str) -> Chosen:
        """Choose one of the algorithms."""
        return Chosen(named_algorithm, {})
