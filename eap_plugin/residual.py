"""The one thing a backend provides: a model as writers and readers of a residual stream.

Algorithms see a ``ResidualModel`` and nothing of the library behind it. A backend subclasses it and implements what is
abstract in it, above all ``forward``; everything else (recording, patching, gradients) is written once over that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eap_plugin.errors import EapPluginError
from eap_plugin.graph import Graph
from eap_plugin.norm import Norm
from eap_plugin.remote import Remote
from eap_plugin.terms import Terms

Site = Literal[
    "embed",
    "attn_in",
    "attn",
    "q",
    "k",
    "v",
    "scores",
    "pattern",
    "z",
    "attn_out",
    "mlp_in",
    "mlp",
    "mlp_gate",
    "mlp_pre",
    "mlp_post",
    "mlp_proj",
    "mlp_out",
    "final",
    "unembed",
]
"""A place in the forward pass, one per layer except ``embed`` (before layer 0), ``final`` and ``unembed`` (after all).

======== ============================= ===================================================================
embed    [batch, pos, d_model]         the residual stream entering the first block: what ``input`` writes
attn_in  [batch, pos, d_model]         the residual stream as attention reads it, before its norm
attn     [batch, pos, d_model]         what q, k and v are projected from, after the norm
q, k, v  [batch, pos, heads, d_head]   after the projection, before rotary embeddings and q/k norms
scores   [batch, heads, query, key]    what the softmax takes, mask included
pattern  [batch, heads, query, key]    what it gives
z        [batch, pos, heads, d_head]   each head's result before the output projection
attn_out [batch, pos, d_model]         what attention adds to the residual stream
mlp_in   [batch, pos, d_model]         the residual stream as the MLP reads it, before its norm
mlp      [batch, pos, d_model]         what the MLP reads, after its norm
mlp_gate [batch, pos, d_mlp]           what the gate's projection gives, before the activation; of a gated MLP only
mlp_pre  [batch, pos, d_mlp]           what the other projection gives; before the activation, if there is no gate
mlp_post [batch, pos, d_mlp]           what the MLP's output projection reads
mlp_proj [batch, pos, d_model]         what the MLP's output projection gives, before any norm
mlp_out  [batch, pos, d_model]         what the MLP adds to the residual stream
final    [batch, pos, d_model]         what the last block gives: the residual stream as the logits read it
unembed  [1, batch, d_model]           what the final norm gives, at the positions whose logits are wanted
======== ============================= ===================================================================

A site is one value of one forward pass: a model that comes by one twice in a layer is refused. Where a block multiplies
what it adds (Granite), ``attn_out`` and ``mlp_out`` are the products. Where one projection gives both factors of a
gated MLP, ``mlp_gate`` and ``mlp_pre`` are parts of what it gives.

A model may lack some of them: see ``ResidualModel.sites``. ``attn_in`` and ``mlp_in`` are to be watched; to change what
is read, replace ``attn`` and ``mlp``, or ``q``, ``k`` and ``v``.

Visitors may rely on the order in which sites are visited, and every backend must keep it. ``embed`` is first, and all
sites of a layer come before those of the next one. Within a layer ``attn_in`` is first; the sites of attention, and
those of the MLP, come in the order of this table, and unless the block is parallel, attention's before the MLP's. In a
parallel block, attention and MLP may be computed in either order, and their sites may alternate.
"""

SITES: tuple[Site, ...] = get_args(Site)
"""In the order of ``Site``'s table; where several sites are at one tensor, visitors are called in this order."""

_MLP_SITES: tuple[Site, ...] = ("mlp_in", "mlp", "mlp_out")
_HIDDEN_SITES: tuple[Site, ...] = ("mlp_pre", "mlp_post", "mlp_proj")


def sites_of(has_mlp: bool, hidden: bool, gated: bool) -> frozenset[Site]:
    """The sites of a model.

    Args:
        has_mlp: whether its blocks have MLPs.
        hidden: whether these are two projections with a hidden layer that can be seen.
        gated: whether a third one gates it.
    """
    missing = set[Site]()
    if not has_mlp:
        missing |= set(_MLP_SITES)
    if not (has_mlp and hidden):
        missing |= {*_HIDDEN_SITES, "mlp_gate"}
    elif not gated:
        missing |= {"mlp_gate"}
    return frozenset(SITES) - missing


Visitor = Callable[[int, Tensor], Tensor | None]
"""Called with the layer and the value at a site; a returned tensor replaces the value."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Layer:
    """A block's projections and norms, in TransformerLens' shapes; views of the model's own weights.

    ``None`` stands for a bias or norm that the block does not have. Where a block multiplies what attention gives
    before it adds it to the residual stream, W_O and b_O are multiplied already.

    Attributes:
        clip_qkv: the bound that q, k and v are clipped to after the projection, if they are.
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
    mlp_post_norm: Norm | None = None
    clip_qkv: float | None = None

    def project(
        self, slot: Literal["q", "k", "v"]
    ) -> tuple[Float[Tensor, "heads d_model d_head"], Float[Tensor, "heads d_head"] | None]:
        """The weight and bias with which a slot's heads read."""
        return {"q": (self.W_Q, self.b_Q), "k": (self.W_K, self.b_K), "v": (self.W_V, self.b_V)}[slot]


def scaled(
    weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, "d_out"] | None, factor: float
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """A projection whose output is multiplied by a number; itself, not a copy, if that is 1."""
    return (weight, bias) if factor == 1 else (weight * factor, None if bias is None else bias * factor)


@dataclass(frozen=True)
class SourceComparison:
    """The logits of a model, next to those of the model that it was made from.

    Attributes:
        backend: what computes the model anew.
        original: the kind of model that it was made from.
        here: the logit that differs most, less its prompt's mean logit, as the backend gives it.
        there: the same logit as the original gives it.
        residue: the largest difference of a logit, over its own size and the root mean square of its prompt's.
        advice: what to do where they differ.
    """

    backend: str
    original: str
    here: float
    there: float
    residue: float
    advice: str


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
        terms: what kind of run the user's object was made for, if not for any.
    """

    graph: Graph
    name: str
    n_vocab: int
    n_ctx: int | None = None
    tokenizer: Any = None
    prepend_bos: bool = False
    provenance: dict[str, str] = field(default_factory=dict)
    remote: Remote | None = None
    terms: Terms = field(default_factory=Terms)

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

    @abstractmethod
    def modules(self) -> Iterable[nn.Module]:
        """The modules whose hooks and flags, and those of all below, a run must leave as they are."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms."""

    @property
    @abstractmethod
    def final_norm(self) -> Norm | None:
        """The norm before the unembedding."""

    @property
    @abstractmethod
    def sites(self) -> frozenset[Site]:
        """The sites it has: not those of an attention-only model's MLPs, nor of a mixture of experts' hidden layer."""

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

        Raises:
            EapPluginError: if a site is asked for that the model does not have, or comes by twice in a layer.
        """

    def _check_sites(self, visit: Mapping[Site, Visitor]) -> None:
        """Refuse visitors of sites that are not there; for ``forward``."""
        missing = sorted(set(visit) - self.sites)
        if missing:
            raise EapPluginError(
                f"{self.name} has no {' or '.join(missing)} that can be seen; choose an algorithm that does not need it"
            )

    @abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """Within it the model is in evaluation mode, asks for no weight gradient, and is as its makers left it.

        On leaving, also by an exception, every flag is as it was found.
        """

    def compare_with_source(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Bool[Tensor, "batch pos"] | None
    ) -> SourceComparison | None:
        """Compare logits with those of the model that this one was made from.

        Returns:
            The comparison; ``None`` if the backend runs the user's model itself, so that there is nothing to compare.

        Raises:
            CannotCompareError: if that model can no longer be run, saying why.
        """
        return None

    def run(self, program: Callable[Concatenate[ResidualModel, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``program(self, ...)`` where the weights are, on a frozen model."""
        with self.frozen(), torch.inference_mode(False), torch.enable_grad():
            return program(self, *args, **kwargs)
