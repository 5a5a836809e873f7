"""Cached keys and values of a prefix before each prompt, for any number of prompts.

TransformerLens appends new keys and values to the cache that it is given. The classes here are used in place of its
cache: they return prefix and new keys together but store only the prefix, which therefore never grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.errors import UsageError


@dataclass(frozen=True)
class Entry:
    """The prefix in one layer, used in place of a ``HookedTransformerKeyValueCacheEntry``; it never grows."""

    past_keys: Float[Tensor, "batch prefix kv_heads d_head"]
    past_values: Float[Tensor, "batch prefix kv_heads d_head"]

    def append(
        self, new_keys: Float[Tensor, "batch pos heads d_head"], new_values: Float[Tensor, "batch pos heads d_head"]
    ) -> tuple[Float[Tensor, "batch all_pos heads d_head"], Float[Tensor, "batch all_pos heads d_head"]]:
        """Return the prefix's keys and values, repeated for ungrouped heads if needed, followed by the new ones."""
        repeats = new_keys.shape[2] // self.past_keys.shape[2]
        keys, values = (x.repeat_interleave(repeats, dim=2) for x in (self.past_keys, self.past_values))
        return torch.cat([keys, new_keys], dim=1), torch.cat([values, new_values], dim=1)


@dataclass(frozen=True)
class Prefix:
    """The prefixes of some prompts, used in place of a ``HookedTransformerKeyValueCache``."""

    entries: tuple[Entry, ...]
    mask: Int[Tensor, "batch prefix"]

    def __getitem__(self, layer: int) -> Entry:
        """Return the keys and values of a layer."""
        return self.entries[layer]

    def append_attention_mask(self, attention_mask: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch all_pos"]:
        """Return the attention mask of prefix and new tokens."""
        return torch.cat([self.mask, attention_mask.to(self.mask.device)], dim=1)

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the prefix."""
        return [self.mask, *(x for entry in self.entries for x in (entry.past_keys, entry.past_values))]

    def map(self, change: Callable[[Tensor], Tensor]) -> Prefix:
        """Return a copy with ``change`` applied to every tensor."""
        entries = (Entry(change(entry.past_keys), change(entry.past_values)) for entry in self.entries)
        return Prefix(tuple(entries), change(self.mask))


class CachedPrefix:
    """Prefixes by number of prompts, as AutoCircuit caches them. The caches themselves are not changed.

    Attributes:
        n_pos: the number of tokens in the prefix.
        alike: whether all prompts have the same prefix, so that any number of prompts can be run.
    """

    def __init__(self, caches: Mapping[int, Any]) -> None:
        """Read the caches, at least one ``HookedTransformerKeyValueCache``, by number of prompts."""
        self._prefixes = {size: _prefix(cache) for size, cache in caches.items()}
        self._first = next(iter(self._prefixes.values()))
        self.n_pos = self._first.mask.shape[1]
        row = self._first.map(lambda x: x[:1])
        self.alike = all(
            _close(a.expand_as(b), b)
            for prefix in self._prefixes.values()
            for a, b in zip(row.tensors(), prefix.tensors(), strict=True)
        )

    def of(self, n_prompts: int) -> Prefix:
        """Return the prefix for a batch of ``n_prompts``.

        Raises:
            UsageError: if none is cached for this number of prompts, and the prompts have different prefixes.
        """
        if n_prompts in self._prefixes:
            return self._prefixes[n_prompts]
        if not self.alike:
            raise UsageError(
                f"the cached prefixes are for {' or '.join(map(str, self._prefixes))} prompts at a time and differ, so "
                f"{n_prompts} cannot be run; load the prompts with tail_divergence=False"
            )
        return self._first.map(lambda x: x[:1].expand(n_prompts, *x.shape[1:]))


def _prefix(cache: Any) -> Prefix:
    return Prefix(tuple(Entry(x.past_keys, x.past_values) for x in cache.entries), cache.previous_attention_mask)


def _close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal up to rounding."""
    if not a.is_floating_point():
        return torch.equal(a, b)
    return bool((a - b).abs().max() <= torch.finfo(a.dtype).eps ** 0.5 * a.abs().max())
