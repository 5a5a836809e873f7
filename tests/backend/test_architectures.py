"""docs/architectures.md and README.md name the zoo's families, and models are refused with the message they give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.verdicts import BACKENDS, NO_BRIDGE, refusal
from tests.support.zoo import FAMILIES, RECIPES, REFUSED, build

ROOT = Path(__file__).parents[2]
RIGHT_PART, REFUSED_PART = (ROOT / "docs/architectures.md").read_text().split("\n## Refused\n")


def rows(part: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its heading."""
    return [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")][2:]


def families(names: tuple[str, ...]) -> str:
    """Return the names of families, each once."""
    return ", ".join(dict.fromkeys(RECIPES[name].family for name in names))


def test_the_page_says_which_are_right() -> None:
    assert [row[0] for row in rows(RIGHT_PART)] == [RECIPES[name].title for name in FAMILIES]
    for title, _, *errors in rows(RIGHT_PART):
        assert len(errors) == 4, title
        assert all(float(error) <= allowed for error, allowed in zip(errors, (1e-5, 1e-12) * 2, strict=True)), title


def test_the_page_says_which_are_refused() -> None:
    expected = [(RECIPES[name].title, backend) for name in REFUSED for backend in BACKENDS]
    assert [(row[0], row[2]) for row in rows(REFUSED_PART)] == expected


def test_the_readme_names_the_families() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    n = len({RECIPES[name].family for name in FAMILIES})
    assert f"{n} families: {families(FAMILIES)}." in readme


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, backend: str) -> None:
    """In one line, which names the architecture, and is that of the page but for numbers."""
    line = refusal(name, backend)
    assert "\n" not in line
    (told,) = (row[3] for row in rows(REFUSED_PART) if (row[0], row[2]) == (RECIPES[name].title, backend))
    assert without_numbers(line) == without_numbers(told)
    if backend == "nnsight" or name not in NO_BRIDGE:
        assert type(build(name)).__name__ in line


def without_numbers(line: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e-?\d+)?", "#", line)
