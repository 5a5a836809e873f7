"""The interface between backends and algorithms: a model as writers and readers of a residual stream.

1. A backend subclasses ``ResidualModel`` for one library. It implements ``_forward``, which runs the model on prompts
   and calls a visitor at each requested site, in forward order. A visitor sees the value there and may replace it.
2. It also gives the weights of each layer and the final norm, in the same shapes for every library, and ``frozen``, a
   context that puts the model in evaluation mode and restores all flags.
3. Algorithms use only this interface. Recording activations, patching and taking gradients are visitors, written once
   in ``interventions`` for all backends.
4. ``run`` executes a function where the weights are: in this process, or on a server if the backend overrides it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eap_plugin.data.prompts import Prefix, Prompts
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

Forward = Callable[[Prompts, Mapping[Site, Visitor]], Any]
"""A forward pass: from prompts and the visitor of each requested site to logits [batch, vocab], or to a ``Prefix``."""

Observer = Callable[[Forward, Prompts, Mapping[Site, Visitor]], Any]
"""A function that is called in place of each forward pass, which it makes by calling its first argument."""


@dataclass(frozen=True)
class SourceComparison:
    """A comparison of a model's logits with those of the model that it was made from.

    Attributes:
        backend: the name of the library's class that reimplements the model.
        original: the class of the model that it was made from.
        here: the logit that differs most, minus the mean logit at its position, as the backend computes it.
        there: the same logit as the original computes it.
        residue: the largest difference between two logits, divided by the sum of their absolute values and of the root
            mean square of the logits at their position.
        advice: what to do if they differ.
    """

    backend: str
    original: str
    here: float
    there: float
    residue: float
    advice: str


@dataclass
class ResidualModel(ABC):
    """A model as algorithms see it, whichever library it comes from.

    Attributes:
        graph: its writers, readers and edges.
        info: its name, sizes, tokenizer and provenance; the model has a property for each of them.
        prefix_faults: by shape of prompts and prefix, why a prefix cannot be used, as far as that was checked; empty if
            it can.
        observer: called in place of each forward pass, which it makes; ``None`` for none.
    """

    graph: Graph
    info: ModelInfo
    prefix_faults: dict[tuple[int, int, bool], str] = field(default_factory=dict, init=False, repr=False, compare=False)
    observer: Observer | None = field(default=None, init=False, repr=False, compare=False)

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
        """Return one of the first weights, from which device and dtype are read."""

    @property
    def device(self) -> torch.device:
        """The device on which tokens must be."""
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
        """Return the modules whose hooks and flags, submodules included, a run must leave unchanged."""

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
        """The sites that it has: no MLP sites if attention-only, no hidden-layer sites if a mixture of experts."""

    def forward(
        self, prompts: Prompts | Int[Tensor, "batch pos"], visit: Mapping[Site, Visitor]
    ) -> Float[Tensor, "batch vocab"]:
        """Run the model, and call the visitor of each site when its value is computed, in forward order.

        Args:
            prompts: the prompts; or only their token ids, for unpadded prompts whose last position is needed.
            visit: the visitor of each requested site.

        Returns:
            The logits at the position of each prompt that ``Prompts.last`` gives.

        Raises:
            EapPluginError: if a requested site is not in ``sites``, or is reached more than once in a layer.
        """
        missing = sorted(set(visit) - self.sites)
        if missing:
            raise EapPluginError(
                f"{self.name} has no {' or '.join(missing)} that can be hooked; choose an algorithm that needs none"
            )
        prompts = prompts if isinstance(prompts, Prompts) else Prompts(prompts)
        return self._forward(prompts, visit) if self.observer is None else self.observer(self._forward, prompts, visit)

    @abstractmethod
    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """Implement ``forward``; all requested sites are in ``sites``."""

    def prefix(self, prompts: Prompts) -> Prefix | None:
        """Run prompts without gradients, so that others that begin with them can be run from there on.

        The keys and values must be right for later tokens, padding of the prompts on either side included. Whether they
        are is checked before they are used (``eap_plugin.runner.shared_prefixes``).

        Args:
            prompts: the first tokens of longer prompts.

        Returns:
            The prefix for ``Prompts.prefix``; ``None`` if the backend or the model cannot keep keys and values.
        """
        with torch.no_grad():
            found = self._prefix(prompts, {}) if self.observer is None else self.observer(self._prefix, prompts, {})
        return cast(Prefix | None, found)

    def _prefix(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Prefix | None:
        """Implement ``prefix``, calling visitors as ``forward`` does; by default, keys and values cannot be kept."""
        return None

    @abstractmethod
    def frozen(self) -> AbstractContextManager[None]:
        """Return a context with the model in evaluation mode, parameters frozen, and hook-changing flags off.

        On exit, also by an exception, every flag has its old value again.
        """

    def compare_with_source(self, prompts: Prompts) -> SourceComparison | None:
        """Compare the logits with those of the model that this one was made from.

        Returns:
            The comparison; ``None`` if the backend runs the user's model itself, so there is nothing to compare.

        Raises:
            CannotCompareError: if that model can no longer be run, saying why.
        """
        return None

    def run(self, program: Callable[Concatenate[ResidualModel, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Execute ``program(self, ...)`` where the weights are, on a frozen model."""
        with self.frozen(), torch.inference_mode(False), torch.enable_grad():
            return program(self, *args, **kwargs)
