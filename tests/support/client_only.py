"""A plugin package that is installed here but not on a server."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eap_plugin.host import get_host

PACKAGE = "circuit_lab"

GOOD = {
    "sums": """
        import torch

        SCALE = {"both": 2.0}


        class Sum:
            def __init__(self, like):
                self.total = torch.zeros_like(like)

            def add(self, matrix):
                self.total += SCALE["both"] * matrix
    """,
    "algorithm": """
        import torch

        from circuit_lab.options import TwiceOptions
        from circuit_lab.sums import Sum
        from eap_plugin.algorithm.base import Algorithm, Attribution, Cost
        from eap_plugin.algorithm.gradient.eap import EAP
        from eap_plugin.algorithm.gradient.base import GradientOptions


        class Twice(Algorithm):
            name, summary, reference = "twice", "the scores of eap, times two", "-"
            options = TwiceOptions

            def cost(self, options, graph):
                return Cost(2, 1)

            def attribute(self, model, data, metric, options, progress):
                found = EAP().attribute(model, data, metric, GradientOptions(), progress)
                doubled = Sum(found.matrix)
                doubled.add(found.matrix)
                return Attribution(found.graph, doubled.total * options.factor)
    """,
    "options": """
        from dataclasses import dataclass

        from eap_plugin.host.options import option


        @dataclass(frozen=True)
        class TwiceOptions:
            factor: float = option(1.0, help="times every score")
    """,
    "plugin": """
        from eap_plugin import hookimpl


        @hookimpl
        def register_algorithms(register):
            from circuit_lab.algorithm import Twice

            register(Twice())
    """,
}

BAD: dict[str, tuple[str, str, str]] = {
    "a cache": (
        "    def add",
        "    @lru_cache\n    def scale(self):\n        return 2.0\n\n    def add",
        r"circuit_lab\.sums\.Sum\.scale, which functools\.cache or lru_cache made .* remove the cache",
    ),
    "an import in a function": (
        "        self.total +=",
        "        from circuit_lab import options\n        self.total +=",
        r"circuit_lab\.sums\.Sum\.add imports circuit_lab in its body.* import it at the top",
    ),
    "a relative import in a function": (
        "        self.total +=",
        "        from .options import TwiceOptions\n        self.total +=",
        r"circuit_lab\.sums\.Sum\.add imports \.options in its body.* import it at the top",
    ),
    "a decorator": (
        "    def add",
        "    @torch.no_grad()\n    def add",
        r"circuit_lab\.sums\.Sum\.add is decorated, but is sent without its decorators",
    ),
    "super": (
        "        self.total = torch",
        "        super().__init__()\n        self.total = torch",
        r"circuit_lab\.sums\.Sum\.__init__ calls super\(\).* name the base class",
    ),
    "a lock": (
        '"both": 2.0',
        '"both": 2.0, "lock": Lock()',
        r"circuit_lab\.sums\.Sum\.add uses SCALE, a dict, which cannot be sent: cannot pickle '_thread\.lock' object",
    ),
    "a package that is here only": (
        "        self.total = torch",
        "        assert Plugin\n        self.total = torch",
        r"circuit_lab\.sums\.Sum\.__init__ uses pluggy\S+, but pluggy is not installed on the server",
    ),
}
"""Changes that prevent the package from being sent: a text in ``sums``, its replacement, and the error message."""

IMPORTS = "from functools import lru_cache\nfrom threading import Lock\n\nfrom pluggy import HookimplMarker as Plugin\n"


@contextmanager
def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str] | None = None) -> Iterator[None]:
    """Install the package in ``folder``, with an optional change to ``sums``, so that it is found as a plugin."""
    package, info = folder / PACKAGE, folder / f"{PACKAGE}-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").touch()
    for name, code in GOOD.items():
        text = textwrap.dedent(code).lstrip()
        if name == "sums" and change is not None:
            assert text.count(change[0]) == 1
            text = IMPORTS + text.replace(*change)
        (package / f"{name}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{PACKAGE}\n")
    (info / "entry_points.txt").write_text(f"[eap_plugin]\nlab = {PACKAGE}.plugin\n")
    get_host.cache_clear()
    try:
        with monkeypatch.context() as patched:
            patched.syspath_prepend(folder)
            yield
    finally:
        get_host.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
