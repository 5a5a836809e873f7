"""The TransformerLens backend: ``TransformerBridge`` of 4.x and ``HookedTransformer`` of 2.16 to 3.x."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from eap_plugin.backend.base import Backend
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.residual import ResidualModel
from eap_plugin.shipped import SHIPPED


class TransformerLens(Backend):
    """Whichever TransformerLens is installed."""

    name = "transformer_lens"
    summary = "TransformerLens: TransformerBridge (4.x) and HookedTransformer (2.16 to 3.x)"
    requires = ("transformer_lens",)

    def accepts(self, model: object) -> bool:
        """See ``Backend.accepts``."""
        return _is_a(model, "transformer_lens.model_bridge.transformer_bridge", "TransformerBridge") or _is_a(
            model, "transformer_lens.HookedTransformer", "HookedTransformer"
        )

    def wrap(self, model: Any) -> ResidualModel:
        """See ``Backend.wrap``."""
        about = {
            "name": str(getattr(model.cfg, "model_name", None) or type(model).__name__),
            "n_vocab": int(model.cfg.d_vocab),
            "tokenizer": getattr(model, "tokenizer", None),
            "prepend_bos": _prepends_bos(model),
            "provenance": {"backend": self.name, "transformer-lens": version("transformer-lens")},
        }
        if _is_a(model, "transformer_lens.HookedTransformer", "HookedTransformer"):
            from eap_plugin.backend.transformer_lens.hooked import HookedModel

            return HookedModel(model, **about)
        from eap_plugin.backend.transformer_lens.bridge import BridgeModel

        return BridgeModel(model, **about)

    def load(
        self, name: str, *, device: str = "cpu", dtype: str = "float32", revision: str | None = None
    ) -> ResidualModel:
        """See ``Backend.load``; weights are Hugging Face's own, with nothing folded."""
        path = str(SHIPPED.get(name, name))
        _check_folder(path)
        try:
            model = _boot(path, device, dtype, revision)
        except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
            raise UsageError(f"cannot load the model {name!r}: {_first_line(error)}") from error
        wrapped = self.wrap(model)
        wrapped.name = name
        wrapped.provenance["revision"] = revision or ""
        return wrapped


def _boot(path: str, device: str, dtype: str, revision: str | None) -> Any:
    import torch

    torch_dtype = getattr(torch, dtype, None)
    if not isinstance(torch_dtype, torch.dtype):
        raise UsageError(f"unknown dtype {dtype!r}; expected float32, float64, bfloat16 or float16")
    if int(version("transformer-lens").split(".")[0]) >= 4:
        from transformer_lens.model_bridge import TransformerBridge

        return TransformerBridge.boot_transformers(path, device=device, dtype=torch_dtype, revision=revision)
    from transformer_lens import HookedTransformer

    if Path(path).is_dir():
        raise EapPluginError(
            "transformer-lens before 4 loads models by name only; install transformer-lens>=4 to load a folder"
        )
    return HookedTransformer.from_pretrained_no_processing(path, device=device, dtype=torch_dtype, revision=revision)


def _check_folder(path: str) -> None:
    looks_local = path.startswith((".", "/", "~")) or Path(path).exists()
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json; give one that save_pretrained wrote")


def _prepends_bos(model: Any) -> bool:
    tokenizer = getattr(model, "tokenizer", None)
    has_bos = getattr(tokenizer, "bos_token_id", None) is not None
    return has_bos and bool(getattr(model.cfg, "default_prepend_bos", True))


def _is_a(model: object, module: str, name: str) -> bool:
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(model, found)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
