"""The options that commands use to load a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel

CONFIGURED = "configured"
"""The value of ``--remote`` when it is given without one."""

DTYPES = ("auto", "float32", "float64", "bfloat16", "float16")


def _options(backend: str | None, dtype: str | None) -> tuple[Callable[..., Any], ...]:
    """Return the options of a model, with these defaults; ``None`` for what a file records."""
    return (
        click.option(
            "--backend",
            default=backend,
            show_default=True,
            help="Backend that runs the model (see eap backends).",
        ),
        click.option("--device", default="cpu", show_default=True, help="Device to run on, such as cuda:0, or auto."),
        click.option(
            "--device-map",
            type=click.Choice(("auto",)),
            metavar="HOW",
            help="Where a model goes that is larger than the device: auto fills GPU, CPU and disk in turn.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(DTYPES),
            default=dtype,
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

    for option in reversed(_options("transformer_lens", "float32") + _SERVER_OPTIONS):
        collecting = option(collecting)
    return click.argument("model")(collecting)


def recorded_model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a model to a command, which receives them as a function of what a file records.

    The function takes the file's metadata and returns a ``ModelChoice``, in which options that were not given are as
    recorded.
    """

    @wraps(command)
    def collecting(**given: Any) -> Any:
        options = {field.name: given.pop(field.name) for field in fields(ModelChoice)}
        return command(lambda about: _recorded_choice(options, about), **given)

    for option in reversed(_options(None, None) + _SERVER_OPTIONS):
        collecting = option(collecting)
    return click.option("--model", help="Model; by default, model, backend and dtype are those that FILE records.")(
        collecting
    )


def _recorded_choice(given: Mapping[str, Any], about: Mapping[str, Any]) -> ModelChoice:
    origin = about.get("provenance", {})
    recorded = {
        "model": about.get("model"),
        "backend": origin.get("backend", "transformer_lens"),
        "revision": origin.get("revision") or None,
        "dtype": about.get("dtype") or "float32",
    }
    known = {name: value for name, value in given.items() if value is not None}
    if known.get("model", recorded["model"]) != recorded["model"]:
        recorded["revision"] = None
    choice = ModelChoice(**{**given, **recorded, **known})
    if choice.model is None:
        raise UsageError("the file does not record its model; give it with --model")
    return replace(choice, dtype="float32") if choice.remote and "dtype" not in known else choice
