"""Making the plan of a model from TransformerLens' architecture adapters, which know some 120 families.

Only the names and shapes of modules are used, so the weights need not be loaded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf
from transformer_lens.utilities.position_ids import accepts_mask_derived_position_ids

from eap_plugin.backend.effective_weight import require_gradients
from eap_plugin.backend.hf_config import UNEMBED, clip_of, require_a_residual_stream
from eap_plugin.backend.nnsight.block import BlockPlan, Found, NotFoundError, find, norm_place, plan_block
from eap_plugin.backend.nnsight.plan import Place, Plan, Visit
from eap_plugin.errors import EapPluginError
from eap_plugin.model.graph import Graph


def adapter_of(model: nn.Module) -> Any:
    """Return TransformerLens' adapter for a Hugging Face model.

    Raises:
        EapPluginError: if TransformerLens has none.
    """
    architecture = type(model).__name__
    try:
        cfg = build_bridge_config_from_hf(model.config, architecture, architecture, torch.float32)
        return ArchitectureAdapterFactory.select_architecture_adapter(cfg)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EapPluginError(
            f"TransformerLens has no adapter for {architecture}, which is needed to find its parts: {error}"
        ) from error


def language_model(model: Any) -> tuple[str, Any]:
    """Return the path of the Hugging Face model in ``model``, empty unless that is a ``PeftModel``, and the model.

    Raises:
        EapPluginError: if the adapter is learned tokens before every prompt.
    """
    if not hasattr(model, "get_base_model"):
        return "", model
    inner = model.get_base_model()
    path = next(path for path, module in model.named_modules() if module is inner)
    if model.active_peft_config.is_prompt_learning:
        raise EapPluginError(
            f"the adapter of {type(inner).__name__} is {model.active_peft_config.peft_type.value}, which puts learned "
            f"tokens into every layer or before every prompt; edge scores are not defined for it"
        )
    return path, inner


def resolve(model: nn.Module, adapter: Any, prefix: str = "") -> Plan:
    """Find the sites and weights of a Hugging Face model.

    Args:
        model: the model.
        adapter: its adapter, from ``adapter_of``.
        prefix: the model's path in the module that nnsight wraps.

    Raises:
        EapPluginError: naming the architecture and the component that was not found.
    """
    try:
        require_gradients(nn.Module.named_modules(model))
        require_a_residual_stream(model)
        return _plan(Found(None, model, prefix), adapter)
    except NotFoundError as error:
        raise EapPluginError(
            f"{type(model).__name__} is not a decoder of attention blocks with q, k, v and o projections: {error}; "
            f"edge scores are not defined for it"
        ) from error


def _plan(root: Found, adapter: Any) -> Plan:
    mapping, d_head = adapter.component_mapping, int(adapter.cfg.d_head)
    stack = find(root, mapping, "blocks")
    ln_final = find(root, mapping, "ln_final") if "ln_final" in mapping else None
    unembed = find(root, mapping, next(name for name in UNEMBED if name in mapping))
    clip_qkv = clip_of(root.module)
    blocks = [
        plan_block(Found(stack.component, block, f"{stack.path}.{layer}"), layer, d_head, clip_qkv)
        for layer, block in enumerate(stack.module.children())
    ]
    if not blocks:
        raise NotFoundError(f"{stack.path} holds no block")
    return Plan(
        graph=_graph(blocks),
        d_head=d_head,
        places=(
            Place(0, f"{stack.path}.0", "input", (Visit("embed"),)),
            *(place for block in blocks for place in block.places),
            Place(len(blocks) - 1, f"{stack.path}.{len(blocks) - 1}", "output", (Visit("final"),)),
        ),
        layers=tuple(block.layer for block in blocks),
        final_norm=norm_place(ln_final),
        unembed=unembed.path,
        takes_positions=accepts_mask_derived_position_ids(root.module),
    )


def _graph(blocks: list[BlockPlan]) -> Graph:
    heads = {(len(block.layer.q.heads), len(block.layer.k.heads)) for block in blocks}
    if len(heads) != 1:
        raise NotFoundError(f"its layers differ in number or size of heads: {sorted(heads)}")
    ((n_heads, n_kv_heads),) = heads
    return Graph(len(blocks), n_heads, n_kv_heads, parallel=blocks[0].parallel, has_mlp=blocks[0].has_mlp)
