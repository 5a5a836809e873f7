"""The TransformerLens backend: ``TransformerBridge`` (4.x), ``HookedTransformer`` (2.16 to 3.x), ``PatchableModel``."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from eap_plugin.backend.base import Backend
from eap_plugin.backend.loading import (
    DeviceMap,
    context_length,
    load_errors,
    model_path,
    placement,
    prepends_bos,
    third_party_architectures,
    torch_dtype,
)
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.residual_model import ResidualModel


class TransformerLens(Backend):
    """TransformerLens, in any supported version that is installed."""

    name = "transformer_lens"
    summary = "TransformerLens: TransformerBridge (4.x), HookedTransformer (2.16 to 3.x), AutoCircuit's PatchableModel"
    requires = ("transformer_lens",)
    spreads = True

    def accepts(self, model: object) -> bool:
        """See ``Backend.accepts``."""
        is_bridge = _is_a(model, "transformer_lens.model_bridge.transformer_bridge", "TransformerBridge")
        return is_bridge or _is_hooked(model) or _is_patchable(model)

    def wrap(self, model: Any) -> ResidualModel:
        """See ``Backend.wrap``."""
        patchable = _is_patchable(model)
        if patchable:
            from eap_plugin.backend.transformer_lens.patchable import PatchableHooked, check_patchable

            check_patchable(model)
        if getattr(model.cfg, "attention_dir", "causal") != "causal":
            raise EapPluginError("edge scores need causal attention, but this model attends in both directions")
        hooked = patchable or _is_hooked(model)
        info = ModelInfo(
            name=str(getattr(model.cfg, "model_name", None) or type(model).__name__),
            n_vocab=int(model.cfg.d_vocab),
            d_model=int(model.cfg.d_model),
            n_ctx=int(model.cfg.n_ctx) if hooked else context_length(model.cfg),
            tokenizer=getattr(model, "tokenizer", None),
            prepend_bos=prepends_bos(getattr(model, "tokenizer", None), model.cfg),
            provenance={"backend": self.name, "transformer-lens": version("transformer-lens")},
        )
        if patchable:
            return PatchableHooked(model, info)
        if hooked:
            from eap_plugin.backend.transformer_lens.hooked import HookedModel

            return HookedModel(model, info)
        from eap_plugin.backend.transformer_lens.bridge import BridgeModel

        return BridgeModel(model, info)

    def load(
        self,
        name: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        revision: str | None = None,
        device_map: DeviceMap | None = None,
    ) -> ResidualModel:
        """See ``Backend.load``; the weights are Hugging Face's, without any folding."""
        path = model_path(name, revision)
        with load_errors(name):
            kind = torch_dtype(dtype, path, revision)
            model = _boot(path, {"dtype": kind, "revision": revision}, placement(device, device_map))
        wrapped = self.wrap(model)
        wrapped.info = wrapped.info.loaded_as(name, revision)
        return wrapped


def _boot(path: str, how: dict[str, Any], where: dict[str, Any]) -> Any:
    if int(version("transformer-lens").split(".")[0]) >= 4:
        from transformer_lens.model_bridge import TransformerBridge

        if third_party := third_party_architectures():
            bridge = _boot_third_party(third_party, path, how, where)
            if bridge is not None:
                return bridge
        return TransformerBridge.boot_transformers(path, **how, **where)
    from transformer_lens import HookedTransformer

    if Path(path).is_dir():
        raise EapPluginError(
            "transformer-lens before 4 loads models by name only; install transformer-lens>=4 to load a folder"
        )
    if "device_map" in where:
        raise UsageError("transformer-lens before 4 loads models on one device; leave device_map (--device-map) out")
    return HookedTransformer.from_pretrained_no_processing(path, **how, **where)


def _boot_third_party(known: set[str], path: str, how: dict[str, Any], where: dict[str, Any]) -> Any:
    """Load a model of an architecture in ``known``, which TransformerLens' own loader refuses; ``None`` for others."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    revision = how["revision"]
    config = AutoConfig.from_pretrained(path, revision=revision)
    for architecture in known.intersection(config.architectures or ()):
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, **how, attn_implementation="eager", device_map=where.get("device_map", where.get("device"))
        )
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        return build_bridge_from_module(
            model, architecture, hf_config=config, tokenizer=tokenizer, dtype=how["dtype"], device=where.get("device")
        )
    return None


def _is_hooked(model: object) -> bool:
    return _is_a(model, "transformer_lens.HookedTransformer", "HookedTransformer")


def _is_patchable(model: object) -> bool:
    return _is_a(model, "auto_circuit.utils.patchable_model", "PatchableModel")


def _is_a(model: object, module: str, name: str) -> bool:
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(model, found)
