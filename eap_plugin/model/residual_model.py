"""The one thing a backend provides: a model as writers and readers of a residual stream.

Algorithms see a ``ResidualModel`` and nothing of the library behind it. A backend subclasses it and implements what is
abstract in it, above all ``forward``; everything else (recording, patching, gradients) is written once over that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eap_plugin.errors import EapPluginError
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer
from eap_plugin.model.norm import Norm
from eap_plugin.model.remote import Remote
from eap_plugin.model.run_constraints import RunConstraints
from eap_plugin.model.sites import Site, Visitor

P = ParamSpec("P")
T = TypeVar("T")


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
        run_constraints: what kind of run the user's object was made for, if not for any.
    """

    graph: Graph
    name: str
    n_vocab: int
    n_ctx: int | None = None
    tokenizer: Any = None
    prepend_bos: bool = False
    provenance: dict[str, str] = field(default_factory=dict)
    remote: Remote | None = None
    run_constraints: RunConstraints = field(default_factory=RunConstraints)

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
