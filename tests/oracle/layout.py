"""Where the readers and writers of each model family are in its plain Hugging Face module.

Surprises, as of transformers 5.22:
- OPT has no MLP module, and flattens batch and position into one axis from the MLP's norm to ``fc2``.
- Bloom's attention and MLP modules take the residual as an argument and return it with their own output
  added, so only the linear layers inside them tell what is read and written.
- Falcon adds the attention's output to the MLP's output *in place*: a hook on the MLP must keep a copy.
- Attention modules return tuples; hooks go on the linear layers inside them.
- OLMo 2 normalizes queries and keys over all heads at once, so one head's query changes the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from tests.support.zoo import N_HEADS, N_KV_HEADS


@dataclass(frozen=True)
class Slot:
    """One head's part of a projection's output: ``output.unflatten(-1, shape)[..., *index, :]``."""

    path: str
    shape: tuple[int, ...]
    index: tuple[int, ...]

    def part(self, output: Tensor) -> Tensor:
        """The head's part, [batch, pos, d_head], as a view of the whole output."""
        place = (..., *self.index, slice(None))
        return output.unflatten(-1, (*self.shape, -1))[place]


@dataclass(frozen=True)
class Layout:
    """Paths of modules, in the model for ``layers`` and ``final_norm``, else in a layer; "" for none.

    Attributes:
        layers: the list of layers; a layer's first argument is the residual stream that q, k and v read.
        final_norm: the norm before the logits.
        heads: for q, k and v, where each head is; k and v have the real key/value heads.
        o: the output projection; its input is all heads' z side by side, [batch, pos, heads * d_head].
        attn_norm, mlp_norm: the norm before the projections and before the MLP (one module for both in some).
        mlp_in: the module whose input is what the MLP reads, after the norm.
        mlp_out: the module whose output is what the MLP writes, before any ``mlp_post_norm``.
        attn_post_norm, mlp_post_norm: the norm between the block's output and the residual stream.
        parallel: whether the MLP reads what the attention reads, without this layer's heads.
    """

    layers: str
    final_norm: str
    heads: dict[str, tuple[Slot, ...]]
    o: str
    attn_norm: str
    mlp_norm: str
    mlp_in: str = "mlp"
    mlp_out: str = "mlp"
    attn_post_norm: str = ""
    mlp_post_norm: str = ""
    parallel: bool = False

    def part(self, model: nn.Module, layer: int, path: str) -> nn.Module:
        """The module at ``path`` in one layer; ``Identity`` where there is none."""
        return model.get_submodule(f"{self.layers}.{layer}.{path}") if path else nn.Identity()


def _separate(attention: str, n_kv_heads: int) -> dict[str, tuple[Slot, ...]]:
    """Three projections, of which each gives one head after the other."""
    counts = {"q": N_HEADS, "k": n_kv_heads, "v": n_kv_heads}
    return {kind: tuple(Slot(f"{attention}.{kind}_proj", (n,), (h,)) for h in range(n)) for kind, n in counts.items()}


def _fused(path: str, shape: tuple[int, ...], **places: Sequence[tuple[int, ...]]) -> dict[str, tuple[Slot, ...]]:
    """One projection for q, k and v, in which the heads have these places."""
    return {kind: tuple(Slot(path, shape, place) for place in places[kind]) for kind in "qkv"}


def _each_head_qkv(path: str) -> dict[str, tuple[Slot, ...]]:
    """A fused projection that gives each head's q, k and v before the next head's (GPT-NeoX, Bloom)."""
    q, k, v = ([(h, i) for h in range(N_HEADS)] for i in range(3))
    return _fused(path, (N_HEADS, 3), q=q, k=k, v=v)


_q, _k, _v = ([(i, h) for h in range(N_HEADS)] for i in range(3))
_GPT2 = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=_fused("attn.c_attn", (3, N_HEADS), q=_q, k=_k, v=_v),
    o="attn.c_proj",
    attn_norm="ln_1",
    mlp_norm="ln_2",
)
_GPTJ = replace(_GPT2, heads=_separate("attn", N_HEADS), o="attn.out_proj", mlp_norm="ln_1", parallel=True)
_BLOOM = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=_each_head_qkv("self_attention.query_key_value"),
    o="self_attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    mlp_in="mlp.dense_h_to_4h",
    mlp_out="mlp.dense_4h_to_h",
)
_FALCON = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=_fused(
        "self_attention.query_key_value",
        (N_HEADS + 2,),  # every head's q, then the only k, then the only v
        q=[(h,) for h in range(N_HEADS)],
        k=[(N_HEADS,)],
        v=[(N_HEADS + 1,)],
    ),
    o="self_attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="input_layernorm",
    parallel=True,
)
_GROUP = N_HEADS // N_KV_HEADS
_FALCON_NEW = replace(
    _FALCON,
    heads=_fused(
        "self_attention.query_key_value",
        (N_KV_HEADS, _GROUP + 2),  # per key/value head: its query heads, its k, its v
        q=[divmod(h, _GROUP) for h in range(N_HEADS)],
        k=[(g, _GROUP) for g in range(N_KV_HEADS)],
        v=[(g, _GROUP + 1) for g in range(N_KV_HEADS)],
    ),
    attn_norm="ln_attn",
    mlp_norm="ln_mlp",
)
_GPT_NEOX = Layout(
    "gpt_neox.layers",
    "gpt_neox.final_layer_norm",
    heads=_each_head_qkv("attention.query_key_value"),
    o="attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    parallel=True,
)
_OPT = Layout(
    "model.decoder.layers",
    "model.decoder.final_layer_norm",
    heads=_separate("self_attn", N_HEADS),
    o="self_attn.out_proj",
    attn_norm="self_attn_layer_norm",
    mlp_norm="final_layer_norm",
    mlp_in="fc1",
    mlp_out="fc2",
)
_LLAMA = Layout(
    "model.layers",
    "model.norm",
    heads=_separate("self_attn", N_KV_HEADS),
    o="self_attn.o_proj",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
)
_GEMMA = replace(
    _LLAMA,
    mlp_norm="pre_feedforward_layernorm",
    attn_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)
_PHI = replace(
    _LLAMA,
    final_norm="model.final_layernorm",
    heads=_separate("self_attn", N_HEADS),
    o="self_attn.dense",
    mlp_norm="input_layernorm",
    parallel=True,
)

LAYOUTS: dict[str, Layout] = {
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gpt_neox": _GPT_NEOX,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "olmo2": replace(_GEMMA, attn_norm="", mlp_norm=""),
    "gptj": _GPTJ,
    "opt": _OPT,
    "bloom": _BLOOM,
    "falcon": _FALCON,
    "phi": _PHI,
    "mixtral": _LLAMA,
    "falcon_new": _FALCON_NEW,
    "gpt_neox_sequential": replace(_GPT_NEOX, parallel=False),
    "llama_biased": _LLAMA,
}
"""By the names of ``tests.support.zoo``."""
