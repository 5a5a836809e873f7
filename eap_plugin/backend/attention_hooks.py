"""Visitors for attention scores and patterns, for any library.

Every supported model calls, once per layer, either PyTorch's softmax or its fused ``scaled_dot_product_attention``.
These calls are intercepted: visitors get the input of the softmax as ``scores`` and its output as ``pattern``. Fused
attention is computed in separate steps instead, so that both values exist. So these two sites need no library's hooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, softmax
from torch.overrides import TorchFunctionMode

from eap_plugin.errors import EapPluginError
from eap_plugin.model.sites import Site, Visitor

ATTENTION_SITES: tuple[Site, ...] = ("scores", "pattern")
_SOFTMAX = (softmax, torch.softmax, Tensor.softmax)


def visiting_attention(visit: Mapping[Site, Visitor], n_layers: int) -> AbstractContextManager[object]:
    """Return a context in which a forward pass calls the visitors of ``scores`` and ``pattern``, if there are any.

    Raises:
        EapPluginError: on exit, if the number of softmax calls was not one per layer.
    """
    if any(site in visit for site in ATTENTION_SITES):
        return _AttentionMode(visit, n_layers)
    return nullcontext()


class _AttentionMode(TorchFunctionMode):
    """A mode that intercepts the calls turning scores [batch, heads, query, key] into patterns, one call per layer."""

    def __init__(self, visit: Mapping[Site, Visitor], n_layers: int) -> None:
        TorchFunctionMode.__init__(self)
        self._visit, self._n_layers = visit, n_layers
        self.layer = 0

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        TorchFunctionMode.__exit__(self, kind, error, traceback)  # type: ignore[no-untyped-call]
        if error is None and self.layer != self._n_layers:
            raise EapPluginError(
                f"the model has {self._n_layers} layers, but called softmax or scaled_dot_product_attention "
                f"{self.layer} times; its attention patterns cannot be read, so choose an algorithm that does not "
                f"need them"
            )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func in _SOFTMAX and args and args[0].ndim == 4:
            return self._pattern(args[0], lambda scores: func(scores, *args[1:], **kwargs))
        return func(*args, **kwargs)

    def _pattern(self, scores: Tensor, normalise: Callable[[Tensor], Tensor]) -> Tensor:
        """Compute the pattern from the scores, calling the visitors of both sites."""
        pattern = self._call("pattern", normalise(self._call("scores", scores)))
        self.layer += 1
        return pattern

    def _call(self, site: Site, value: Tensor) -> Tensor:
        if site not in self._visit:
            return value
        value = value.view_as(value)
        new = self._visit[site](self.layer, value)
        return value if new is None else new

    def _attention(
        self,
        query: Float[Tensor, "batch heads query d_head"],
        key: Float[Tensor, "batch kv_heads key d_head"],
        value: Float[Tensor, "batch kv_heads key d_head"],
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Float[Tensor, "batch heads query d_head"]:
        """Compute PyTorch's fused attention in separate steps, without dropout, which is off in evaluation mode."""
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
        scores = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        least = torch.finfo(scores.dtype).min
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, least)
        elif attn_mask is not None:
            scores = (scores + attn_mask).clamp_min(least)
        return self._pattern(scores, lambda x: x.softmax(-1)) @ value
