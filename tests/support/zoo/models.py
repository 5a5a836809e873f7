"""Construction of the zoo's models."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel
from transformers.activations import XIELUActivation
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P

from tests.support.zoo import experts, gpt, llama, post_norm, refused
from tests.support.zoo.sizes import VOCAB, Recipe

FAMILIES: tuple[str, ...] = (*gpt.RECIPES, *llama.RECIPES, *post_norm.RECIPES, *experts.RECIPES)
"""The models on which Edge Attribution Patching is tested."""

REFUSED: tuple[str, ...] = tuple(refused.RECIPES)
"""The models that must be refused."""

RECIPES: dict[str, Recipe] = {
    **gpt.RECIPES,
    **llama.RECIPES,
    **post_norm.RECIPES,
    **experts.RECIPES,
    **refused.RECIPES,
}

_SPECIAL = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def build(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """Build the model ``name`` of ``RECIPES``, in eval mode with eager attention.

    The weights depend on ``dtype`` only by rounding.
    """
    recipe = RECIPES[name]
    config = CONFIG_MAPPING[recipe.model_type](vocab_size=VOCAB, **_SPECIAL, **recipe.settings)
    eager = {"attn_implementation": "eager"}
    if name in experts.RECIPES:
        eager["experts_implementation"] = "eager"
    kind = AutoModelForSeq2SeqLM if name in refused.ENCODER_DECODERS else AutoModelForCausalLM
    model = kind.from_config(config, **eager)
    _randomize(model, torch.Generator().manual_seed(seed))
    return model.to(dtype).eval()


@torch.no_grad()
def _randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight anew, with standard deviation 0.25 for matrices and embeddings, 0.2 for biases, 0.3 for norms.

    Norm weights keep their initial centre: 0 if the norm multiplies by 1 + weight, else 1. Nemotron multiplies by
    1 + weight but initializes its weights to 1, so theirs is moved to 0. Apertus' activation jumps by 1e-6 at zero, an
    input that zero ablation gives to within rounding; the jump is taken out.
    """
    for module in model.modules():
        if isinstance(module, XIELUActivation):
            module.eps.zero_()
        is_norm = "Norm" in type(module).__name__
        for name, parameter in module.named_parameters(recurse=False):
            noise = torch.randn(parameter.shape, generator=generator)
            if is_norm and name == "weight":
                parameter.add_(0.3 * noise - (1.0 if isinstance(module, NemotronLayerNorm1P) else 0.0))
            elif parameter.ndim == 1:
                parameter.copy_(0.2 * noise)
            else:
                parameter.copy_(0.25 * noise)
