"""The options that commands use to load a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel

CONFIGURED = "configured"
"""The value of ``--remote`` when it is given without one."""

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")

_OPTIONS = (
    click.option(
        "--backend",
        default="transformer_lens",
        show_default=True,
        help="Backend that runs the model (see eap backends).",
    ),
    click.option("--device", default="cpu", show_default=True, help="Device to run on, such as cuda:0, or auto."),
    click.option(
        "--device-map",
        type=click.Choice(("auto", "balanced", "sequential")),
        metavar="HOW",
        help="Spread the model over GPUs, the CPU and the disk: auto, balanced or sequential.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        default="float32",
        show_default=True,
        metavar="DTYPE",
        help=f"Data type of the weights: {', '.join(DTYPES[:-1])} or {DTYPES[-1]}.",
    ),
    click.option("--revision", help="Branch, tag or commit of the model on the hub."),
)

_SERVER_OPTIONS = (
    click.option(
        "--remote",
        is_flag=False,
        flag_value=CONFIGURED,
        callback=lambda context, option, value: True if value == CONFIGURED else value or False,
        metavar="[URL]",
        help="Run on the server at URL, by default NDIF; 'local' simulates a server in this process.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Seconds to wait for a request.",
    ),
)


@dataclass(frozen=True)
class ModelChoice:
    """The model for a command to load; each field holds the option of the same name."""

    model: str
    backend: str
    device: str
    device_map: str | None
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
            device_map=self.device_map,
            dtype=self.dtype,
            revision=self.revision,
            remote=self.remote,
        )


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument ``MODEL`` and the options of a model to a command, which receives them as a ``ModelChoice``."""

    @wraps(command)
    def collecting(**given: Any) -> Any:
        return command(ModelChoice(**{field.name: given.pop(field.name) for field in fields(ModelChoice)}), **given)

    for option in reversed(_OPTIONS + _SERVER_OPTIONS):
        collecting = option(collecting)
    return click.argument("model")(collecting)
