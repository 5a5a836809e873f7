"""Information about a model besides its weights and graph: name, sizes, tokenizer, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eap_plugin.model.remote import Remote
from eap_plugin.model.run_constraints import RunConstraints


@dataclass(frozen=True)
class ModelInfo:
    """Information about a model, from its backend.

    Attributes:
        name: the name of the model in reports.
        n_vocab: the size of its vocabulary.
        n_ctx: the maximum number of tokens of a prompt; ``None`` if positions are not learned.
        tokenizer: its Hugging Face tokenizer, if it has one.
        prepend_bos: whether text prompts begin with the tokenizer's beginning-of-sequence token.
        provenance: backend, library versions and revision, as saved in score files.
        remote: the server that it runs on; ``None`` for this process.
        d_model: the width of its residual stream, if the backend gives it.
        run_constraints: constraints that the user's model object puts on runs.
    """

    name: str
    n_vocab: int
    n_ctx: int | None = None
    tokenizer: Any = None
    prepend_bos: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    remote: Remote | None = None
    d_model: int | None = None
    run_constraints: RunConstraints = field(default_factory=RunConstraints)

    def loaded_as(self, name: str, revision: str | None) -> ModelInfo:
        """Return the same information with the name and revision by which the model was loaded."""
        return replace(self, name=str(name), provenance={**self.provenance, "revision": revision or ""})
