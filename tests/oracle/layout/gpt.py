"""Where GPT-2, and those after its plan, have their readers and writers.

- OPT has no MLP module, and flattens batch and position into one axis from the MLP's norm to ``fc2``.
- Bloom's attention and MLP modules and MPT's MLP take the residual as an argument and return it with their own
  output added, so only the linear layers inside them tell what is read and written.
- Falcon adds the attention's output to the MLP's output *in place*: a hook on the MLP must keep a copy.
- CodeGen gives, for each of four groups of heads, their q, then their v, then their k.
- ModernBERT's first layer has no norm before attention.
"""

from __future__ import annotations

from dataclasses import replace

from tests.oracle.layout.layout import Layout, fused, group_by_group, head_by_head, one_after_another, separate
from tests.zoo import N_HEADS, N_KV_HEADS

_GPT2 = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=one_after_another("attn.c_attn"),
    o="attn.c_proj",
    attn_norm="ln_1",
    mlp_norm="ln_2",
)
_GPTJ = replace(_GPT2, heads=separate("attn", N_HEADS), o="attn.out_proj", mlp_norm="ln_1", parallel=True)
_GROUPS_OF_TWO = [(group, i) for group in range(4) for i in range(2)]
_CODEGEN = replace(
    _GPTJ,
    heads=fused(
        "attn.qkv_proj",
        (4, 3, 2),
        q=[(group, 0, i) for group, i in _GROUPS_OF_TWO],
        v=[(group, 1, i) for group, i in _GROUPS_OF_TWO],
        k=[(group, 2, i) for group, i in _GROUPS_OF_TWO],
    ),
)
_BLOOM = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=head_by_head("self_attention.query_key_value"),
    o="self_attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    mlp_in="mlp.dense_h_to_4h",
    mlp_out="mlp.dense_4h_to_h",
)
_FALCON = Layout(
    "transformer.h",
    "transformer.ln_f",
    heads=one_after_another("self_attention.query_key_value", 1),
    o="self_attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="input_layernorm",
    parallel=True,
)
_FALCON_SEQUENTIAL = replace(
    _FALCON,
    heads=head_by_head("self_attention.query_key_value"),
    mlp_norm="post_attention_layernorm",
    parallel=False,
)
_FALCON_NEW = replace(
    _FALCON,
    heads=group_by_group("self_attention.query_key_value"),
    attn_norm="ln_attn",
    mlp_norm="ln_mlp",
)
_GPT_NEOX = Layout(
    "gpt_neox.layers",
    "gpt_neox.final_layer_norm",
    heads=head_by_head("attention.query_key_value"),
    o="attention.dense",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    parallel=True,
)
_OPT = Layout(
    "model.decoder.layers",
    "model.decoder.final_layer_norm",
    heads=separate("self_attn", N_HEADS),
    o="self_attn.out_proj",
    attn_norm="self_attn_layer_norm",
    mlp_norm="final_layer_norm",
    mlp_in="fc1",
    mlp_out="fc2",
)
_MPT = Layout(
    "transformer.blocks",
    "transformer.norm_f",
    heads=one_after_another("attn.Wqkv"),
    o="attn.out_proj",
    attn_norm="norm_1",
    mlp_norm="norm_2",
    mlp_in="ffn.up_proj",
    mlp_out="ffn.down_proj",
)
_STARCODER2 = Layout(
    "model.layers",
    "model.norm",
    heads=separate("self_attn", N_KV_HEADS),
    o="self_attn.o_proj",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
)
_PHI = replace(
    _STARCODER2,
    final_norm="model.final_layernorm",
    heads=separate("self_attn", N_HEADS),
    o="self_attn.dense",
    mlp_norm="input_layernorm",
    parallel=True,
)
_MODERNBERT = Layout(
    "model.layers",
    "model.final_norm",
    heads=separate("attn", N_HEADS),
    o="attn.Wo",
    attn_norm="attn_norm",
    mlp_norm="mlp_norm",
)

LAYOUTS: dict[str, Layout] = {
    "gpt2": _GPT2,
    "gptj": _GPTJ,
    "gpt_neo": replace(_GPT2, heads=separate("attn.attention", N_HEADS), o="attn.attention.out_proj"),
    "gpt_neox": _GPT_NEOX,
    "gpt_neox_sequential": replace(_GPT_NEOX, parallel=False),
    "gpt_bigcode": replace(_GPT2, heads=one_after_another("attn.c_attn", 1)),
    "codegen": _CODEGEN,
    "opt": _OPT,
    "opt_projected": _OPT,
    "bloom": _BLOOM,
    "falcon": _FALCON,
    "falcon_new": _FALCON_NEW,
    "falcon_sequential": _FALCON_SEQUENTIAL,
    "mpt": _MPT,
    "phi": _PHI,
    "stablelm": _STARCODER2,
    "stablelm_parallel": replace(_STARCODER2, mlp_norm="input_layernorm", parallel=True),
    "starcoder2": _STARCODER2,
    "modernbert_decoder": _MODERNBERT,
}
"""By the names of ``tests.zoo``."""
