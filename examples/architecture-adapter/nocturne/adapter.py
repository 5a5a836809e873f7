"""TransformerLens' adapter for the model, which maps its modules to TransformerLens' components."""

from __future__ import annotations

from typing import Any

from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.generalized_components import (
    AttentionBridge,
    BlockBridge,
    EmbeddingBridge,
    GatedMLPBridge,
    LinearBridge,
    NormalizationBridge,
    UnembeddingBridge,
)


class NocturneAdapter(ArchitectureAdapter):
    """The adapter of ``NocturneForCausalLM``."""

    def __init__(self, cfg: Any) -> None:
        """Map TransformerLens' components to the model's modules."""
        super().__init__(cfg)
        cfg.normalization_type, cfg.positional_embedding_type = "LN", "alibi"
        cfg.final_rms, cfg.attn_only, cfg.gated_mlp = False, False, True
        self.weight_processing_conversions: dict[str, Any] = {}
        self.component_mapping = {
            "embed": EmbeddingBridge(name="trunk.words"),
            "blocks": BlockBridge(
                name="trunk.stages",
                submodules={
                    "ln1": self._norm("calm"),
                    "attn": AttentionBridge(
                        name="mixer",
                        config=cfg,
                        requires_attention_mask=True,
                        submodules={
                            "q": LinearBridge(name="ask"),
                            "k": LinearBridge(name="match"),
                            "v": LinearBridge(name="carry"),
                            "o": LinearBridge(name="merge"),
                        },
                    ),
                    "ln2": self._norm("settle"),
                    "mlp": GatedMLPBridge(
                        name="thinker",
                        config=cfg,
                        submodules={
                            "gate": LinearBridge(name="gate"),
                            "in": LinearBridge(name="widen"),
                            "out": LinearBridge(name="narrow"),
                        },
                    ),
                },
            ),
            "ln_final": self._norm("trunk.close"),
            "unembed": UnembeddingBridge(name="readout"),
        }

    def _norm(self, name: str) -> NormalizationBridge:
        return NormalizationBridge(name=name, config=self.cfg, use_native_layernorm_autograd=True)
