"""The sizes of the zoo's models, and settings by the names that Hugging Face's configurations give them."""

from __future__ import annotations

from typing import Any, NamedTuple

VOCAB = 64
D_MODEL = 32
N_HEADS = 4
N_KV_HEADS = 2
D_HEAD = D_MODEL // N_HEADS
D_MLP = 48
N_LAYERS = 2
WINDOW = 3
"""The window of sliding and local attention, which is shorter than a prompt."""


class Recipe(NamedTuple):
    """The recipe for a model of the zoo.

    Attributes:
        title: the family's name, with this model's peculiarity in brackets.
        model_type: its name in Hugging Face's configurations.
        settings: its configuration.
    """

    title: str
    model_type: str
    settings: dict[str, Any]

    @property
    def family(self) -> str:
        """The title without the part in brackets."""
        return self.title.partition(" (")[0]


SIZES = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS}
PLAIN = {**SIZES, "max_position_embeddings": 32, "intermediate_size": D_MLP}
GROUPED = {**PLAIN, "num_key_value_heads": N_KV_HEADS}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
GPT = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": 32, "n_inner": D_MLP}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
