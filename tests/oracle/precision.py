"""Real float64 for models that compute some things in float32 whatever their dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class InFloat64(TorchFunctionMode):
    """Within it, what asks for float32 gets float64.

    Most Hugging Face models compute RMS norms, attention patterns, rotary angles and expert weights in
    float32 even when their weights are float64. That leaves 1e-7 of noise, which small differences magnify.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.float:
            return args[0].double()
        kwargs = kwargs or {}
        return func(*(_widened(a) for a in args), **{name: _widened(a) for name, a in kwargs.items()})


def _widened(argument: Any) -> Any:
    return torch.float64 if argument is torch.float32 else argument
