"""The conformance kit on pytest's command line: ``pytest --eap-algorithm NAME`` needs no test module."""

from __future__ import annotations

from pathlib import Path

import pytest

OPTION = "--eap-algorithm"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--eap-algorithm``."""
    group = parser.getgroup("eap-plugin")
    group.addoption(OPTION, action="append", default=[], metavar="NAME", help="check a registered algorithm")


def pytest_configure(config: pytest.Config) -> None:
    """Run the kit's own test module, and other tests only if their paths are given."""
    if config.getoption(OPTION):
        asked = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
        config.args = [*asked, str(Path(__file__).parents[1] / "testing" / "named.py")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the checks over the algorithms that were named."""
    if "named_algorithm" in metafunc.fixturenames:
        metafunc.parametrize("named_algorithm", metafunc.config.getoption(OPTION))
