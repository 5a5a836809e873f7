"""Tiny random Hugging Face language models of many families, far from linear, and prompts for them.

Nothing is downloaded: every model is made from its configuration, the same one for the same seed.
"""

from __future__ import annotations

from tests.support.zoo.models import FAMILIES, RECIPES, REFUSED, build
from tests.support.zoo.sizes import D_MODEL, N_HEADS, N_KV_HEADS, N_LAYERS, VOCAB
from tests.support.zoo.tokens import FIRST_WORD, prompts

ARCHITECTURES: tuple[str, ...] = (
    "gpt2",
    "llama",
    "gemma2",
    "gemma3",
    "gpt_neox",
    "qwen2",
    "qwen3",
    "olmo2",
    "gptj",
    "opt",
    "bloom",
    "falcon",
    "phi",
    "mixtral",
)
"""The models on which every algorithm is tested."""

VARIANTS: tuple[str, ...] = ("falcon_new", "gpt_neox_sequential", "llama_biased")
"""The models on which the oracle itself is tested."""

__all__ = [
    "ARCHITECTURES",
    "D_MODEL",
    "FAMILIES",
    "FIRST_WORD",
    "N_HEADS",
    "N_KV_HEADS",
    "N_LAYERS",
    "RECIPES",
    "REFUSED",
    "VARIANTS",
    "VOCAB",
    "build",
    "prompts",
]
