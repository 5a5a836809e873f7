"""The tests that ``pytest --eap-algorithm NAME`` runs."""

from __future__ import annotations

import pytest

from eap_plugin.testing.algorithm import AlgorithmTests, Chosen


class TestNamed(AlgorithmTests):
    """The kit on algorithms named on the command line, with default options."""

    @pytest.fixture
    def chosen(self, named_algorithm: str) -> Chosen:
        """One of them."""
        return Chosen(named_algorithm, {})
