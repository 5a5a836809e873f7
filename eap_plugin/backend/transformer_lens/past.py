"""Keys and values of a prefix that TransformerLens has cached, for any number of prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from eap_plugin.errors import UsageError


class Past:
    """A ``HookedTransformerKeyValueCache`` for each number of prompts, as AutoCircuit makes them; left as they are.

    Attributes:
        n_pos: the number of tokens in the prefix.
        alike: whether all prompts have the same prefix, so that any number of them can be run.
    """

    def __init__(self, caches: Mapping[int, Any], n_heads: int) -> None:
        """Take caches, by number of prompts.

        Args:
            caches: at least one.
            n_heads: query heads; keys and values of fewer heads are repeated for each.
        """
        self._caches = {size: _frozen(cache, n_heads) for size, cache in caches.items()}
        self._first = next(iter(self._caches.values()))
        self.n_pos = int(self._first.previous_attention_mask.shape[1])
        self.alike = all(_is_row(self._first, cache) for cache in self._caches.values())

    def of(self, n_prompts: int) -> Any:
        """The cache for this many prompts.

        Raises:
            UsageError: if there is none, and prompts have different prefixes.
        """
        if n_prompts in self._caches:
            return self._caches[n_prompts]
        if not self.alike:
            raise UsageError(
                f"prefixes are cached for {' or '.join(map(str, self._caches))} prompts at a time and differ, so "
                f"{n_prompts} cannot be run; load the prompts with tail_divergence=False"
            )
        return _map(self._first, lambda x: x[:1].expand(n_prompts, *x.shape[1:]))


def _frozen(cache: Any, n_heads: int) -> Any:
    """The same cache, to be read only; keys and values with a head for each query head."""

    def per_query_head(x: Tensor) -> Tensor:
        return x if x.ndim == 2 or x.shape[2] == n_heads else x.repeat_interleave(n_heads // x.shape[2], dim=2)

    return _map(cache, per_query_head)


def _map(cache: Any, change: Any) -> Any:
    entries = [
        replace(entry, past_keys=change(entry.past_keys), past_values=change(entry.past_values), frozen=True)
        for entry in cache.entries
    ]
    return replace(
        cache, entries=entries, previous_attention_mask=change(cache.previous_attention_mask), frozen=True
    )


def _is_row(first: Any, cache: Any) -> bool:
    """Whether every row of a cache is the first row of another, up to rounding."""
    return all(_close(a[:1].expand_as(b), b) for a, b in zip(_tensors(first), _tensors(cache), strict=True))


def _close(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    return bool((a - b).abs().max() <= torch.finfo(a.dtype).eps ** 0.5 * a.abs().max())


def _tensors(cache: Any) -> Iterator[Tensor]:
    yield cache.previous_attention_mask
    for entry in cache.entries:
        yield from (entry.past_keys, entry.past_values)
