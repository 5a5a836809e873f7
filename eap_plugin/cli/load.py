"""The options with which commands load a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DTYPES = ("float32", "float64", "bfloat16", "float16")

_OPTIONS = (
    click.option(
        "--backend", default="transformer_lens", show_default=True, help="What runs the model (eap backends)."
    ),
    click.option("--device", default="cpu", show_default=True, help="Where it runs, such as cuda:0."),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        metavar="DTYPE",
        help=f"Type of the weights: {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.",
    ),
    click.option("--revision", help="The hub's branch, tag or commit of the model."),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument ``MODEL`` and the options ``--backend``, ``--device``, ``--dtype`` and ``--revision``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.argument("model")(command)
