"""Code that is sent to servers as source has nothing in it that would be lost or changed on the way."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_only import BAD, GOOD, IMPORTS

PACKAGE = Path(__file__).parents[1] / "eap_plugin"
SHIPPED = ("algorithm", "data", "interventions", "metric", "model")
FILES = sorted(file for folder in SHIPPED for file in (PACKAGE / folder).rglob("*.py"))

KEPT = {"abstractmethod", "classmethod", "dataclass", "property", "staticmethod"}
"""Decorators that are sent along with what they decorate."""

STAYING = {"hookimpl"}
"""Decorators of functions that run where plugins are found, and nowhere else."""

PROBLEMS = ("a cache", "a decorator", "a relative import in a function", "an import in a function", "super")
"""The faults of ``client_only.BAD`` that show in the source alone."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def offences(source: str) -> list[str]:
    """Yield what cannot be sent in a module, with its line."""
    return [f"line {node.lineno}: {what}" for node, what in _offences(ast.parse(source), inside=False)]


def _offences(parent: ast.AST, inside: bool) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Function | ast.ClassDef):
            decorators = {_name(decorator) for decorator in node.decorator_list}
            if decorators & STAYING:
                continue
            for decorator in sorted(decorators - KEPT):
                yield node, f"the decorator {decorator} is lost; do in the body what it does"
        if inside and isinstance(node, Function):
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                if argument.annotation is not None and "[Tensor," in ast.unparse(argument.annotation):
                    yield argument.annotation, "a shape in a nested function is looked up there; write Tensor"
        if inside and isinstance(node, ast.Import | ast.ImportFrom):
            yield node, "an import in a body is not found there; import at the top"
        if isinstance(node, ast.Call) and _name(node.func) == "super":
            yield node, "super() is not found there; name the base class"
        yield from _offences(node, inside or isinstance(node, Function))


def _name(expression: ast.expr) -> str:
    """Return the last part of a dotted name, called or not."""
    if isinstance(expression, ast.Call):
        return _name(expression.func)
    return expression.attr if isinstance(expression, ast.Attribute) else getattr(expression, "id", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_it_can_be_sent(file: Path) -> None:
    assert offences(file.read_text()) == []


@pytest.mark.parametrize("folder", SHIPPED)
def test_the_folder_says_so(folder: str) -> None:
    assert "sent to servers as source" in (
        ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())) or ""
    )


def test_what_a_server_takes_passes() -> None:
    assert [offences(textwrap.dedent(source)) for source in GOOD.values()] == [[]] * len(GOOD)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_a_server_does_not_take_is_found(problem: str) -> None:
    old, new, _ = BAD[problem]
    good = textwrap.dedent(GOOD["sums"])
    assert len(offences(IMPORTS + good.replace(old, new))) == 1


def test_shapes_in_nested_functions_are_found() -> None:
    assert len(offences('def f():\n    def g(x: Float[Tensor, "pos"]): ...')) == 1
