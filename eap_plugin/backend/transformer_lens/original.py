"""The Hugging Face model that a bridge wraps, reassembled without the bridge, to compare logits with.

1. A bridge replaces modules of the model that it wraps by components of its own, each of which holds the module that
   it replaced. ``original_model`` copies the module tree and puts every replaced module back into the copy. The copy
   shares all weights, so it takes no memory.
2. ``compare`` runs the copy and the bridge on the same prompt. If their logits differ, the bridge does not compute the
   same function as the model that it was made from.
"""

from __future__ import annotations

import copy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from eap_plugin.data.prompts import Prompts
from eap_plugin.errors import CannotCompareError
from eap_plugin.model.residual_model import SourceComparison
from eap_plugin.model.residues import residues

_COMPARED: WeakKeyDictionary[nn.Module, dict[bool, SourceComparison]] = WeakKeyDictionary()
"""For each bridge, the earlier comparisons: in compatibility mode (true) and raw (false)."""


def compare(bridge: Any, prompts: Prompts) -> SourceComparison:
    """Compare the logits of a bridge with those of the model that it wraps; later calls return the first result.

    Raises:
        CannotCompareError: if that model cannot be reassembled, saying why.
    """
    compared = _COMPARED.setdefault(bridge, {})
    mode = bool(bridge.compatibility_mode)
    if mode not in compared:
        compared[mode] = _compare(bridge, prompts)
    return compared[mode]


@torch.no_grad()
def _compare(bridge: Any, prompts: Prompts) -> SourceComparison:
    original = original_model(bridge)
    tokens, attention_mask = prompts.tokens, prompts.attention_mask
    mask = {} if attention_mask is None else {"attention_mask": attention_mask.long()}
    here = _centred(bridge(tokens, return_type="logits", **mask))
    there = original(input_ids=tokens, use_cache=False, **mask, **_positions(original, attention_mask))
    there = _centred(getattr(there, "logits", there))
    here, there = here[prompts.real], there[prompts.real]
    apart = residues(here, there)
    worst = int(apart.argmax())
    return SourceComparison(
        backend="TransformerBridge",
        original=type(original).__name__,
        here=float(here.flatten()[worst]),
        there=float(there.flatten()[worst]),
        residue=float(apart.flatten()[worst]),
        advice=_advice(bridge, original),
    )


def original_model(bridge: Any) -> Any:
    """Return the wrapped model as it was before the bridge replaced its modules; weights are shared, not copied.

    Raises:
        CannotCompareError: if the user has hooks or replaced functions on it, or compatibility mode has created weights
            that only the bridge has.
    """
    if any(_is_users(hook) for point in bridge.hook_dict.values() for hook in point.fwd_hooks):
        raise CannotCompareError(
            "there are hooks on the bridge, so its logits were not compared with those of the model in it"
        )
    original: nn.Module = _restored(bridge.original_model, {})
    if bridge.compatibility_mode:
        held = {parameter.untyped_storage().data_ptr() for parameter in original.parameters()}
        if any(parameter.untyped_storage().data_ptr() not in held for parameter in bridge.parameters()):
            raise CannotCompareError(
                f"compatibility mode has replaced fused weights of {type(original).__name__} by its own, so the "
                f"bridge's logits were not compared with those of the model in it; check the bridge before "
                f"enable_compatibility_mode(), too"
            )
    return original


def _is_users(hook: Any) -> bool:
    """Return whether a hook was added by anyone but TransformerLens itself."""
    return not str(getattr(getattr(hook, "user_hook", None), "__module__", "")).startswith("transformer_lens.")


def _restored(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """Copy a module and all its submodules, with every component of a bridge replaced by the module that it holds."""
    while isinstance(inner := getattr(module, "original_component", None), nn.Module):
        module = inner
    if id(module) not in made:
        restored = made[id(module)] = copy.copy(module)
        _restore_forward(restored)
        restored._modules = {
            name: None if child is None else _restored(child, made) for name, child in module._modules.items()
        }
    return made[id(module)]


def _restore_forward(module: nn.Module) -> None:
    """Remove a ``forward`` that TransformerLens or nnsight has set on the module itself.

    Raises:
        CannotCompareError: if anyone else has set it.
    """
    forward = module.__dict__.get("forward")
    if forward is None:
        return
    origins = getattr(forward, "__module__", None), type(forward).__module__
    if not any(str(origin).startswith(("transformer_lens.", "nnsight.")) for origin in origins):
        raise CannotCompareError(
            f"the forward method of a {type(module).__name__} was replaced, so the bridge's logits were not compared "
            f"with those of the model in it"
        )
    del module.__dict__["forward"]


def _positions(original: nn.Module, attention_mask: Bool[Tensor, "batch pos"] | None) -> dict[str, Tensor]:
    from transformer_lens.utilities.position_ids import accepts_mask_derived_position_ids

    if attention_mask is None or not accepts_mask_derived_position_ids(original):
        return {}
    return {"position_ids": (attention_mask.long().cumsum(-1) - 1).clamp_min(0)}


def _centred(logits: Float[Tensor, "batch pos vocab"]) -> Float[Tensor, "batch pos vocab"]:
    """Subtract the mean from logits, as compatibility mode does; no prediction depends on it. At least float32."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits - logits.mean(-1, keepdim=True)


def _advice(bridge: Any, original: nn.Module) -> str:
    """Say what to do if logits differ, by the most likely cause."""
    if any("lora" in type(module).__name__.lower() or hasattr(module, "lora_A") for module in original.modules()):
        return (
            "merge the adapter into the weights (merge_and_unload) before making the bridge, or use the backend nnsight"
        )
    if bridge.compatibility_mode:
        return "leave out enable_compatibility_mode(), or use the backend nnsight"
    return "use the backend nnsight"
