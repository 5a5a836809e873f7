"""Tiny random Hugging Face language models of many families, far from linear, and prompts for them.

Nothing is downloaded: every model is made from its configuration, the same one for the same seed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCAB = 64
D_MODEL = 32
N_HEADS = 4
N_KV_HEADS = 2
D_MLP = 48
N_LAYERS = 2
FIRST_WORD = 3
"""Ids below this are the special tokens, which no prompt holds."""

_SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_SIZES = {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS}
_PLAIN = {**_SIZES, "max_position_embeddings": 32, "intermediate_size": D_MLP}
_GROUPED = {**_PLAIN, "num_key_value_heads": N_KV_HEADS}
_GPT = {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": 32, "n_inner": D_MLP}
_GEMMA = {
    **_GROUPED,
    "head_dim": 16,  # twice d_model / heads
    "query_pre_attn_scalar": 16,
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention"],
}
_FALCON = {**_SIZES, "max_position_embeddings": 32, "ffn_hidden_size": D_MLP}


# By name, the Hugging Face model type and its configuration.
_RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", _GPT),
    "llama": ("llama", _GROUPED),
    "gemma2": ("gemma2", {**_GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}),
    "gemma3": ("gemma3_text", _GEMMA),
    "gpt_neox": ("gpt_neox", _PLAIN),
    "qwen2": ("qwen2", _GROUPED),
    "qwen3": ("qwen3", {**_GROUPED, "head_dim": 8}),
    "olmo2": ("olmo2", _GROUPED),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 4}),
    "opt": ("opt", {**_SIZES, "max_position_embeddings": 32, "ffn_dim": D_MLP, "dropout": 0.0}),
    "bloom": ("bloom", {"hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS}),
    "falcon": ("falcon", _FALCON),
    "phi": ("phi", _PLAIN),
    "mixtral": ("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "falcon_new": ("falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": N_KV_HEADS}),
    "gpt_neox_sequential": ("gpt_neox", {**_PLAIN, "use_parallel_residual": False}),
    "llama_biased": ("llama", {**_GROUPED, "attention_bias": True, "mlp_bias": True}),
}

VARIANTS: tuple[str, ...] = ("falcon_new", "gpt_neox_sequential", "llama_biased")
ARCHITECTURES: tuple[str, ...] = tuple(name for name in _RECIPES if name not in VARIANTS)


def build(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """The model called ``name``, of ``ARCHITECTURES`` or ``VARIANTS``, in eval mode with eager attention.

    The weights do not depend on ``dtype`` but for rounding.
    """
    model_type, settings = _RECIPES[name]
    config = CONFIG_MAPPING[model_type](vocab_size=VOCAB, **_SPECIAL, **settings)
    eager = {"attn_implementation": "eager"}
    if name == "mixtral":
        eager["experts_implementation"] = "eager"
    model = AutoModelForCausalLM.from_config(config, **eager)
    _randomize(model, torch.Generator().manual_seed(seed))
    return model.to(dtype).eval()


@torch.no_grad()
def _randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight anew: matrices and embeddings 0.25 wide, biases 0.2, norm weights spread by 0.3.

    Norm weights keep the centre they are made with: 0 where the norm multiplies by 1 + weight, else 1.
    """
    for module in model.modules():
        is_norm = "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            if is_norm and name == "weight":
                parameter.add_(0.3 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(0.25 * noise)


def prompts(n: int, length: int, vocab: int = VOCAB, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clean and corrupt token ids, each [n, length], with one right and one wrong answer, each [n, 1].

    A corrupt prompt differs from its clean one at some positions, at least one and never the first.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, low: int = FIRST_WORD, high: int = vocab) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    def other_than(ids: Tensor) -> Tensor:
        shift = draw(*ids.shape, low=1, high=vocab - FIRST_WORD)
        return FIRST_WORD + (ids - FIRST_WORD + shift) % (vocab - FIRST_WORD)

    clean = draw(n, length)
    changed = torch.rand((n, length), generator=generator) < 0.4
    changed.scatter_(1, draw(n, 1, low=1, high=length), True)
    changed[:, 0] = False
    corrupt = torch.where(changed, other_than(clean), clean)
    answers = draw(n, 1)
    return clean, corrupt, answers, other_than(answers)
