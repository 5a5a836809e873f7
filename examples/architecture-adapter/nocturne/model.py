"""The model: grouped-query attention with linear distance biases and a gated MLP, under unusual module names."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class NocturneConfig(PretrainedConfig):
    """A model's sizes."""

    model_type = "nocturne"

    def __init__(
        self,
        vocab_size: int = 64,
        hidden_size: int = 32,
        num_hidden_layers: int = 2,
        num_attention_heads: int = 4,
        num_key_value_heads: int = 2,
        intermediate_size: int = 48,
        max_position_embeddings: int = 64,
        **kwargs: Any,
    ) -> None:
        """Store the sizes."""
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.num_attention_heads, self.num_key_value_heads = num_attention_heads, num_key_value_heads
        self.intermediate_size, self.max_position_embeddings = intermediate_size, max_position_embeddings
        super().__init__(**kwargs)


class Mixer(nn.Module):
    """Attention."""

    def __init__(self, config: NocturneConfig) -> None:
        """Make the four projections."""
        super().__init__()
        self.d_head = config.hidden_size // config.num_attention_heads
        self.group = config.num_attention_heads // config.num_key_value_heads
        width = config.num_key_value_heads * self.d_head
        self.ask = nn.Linear(config.hidden_size, config.hidden_size)
        self.match, self.carry = nn.Linear(config.hidden_size, width), nn.Linear(config.hidden_size, width)
        self.merge = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return attention's output and its pattern; the mask [batch, heads, query, key] is added to the scores."""
        x = hidden_states
        q, k, v = (p(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2) for p in (self.ask, self.match, self.carry))
        k, v = (y.repeat_interleave(self.group, 1) for y in (k, v))
        scores = q @ k.mT / math.sqrt(self.d_head)
        pattern = (scores if attention_mask is None else scores + attention_mask).softmax(-1)
        added: Tensor = self.merge((pattern @ v).transpose(1, 2).flatten(2))
        return added, pattern


class Thinker(nn.Module):
    """A gated MLP."""

    def __init__(self, config: NocturneConfig) -> None:
        """Make the three projections."""
        super().__init__()
        self.gate, self.widen = (nn.Linear(config.hidden_size, config.intermediate_size) for _ in range(2))
        self.narrow = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """From [batch, pos, hidden] to the same."""
        out: Tensor = self.narrow(nn.functional.silu(self.gate(hidden_states)) * self.widen(hidden_states))
        return out


class Stage(nn.Module):
    """A block."""

    def __init__(self, config: NocturneConfig) -> None:
        """Make the parts."""
        super().__init__()
        self.calm, self.mixer = nn.LayerNorm(config.hidden_size), Mixer(config)
        self.settle, self.thinker = nn.LayerNorm(config.hidden_size), Thinker(config)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """From [batch, pos, hidden] to the same."""
        x: Tensor = hidden_states + self.mixer(hidden_states=self.calm(hidden_states), attention_mask=attention_mask)[0]
        x = x + self.thinker(self.settle(x))
        return x


class Trunk(nn.Module):
    """Everything but the unembedding."""

    def __init__(self, config: NocturneConfig) -> None:
        """Make the parts."""
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.stages = nn.ModuleList(Stage(config) for _ in range(config.num_hidden_layers))
        self.close = nn.LayerNorm(config.hidden_size)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """From token ids [batch, pos] to [batch, pos, hidden]."""
        x: Tensor = self.words(tokens)
        for stage in self.stages:
            x = stage(x, attention_mask=bias)
        x = self.close(x)
        return x


class NocturneForCausalLM(PreTrainedModel):
    """The language model."""

    config_class = NocturneConfig

    def __init__(self, config: NocturneConfig) -> None:
        """Make it."""
        super().__init__(config)
        self.trunk = Trunk(config)
        self.readout = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> CausalLMOutput:
        """Return logits [batch, pos, vocab] for token ids; the mask [batch, pos] is 1 at real tokens."""
        return CausalLMOutput(logits=self.readout(self.trunk(input_ids, self._bias(input_ids, attention_mask))))

    def _bias(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Return the bias of attention scores: lower for distant keys, and almost minus infinity for masked ones."""
        position = torch.arange(tokens.shape[1], device=tokens.device)
        distance = (position[:, None] - position).to(self.dtype)
        seen = (distance >= 0)[None, None]
        if mask is not None:
            seen = seen & mask.bool()[:, None, None, :]
        slopes = 2.0 ** -torch.arange(1, self.config.num_attention_heads + 1, device=tokens.device, dtype=self.dtype)
        return (-slopes[:, None, None] * distance)[None].masked_fill(~seen, torch.finfo(self.dtype).min)
