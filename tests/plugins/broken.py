"""Distributions of plugins that are each wrong in their own way."""

from __future__ import annotations

import textwrap
from pathlib import Path

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"

[project.entry-points.eap_plugin]
{name} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""

ALGORITHM = """
from dataclasses import dataclass

from eap_plugin import hookimpl


@hookimpl
def register_algorithms(register):
    import torch
    from eap_plugin.algorithm.base import Algorithm, Attribution, Cost

    @dataclass(frozen=True)
    class Options:
        pass

    class Mine(Algorithm):
        name, summary, reference, options = "{name}", "is broken", "-", Options

        def cost(self, options, graph):
            return Cost(0, 0)

        def attribute(self, model, data, metric, options, progress):
            graph = model.graph
            matrix = torch.zeros(len(graph.sources), len(graph.readers))
{body}
            return Attribution(graph, matrix)

    register(Mine())
"""


def _algorithm(name: str, body: str) -> str:
    return ALGORITHM.format(name=name, body=textwrap.indent(textwrap.dedent(body).strip(), " " * 12))


BROKEN = {
    "raises-on-import": "raise RuntimeError('no licence found')",
    "needs-a-package": "import a_package_that_is_missing",
    "hook-of-tomorrow": (
        "from eap_plugin import hookimpl\n\n\n@hookimpl\ndef register_visualizers(register):\n    register(None)\n"
    ),
    "claims-eap": _algorithm("eap", "pass"),
    "wrong-shape": _algorithm("wrong-shape", "matrix = matrix[:-1]"),
    "gives-nan": _algorithm("gives-nan", "matrix[0, 0] = float('nan')"),
    "fails-midway": _algorithm("fails-midway", "raise KeyError('layer 7')"),
    "leaves-hooks": _algorithm(
        "leaves-hooks",
        """
        for module in model.modules():
            module.register_forward_hook(lambda module, args, output: None)
        """,
    ),
}
"""The code of each plugin's module, by the distribution's name."""


def version_of(name: str) -> str:
    """Return a version that differs for each plugin."""
    return f"1.{list(BROKEN).index(name)}"


def write_broken(folder: Path) -> list[Path]:
    """Write all of them as projects to install."""
    projects = []
    for name, code in BROKEN.items():
        module = name.replace("-", "_")
        package = folder / name / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(code)
        project = PROJECT.format(name=name, module=module, version=version_of(name))
        (folder / name / "pyproject.toml").write_text(project)
        projects.append(folder / name)
    return projects
