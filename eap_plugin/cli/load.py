"""The options with which commands load a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel

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


@dataclass(frozen=True)
class ModelChoice:
    """The model that a command is to load, as its options say; named like them."""

    model: str
    backend: str
    device: str
    dtype: str
    revision: str | None
    remote: bool | str
    timeout: float | None

    def load(self) -> ResidualModel:
        """Load the model."""
        from eap_plugin import api

        return api.load_model(
            self.model,
            backend=self.backend,
            device=self.device,
            dtype=self.dtype,
            revision=self.revision,
            remote=self.remote,
        )


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument ``MODEL`` and the options of a model, which it takes as one ``ModelChoice``."""

    @wraps(command)
    def collecting(**given: Any) -> Any:
        return command(ModelChoice(**{field.name: given.pop(field.name) for field in fields(ModelChoice)}), **given)

    for option in reversed(_OPTIONS + _SERVER_OPTIONS):
        collecting = option(collecting)
    return click.argument("model")(collecting)
