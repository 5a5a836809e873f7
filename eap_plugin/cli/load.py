"""The options with which commands load a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

DTYPES = ("float32", "float64", "bfloat16", "float16")


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument ``MODEL`` and the options ``--backend``, ``--device`` and ``--dtype``."""
    for option in (
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default="float32",
            show_default=True,
            help="Type of the weights.",
        ),
        click.option(
            "--device", default="cpu", show_default=True, help="Where the model runs, such as cuda:0."
        ),
        click.option(
            "--backend", help="Which backend loads the model (eap backends); by default one that can."
        ),
        click.argument("model"),
    ):
        command = option(command)
    return command


MODELS = """MODEL is the name of a shipped model (ioi-gpt2 or ioi-llama), a folder that save_pretrained
    wrote, or a model's name on the Hugging Face hub."""
"""What to say about ``MODEL`` in a command's help."""
