"""The prompts of the matrix, and its models: one plain, and one on each backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nnsight
import torch
from nnsight.modeling.transformers import TransformersModel
from torch import Tensor

from eap_plugin import Batch
from tests.ndif import models
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

PROMPTS = prompts(3, 6)
MASKS: dict[str, Tensor | None] = {
    "none": None,
    "left": torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]).bool(),
    "right": torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]]).bool(),
}


def batch(padding: str) -> Batch:
    """Return the prompts, padded on a side or not."""
    return Batch(*PROMPTS, attention_mask=MASKS[padding])


def on_server(name: str) -> TransformersModel:
    """Make the zoo's model ``name`` as a server has it, with the buffers that are computed in float32."""
    with TemporaryDirectory() as folder:
        served = models.with_weights(models.save(name, Path(folder)), "float64")
    served._module.set_experts_implementation("eager")
    for buffer, own in zip(served._module.buffers(), build(name, torch.float64).buffers(), strict=True):
        buffer.copy_(own)
    return served


BACKENDS: dict[str, Callable[[str], Any]] = {
    "TransformerBridge": lambda name: bridge(build(name, torch.float64)),
    "nnsight": lambda name: nnsight.NNsight(build(name, torch.float64)),
    "simulated server": on_server,
}
"""By name, what makes a model of the zoo."""


@lru_cache(maxsize=8)
def on(backend: str, name: str) -> Any:
    """Make the zoo's model ``name`` on a backend, in float64."""
    return BACKENDS[backend](name)
