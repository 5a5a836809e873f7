"""Write docs/architectures.md: the error or the refusal of each backend on every model of the zoo.

python -m scripts.list_architectures
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from tests.support.verdicts import ALLOWED, BACKENDS, refusal, score_error
from tests.support.zoo import FAMILIES, RECIPES, REFUSED, build

PAGE = Path(__file__).parents[1] / "docs/architectures.md"

INTRODUCTION = """\
# Architectures

Every model below is made from its Hugging Face configuration. It is tiny and far from linear, with random weights,
biases and norm weights. `make architectures` writes this page, and tests compare it with the models.

## Supported

The largest error of an edge's score in Edge Attribution Patching, relative to the model's largest score, against plain
autograd on the Hugging Face model. Errors up to 1e-5 in float32 and 1e-12 in float64 are allowed.
"""

REFUSALS = """
## Refused

The error message for each model. If TransformerLens cannot make a bridge of the model, the message is its own.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *_right(), REFUSALS, *_refused(), ""])


def _right() -> Iterator[str]:
    kinds = [(backend, dtype) for backend in BACKENDS for dtype in ALLOWED]
    yield _row("family", "class", *(f"{backend}, {str(dtype).removeprefix('torch.')}" for backend, dtype in kinds))
    yield _row("---", "---", *("---:" for _ in kinds))
    for name in FAMILIES:
        errors = {(backend, dtype): score_error(name, backend, dtype) for backend, dtype in kinds}
        if wrong := [kind for kind, error in errors.items() if error > ALLOWED[kind[1]]]:
            raise SystemExit(f"the scores of {name} are wrong: {wrong}")
        yield _row(RECIPES[name].title, _class(name), *(f"{error:.0e}" for error in errors.values()))


def _refused() -> Iterator[str]:
    yield _row("family", "class", "through", "refused with")
    yield _row("---", "---", "---", "---")
    for name in REFUSED:
        for backend in BACKENDS:
            yield _row(RECIPES[name].title, _class(name), backend, refusal(name, backend))


def _class(name: str) -> str:
    return f"`{type(build(name)).__name__}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGE.write_text(page())
