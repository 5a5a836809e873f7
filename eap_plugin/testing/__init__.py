"""The conformance kit: pytest test classes with the checks that the built-in algorithms and backends pass.

from eap_plugin.testing import AlgorithmTests

class TestMine(AlgorithmTests):
    algorithm = "mine"
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("eap_plugin.testing.algorithm", "eap_plugin.testing.backend", "eap_plugin.testing.state")

from eap_plugin.testing.algorithm import AlgorithmTests  # noqa: E402 - registered first
from eap_plugin.testing.backend import AgreementTests, BackendTests  # noqa: E402

__all__ = ["AgreementTests", "AlgorithmTests", "BackendTests"]
