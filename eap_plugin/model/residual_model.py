"""The one thing a backend provides: a model as writers and readers of a residual stream.

Algorithms see a ``ResidualModel`` and nothing of the library behind it. A backend subclasses it and implements what is
abstract in it, above all ``forward``; everything else (recording, patching, gradients) is written once over that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eap_plugin.data.prompts import Prompts
from eap_plugin.errors import EapPluginError
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer
from eap_plugin.model.model_info import ModelInfo
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
        info: its name, sizes, tokenizer and provenance, which can be read from the model itself, too.
    """

    graph: Graph
    info: ModelInfo

    @property
    def name(self) -> str:
        """See ``ModelInfo.name``."""
        return self.info.name

    @property
    def n_vocab(self) -> int:
        """See ``ModelInfo.n_vocab``."""
        return self.info.n_vocab

    @property
    def n_ctx(self) -> int | None:
        """See ``ModelInfo.n_ctx``."""
        return self.info.n_ctx

    @property
    def tokenizer(self) -> Any:
        """See ``ModelInfo.tokenizer``."""
        return self.info.tokenizer

    @property
    def prepend_bos(self) -> bool:
        """See ``ModelInfo.prepend_bos``."""
        return self.info.prepend_bos

    @property
    def provenance(self) -> Mapping[str, str]:
        """See ``ModelInfo.provenance``."""
        return self.info.provenance

    @property
    def remote(self) -> Remote | None:
        """See ``ModelInfo.remote``."""
        return self.info.remote

    @property
    def run_constraints(self) -> RunConstraints:
        """See ``ModelInfo.run_constraints``."""
        return self.info.run_constraints

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
    def score_dtype(self) -> torch.dtype:
        """The dtype in which scores and means are added up: that of the weights, but at least float32."""
        return torch.promote_types(self.dtype, torch.float32)

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

    def forward(
        self, prompts: Prompts | Int[Tensor, "batch pos"], visit: Mapping[Site, Visitor]
    ) -> Float[Tensor, "batch vocab"]:
        """Run the model, calling the visitor of each site as its value is computed, in forward order.

        Args:
            prompts: the prompts; token ids alone stand for unpadded ones that are read at the last token.
            visit: for each site of interest, what to call there.

        Returns:
            The logits at the positions where the prompts are read.

        Raises:
            EapPluginError: if a site is asked for that the model does not have, or comes by twice in a layer.
        """
        missing = sorted(set(visit) - self.sites)
        if missing:
            raise EapPluginError(
                f"{self.name} has no {' or '.join(missing)} that can be seen; choose an algorithm that does not need it"
            )
        return self._forward(prompts if isinstance(prompts, Prompts) else Prompts(prompts), visit)

    @abstractmethod
    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """Do what ``forward`` says; the sites asked for are there."""

    @abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """Within it the model is in evaluation mode, asks for no weight gradient, and is as its makers left it.

        On leaving, also by an exception, every flag is as it was found.
        """

    def compare_with_source(self, prompts: Prompts) -> SourceComparison | None:
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
