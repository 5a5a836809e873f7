"""The nnsight backend: ``NNsight(model)`` and ``TransformersModel`` around Hugging Face language models."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from eap_plugin.backend.base import Backend
from eap_plugin.backend.loading import (
    DeviceMap,
    context_length,
    load_errors,
    model_path,
    prepends_bos,
    third_party_architectures,
    torch_dtype,
)
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.remote import Remote
from eap_plugin.model.residual_model import ResidualModel


class NNsightBackend(Backend):
    """nnsight models of any architecture for which TransformerLens 4 has an adapter."""

    name = "nnsight"
    summary = "nnsight 0.8: NNsight and TransformersModel, for architectures that TransformerLens supports"
    requires = ("nnsight", "transformer_lens")
    spreads = True

    def missing(self) -> str | None:
        """See ``Backend.missing``."""
        if absent := super().missing():
            return absent
        lens = version("transformer-lens")
        return None if int(lens.split(".")[0]) >= 4 else f"transformer-lens is {lens}, at least 4 is needed"

    def accepts(self, model: object) -> bool:
        """See ``Backend.accepts``."""
        nnsight = sys.modules.get("nnsight")
        return nnsight is not None and isinstance(model, nnsight.NNsight | nnsight.TransformersModel)

    def wrap(self, model: Any) -> ResidualModel:
        """See ``Backend.wrap``; weights that are not loaded yet are loaded when a run first needs them."""
        return self._wrap(model, getattr(model, "tokenizer", None))

    def load(
        self,
        name: str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        revision: str | None = None,
        device_map: DeviceMap | None = None,
    ) -> ResidualModel:
        """See ``Backend.load``; attention uses the default implementation of transformers."""
        path = model_path(name, revision)
        with load_errors(name):
            kind = torch_dtype(dtype, path, revision)
            from nnsight import NNsight
            from transformers import AutoModelForCausalLM, AutoTokenizer

            third_party_architectures()
            tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=kind, revision=revision, device_map=device_map
            )
            if device_map is None:
                model.to(device)
        if next(model.parameters()).is_meta:
            raise UsageError(
                "nnsight puts tokens where the embedding is, so the embedding cannot be offloaded; give it a device in "
                "device_map"
            )
        wrapped = self._wrap(NNsight(model), tokenizer)
        wrapped.info = wrapped.info.loaded_as(name, revision)
        return wrapped

    def at(self, model: Any, remote: Remote) -> ResidualModel:
        """See ``Backend.at``."""
        from eap_plugin.backend.nnsight.remote.model import RemoteModel

        return RemoteModel(model.envoy, model.plan, model.info, remote)

    def load_at(self, name: str, remote: Remote, *, revision: str | None = None) -> ResidualModel:
        """See ``Backend.load_at``."""
        with load_errors(name):
            from nnsight import TransformersModel

            model = TransformersModel(model_path(name, revision), task="text-generation", revision=revision)
        wrapped = self.at(self.wrap(model), remote)
        wrapped.info = wrapped.info.loaded_as(name, revision)
        return wrapped

    def _wrap(self, model: Any, tokenizer: Any) -> ResidualModel:
        if missing := self.missing():
            raise EapPluginError(f"the backend {self.name!r} cannot be used here: {missing}")
        from eap_plugin.backend.nnsight.model import NNsightModel
        from eap_plugin.backend.nnsight.resolve import adapter_of, language_model, resolve

        prefix, module = language_model(model._module)
        if getattr(module, "config", None) is None:
            raise EapPluginError(
                f"nnsight wraps a {type(module).__name__}, which has no Hugging Face configuration; "
                f"wrap a language model from the transformers library"
            )
        if any(type(part).__module__.startswith("transformer_lens.") for part in module.modules()):
            raise EapPluginError(
                "the model that nnsight wraps is in a TransformerBridge, which has replaced its modules; "
                "pass the bridge itself, or load the model again for nnsight"
            )
        adapter = adapter_of(module)
        info = ModelInfo(
            name=module.config.name_or_path or type(module).__name__,
            n_vocab=int(module.config.get_text_config().vocab_size),
            d_model=int(module.config.get_text_config().hidden_size),
            n_ctx=context_length(adapter.cfg),
            tokenizer=tokenizer,
            prepend_bos=prepends_bos(tokenizer, adapter.cfg),
            provenance={"backend": self.name} | {p: version(p) for p in ("nnsight", "transformer-lens")},
        )
        return NNsightModel(model, resolve(module, adapter, prefix), info)
