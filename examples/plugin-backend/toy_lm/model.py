"""A decoder-only transformer in plain PyTorch, with grouped-query attention; it does not depend on eap-plugin."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class ToyLMConfig:
    """A model's sizes."""

    n_vocab: int = 64
    n_ctx: int = 32
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 2
    d_model: int = 32
    d_mlp: int = 48

    @property
    def d_head(self) -> int:
        """The width of a head."""
        return self.d_model // self.n_heads


class Attention(nn.Module):
    """Causal attention, in which groups of heads share a key and a value."""

    def __init__(self, config: ToyLMConfig) -> None:
        """Make the four projections."""
        super().__init__()
        self.d_head, self.group = config.d_head, config.n_heads // config.n_kv_heads
        self.q = nn.Linear(config.d_model, config.n_heads * config.d_head)
        self.k = nn.Linear(config.d_model, config.n_kv_heads * config.d_head)
        self.v = nn.Linear(config.d_model, config.n_kv_heads * config.d_head)
        self.o = nn.Linear(config.n_heads * config.d_head, config.d_model)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """Map [batch, pos, d_model] to the same shape; ``visible`` is true at the keys that a query attends to."""
        q, k, v = (p(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2) for p in (self.q, self.k, self.v))
        k, v = (y.repeat_interleave(self.group, 1) for y in (k, v))
        scores = (q @ k.mT / math.sqrt(self.d_head)).masked_fill(~visible, torch.finfo(x.dtype).min)
        out: Tensor = self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """Two projections with a GELU between them."""

    def __init__(self, config: ToyLMConfig) -> None:
        """Make the projections."""
        super().__init__()
        self.up, self.down = nn.Linear(config.d_model, config.d_mlp), nn.Linear(config.d_mlp, config.d_model)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """From [batch, pos, d_model] to the same."""
        out: Tensor = self.down(self.act(self.up(x)))
        return out


class Block(nn.Module):
    """Attention, then the MLP, each behind a norm and added to the residual stream."""

    def __init__(self, config: ToyLMConfig) -> None:
        """Make the parts."""
        super().__init__()
        self.attn_norm, self.attn = nn.LayerNorm(config.d_model), Attention(config)
        self.mlp_norm, self.mlp = nn.LayerNorm(config.d_model), MLP(config)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """From [batch, pos, d_model] to the same."""
        x = x + self.attn(self.attn_norm(x), visible)
        x = x + self.mlp(self.mlp_norm(x))
        return x


class ToyLM(nn.Module):
    """The model."""

    def __init__(self, config: ToyLMConfig) -> None:
        """Make it, with PyTorch's initial weights."""
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.n_vocab, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model)
        self.unembed = nn.Linear(config.d_model, config.n_vocab, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits [batch, pos, vocab] for token ids [batch, pos]; ``mask`` is true at real tokens."""
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
        x = self.embed(tokens) + self.pos_embed((real.long().cumsum(-1) - 1).clamp_min(0))
        for block in self.blocks:
            x = block(x, causal & real[:, None, None, :])
        logits: Tensor = self.unembed(self.final_norm(x))
        return logits

    def save(self, folder: str | Path) -> None:
        """Write sizes and weights."""
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "config.json").write_text(json.dumps(asdict(self.config)))
        save_file(self.state_dict(), Path(folder) / "model.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> ToyLM:
        """Read what ``save`` wrote."""
        model = cls(ToyLMConfig(**json.loads((Path(folder) / "config.json").read_text())))
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model.eval()
