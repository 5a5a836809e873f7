"""The keys and values of a prefix, as a cache of Hugging Face's models.

Every layer's keys and values are kept whole, also where a sliding window ends within the prefix. The model's attention
masks, which it makes for cached and new tokens together, leave out what a token must not see. So the cache has the same
form for every kind of attention and every length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from eap_plugin.data.prompts import Prefix, Prompts


class PrefixLayer(DynamicLayer):  # type: ignore[misc]
    """The keys and values of one layer; those of new tokens are appended for one run, and not kept."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Hold the keys and values of a prefix, [batch, heads, prefix, d_head]."""
        DynamicLayer.__init__(self)
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the keys and values of the prefix, once for each copy of its prompts, followed by the new ones."""
        return _appended(self.keys, key_states), _appended(self.values, value_states)


def _appended(before: Tensor, new: Tensor) -> Tensor:
    copies = len(new) // len(before)
    return torch.cat([before if copies == 1 else before.repeat(copies, *[1] * (before.ndim - 1)), new], -2)


def cache_of(prefix: Prefix) -> Cache:
    """Return a prefix as a cache, which any number of runs can use, one after another."""
    return Cache([PrefixLayer(*layer) for layer in zip(prefix.cache[::2], prefix.cache[1::2], strict=True)])


def prefix_of(cache: DynamicCache, prompts: Prompts, n_layers: int) -> Prefix | None:
    """Return the prefix that a run on ``prompts`` has left in a cache; ``None`` if not every layer has used it."""
    held = (getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
    tensors = tuple(x for x in held if isinstance(x, Tensor))
    if len(tensors) != 2 * n_layers:
        return None
    return Prefix(prompts.tokens.shape[1], tensors, prompts.attention_mask)
