"""The names that users and authors of plugins import: what type checkers are told is what is loaded."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import eap_plugin

ROOT = Path(__file__).parents[1]
FACES = ("eap_plugin", "eap_plugin.plugin")
SAMPLES = sorted((ROOT / "examples").glob("plugin-*/*/*.py"))
FOR_AUTHORS = {"eap_plugin", "eap_plugin.plugin", "eap_plugin.testing"}


@pytest.mark.parametrize("face", FACES)
def test_type_checkers_are_told_the_same(face: str) -> None:
    module = import_module(face)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    told = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert told == {name: f"eap_plugin.{home}" for name, home in module._HOME.items()}
    assert sorted(told) == module.__all__


@pytest.mark.parametrize("face", FACES)
def test_every_name_is_there(face: str) -> None:
    module = import_module(face)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute 'nothing'"):
        _ = module.nothing


def test_registries_are_functions_once_their_folders_are_imported() -> None:
    """A folder named like a public function would take its place on the package when it is imported."""
    folders = {path.name for path in Path(str(eap_plugin.__file__)).parent.iterdir() if path.suffix in ("", ".py")}
    assert not {name for name in eap_plugin.__all__ if name in folders or f"{name}.py" in folders}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_samples_import_what_is_for_authors(path: Path) -> None:
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name for name in imported if str(name).partition(".")[0] == "eap_plugin"} <= FOR_AUTHORS
