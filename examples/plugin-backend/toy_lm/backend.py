"""The backend: it recognizes, wraps and loads models of this kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from eap_plugin.plugin import Backend, ModelInfo, ResidualModel, UsageError, torch_dtype
from toy_lm.model import ToyLM
from toy_lm.residual import ToyLMResidual


class ToyLMBackend(Backend):
    """Models of the class ``ToyLM``."""

    name = "toy-lm"
    summary = "ToyLM: a small transformer in plain PyTorch"

    def accepts(self, model: object) -> bool:
        """See ``Backend.accepts``."""
        return isinstance(model, ToyLM)

    def wrap(self, model: Any) -> ResidualModel:
        """See ``Backend.wrap``."""
        config = model.config
        provenance = {"backend": self.name}
        info = ModelInfo(name="ToyLM", n_vocab=config.n_vocab, n_ctx=config.n_ctx, provenance=provenance)
        return ToyLMResidual(model, info)

    def load(self, name: str, *, device: str, dtype: str, revision: str | None) -> ResidualModel:
        """See ``Backend.load``."""
        if not (Path(name) / "model.safetensors").is_file():
            raise UsageError(f"{name} is not a folder that ToyLM.save wrote: it has no model.safetensors")
        wrapped = self.wrap(ToyLM.load(name).to(device, torch_dtype(dtype)))
        wrapped.info = replace(wrapped.info, name=name)
        if (Path(name) / "tokenizer.json").is_file():
            tokenizer = PreTrainedTokenizerFast.from_pretrained(name)
            has_bos = tokenizer.bos_token_id is not None
            wrapped.info = replace(wrapped.info, tokenizer=tokenizer, prepend_bos=has_bos)
        return wrapped
