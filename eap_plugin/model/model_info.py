"""What is known of a model besides its weights and structure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from eap_plugin.model.remote import Remote
from eap_plugin.model.run_constraints import RunConstraints


@dataclass(frozen=True)
class ModelInfo:
    """What a backend states about a model, apart from its graph.

    Attributes:
        name: what the model is called in reports.
        n_vocab: the number of tokens it knows.
        n_ctx: the most tokens a prompt can have, where positions are learned or tabled.
        tokenizer: its Hugging Face tokenizer, if it has one.
        prepend_bos: whether text prompts begin with the tokenizer's beginning-of-sequence token.
        provenance: backend, library versions and revision, for the files that scores are saved in.
        remote: the server that it runs on; ``None`` for this process.
        run_constraints: what kind of run the user's object was made for, if not for any.
    """

    name: str
    n_vocab: int
    n_ctx: int | None = None
    tokenizer: Any = None
    prepend_bos: bool = False
    provenance: Mapping[str, str] = field(default_factory=dict)
    remote: Remote | None = None
    run_constraints: RunConstraints = field(default_factory=RunConstraints)

    def loaded_as(self, name: str, revision: str | None) -> ModelInfo:
        """Return the same information for a model that was loaded by name."""
        return replace(self, name=str(name), provenance={**self.provenance, "revision": revision or ""})
