"""The keys and values of a prefix, as a cache of Hugging Face's models.

Every layer's keys and values are kept whole, also where a sliding window ends within the prefix. The model's attention
masks, which it makes for cached and new tokens together, leave out what a token must not see. So the cache has the same
form for every kind of attention and every length.
"""

from __future__ import annotations

from torch import Tensor
from transformers import DynamicCache

from eap_plugin.data.prompts import Prefix, Prompts


def cache_of(prefix: Prefix) -> DynamicCache:
    """Return a new cache that holds a prefix; a run appends to the cache and leaves the prefix unchanged."""
    return DynamicCache(zip(prefix.cache[::2], prefix.cache[1::2], strict=True))


def prefix_of(cache: DynamicCache, prompts: Prompts, n_layers: int) -> Prefix | None:
    """Return the prefix that a run on ``prompts`` has left in a cache; ``None`` if not every layer has used it."""
    held = tuple(getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values"))
    tensors = tuple(x for x in held if isinstance(x, Tensor))
    if len(tensors) != 2 * n_layers:
        return None
    return Prefix(prompts.tokens.shape[1], tensors, prompts.attention_mask)
