"""The one thing a backend provides: a model as writers and readers of a residual stream.

Algorithms see a ``ResidualModel`` and nothing of the library behind it. A backend subclasses it and implements
``forward``, ``layers`` and ``frozen``; everything else (recording, patching, gradients) is written once over these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eap_plugin.graph import Graph
from eap_plugin.norm import Norm
from eap_plugin.remote import Remote

Site = Literal["embed", "attn_in", "q", "k", "v", "z", "mlp_in", "mlp", "mlp_out", "final"]
"""A place in the forward pass, one per layer except ``embed`` (before layer 0) and ``final`` (after the last).

========= ========================= ==================================================================
embed     [batch, pos, d_model]     the residual stream entering the first block: what ``input`` writes
attn_in   [batch, pos, d_model]     the residual stream as attention reads it, before its norm
q, k, v   [batch, pos, heads, d_head] after the projection, before rotary embeddings and q/k norms
z         [batch, pos, heads, d_head] each head's result before the output projection
mlp_in    [batch, pos, d_model]     the residual stream as the MLP reads it, before its norm
mlp       [batch, pos, d_model]     what the MLP reads, after its norm
mlp_out   [batch, pos, d_model]     what the MLP adds to the residual stream
final     [batch, pos, d_model]     the residual stream as the logits read it, before the final norm
========= ========================= ==================================================================
"""

SITES: tuple[Site, ...] = get_args(Site)
"""In an order in which a layer's sites are visited; where several fall together, visitors are called in it."""

Visitor = Callable[[int, Tensor], Tensor | None]
"""Called with the layer and the value at a site; a returned tensor replaces the value."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """A block's projections and norms, in TransformerLens' shapes; views of the model's own weights.

    ``None`` stands for a bias or norm that the block does not have.
    """

    W_Q: Float[Tensor, "heads d_model d_head"]
    W_K: Float[Tensor, "kv_heads d_model d_head"]
    W_V: Float[Tensor, "kv_heads d_model d_head"]
    W_O: Float[Tensor, "heads d_head d_model"]
    b_Q: Float[Tensor, "heads d_head"] | None
    b_K: Float[Tensor, "kv_heads d_head"] | None
    b_V: Float[Tensor, "kv_heads d_head"] | None
    b_O: Float[Tensor, "d_model"] | None
    attn_norm: Norm | None
    mlp_norm: Norm | None
    attn_post_norm: Norm | None = None

    def project(
        self, slot: Literal["q", "k", "v"]
    ) -> tuple[Float[Tensor, "heads d_model d_head"], Float[Tensor, "heads d_head"] | None]:
        """The weight and bias with which a slot's heads read."""
        return {"q": (self.W_Q, self.b_Q), "k": (self.W_K, self.b_K), "v": (self.W_V, self.b_V)}[slot]


@dataclass
class ResidualModel(ABC):
    """A model as one kind of thing, whatever library it comes from.

    Attributes:
        graph: its writers, readers and edges.
        name: what the model is called in reports.
        n_vocab: the number of tokens it knows.
        n_ctx: the most tokens a prompt can have, where positions are learned or tabled.
        tokenizer: its Hugging Face tokenizer, if it has one.
        prepend_bos: whether text prompts begin with the tokenizer's beginning-of-sequence token.
        provenance: backend, library versions and revision, for the files that scores are saved in.
        remote: the server that it runs on; ``None`` for this process.
    """

    graph: Graph
    name: str
    n_vocab: int
    n_ctx: int | None = None
    tokenizer: Any = None
    prepend_bos: bool = False
    provenance: dict[str, str] = field(default_factory=dict)
    remote: Remote | None = None

    @abstractmethod
    def parameter(self) -> Tensor:
        """One of the first weights: it tells device and dtype."""

    @property
    def device(self) -> torch.device:
        """Where tokens have to be."""
        return self.parameter().device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.parameter().dtype

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms."""

    @abstractmethod
    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        visit: Mapping[Site, Visitor],
        *,
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        last: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Run the model, calling the visitor of each site as its value is computed, in forward order.

        Args:
            tokens: token ids.
            visit: for each site of interest, what to call there.
            attention_mask: true at real tokens.
            last: the position of each prompt whose logits are wanted; the last one if not given.

        Returns:
            The logits at those positions only.
        """

    @abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """Within it the model is in evaluation mode, asks for no weight gradient, and is as its makers left it.

        On leaving, also by an exception, every flag is as it was found.
        """

    def run(self, program: Callable[Concatenate[ResidualModel, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``program(self, ...)`` where the weights are, on a frozen model."""
        with self.frozen(), torch.inference_mode(False), torch.enable_grad():
            return program(self, *args, **kwargs)
