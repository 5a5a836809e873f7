"""The options with which commands load a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

CONFIGURED = "configured"
"""What ``--remote`` without a value stands for."""

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

_SERVER_OPTIONS = (
    click.option(
        "--remote",
        is_flag=False,
        flag_value=CONFIGURED,
        callback=lambda context, option, value: True if value == CONFIGURED else value or False,
        metavar="[URL]",
        help="Run on a server that has the weights: NDIF, or http://host:port; local simulates one.",
    ),
    click.option(
        "--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Wait so long for a request."
    ),
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument ``MODEL``, which model it is, and the options ``--remote`` and ``--timeout``."""
    for option in reversed(_OPTIONS + _SERVER_OPTIONS):
        command = option(command)
    return click.argument("model")(command)
