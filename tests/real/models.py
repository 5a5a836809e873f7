"""The real models of these tests, in the folders that ``python scripts/fetch_real_models.py MODEL`` makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import eap_plugin
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.task.task import Task

CACHE = Path(__file__).resolve().parents[2] / ".cache"


@dataclass(frozen=True)
class RealModel:
    """What is known of a model beforehand.

    Attributes:
        name: the name of its folder.
        n_layers: its layers.
        n_edges: its edges.
        prepend_bos: whether its prompts begin with the beginning-of-sequence token; ``None`` for what its tokenizer
            does.
    """

    name: str
    n_layers: int
    n_edges: int
    prepend_bos: bool | None

    @property
    def folder(self) -> str:
        """Where it is."""
        return str(CACHE / self.name)

    def load(self, backend: str = "transformer_lens") -> ResidualModel:
        """Load the model, which must have been fetched."""
        return eap_plugin.load_model(self.folder, backend=backend)

    def task(self, name: str, model: ResidualModel, n_prompts: int) -> Task:
        """Load a task's first prompts."""
        return eap_plugin.load_task(name, model, n_prompts=n_prompts, prepend_bos=self.prepend_bos)


MODELS = (
    # SmolLM2's beginning-of-sequence token opens a chat turn, and its own tokenizer puts none before plain text.
    RealModel("smollm2-135m", n_layers=30, n_edges=70_651, prepend_bos=False),
    RealModel("gemma3-270m", n_layers=18, n_edges=5_644, prepend_bos=None),
)
