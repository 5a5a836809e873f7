"""Loading a model by name, as far as backends share it: shipped models, dtypes, one-line errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from eap_plugin.errors import UsageError
from eap_plugin.shipped import SHIPPED


def model_path(name: str) -> str:
    """Return the path or hub name to load for a name, which may be that of a shipped model.

    Raises:
        UsageError: if it is a path but not a model folder.
    """
    path = str(SHIPPED.get(name, name))
    looks_local = path.startswith((".", "/", "~")) or Path(path).exists()
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json; give one that save_pretrained wrote")
    return path


def torch_dtype(name: str) -> Any:
    """Return a PyTorch dtype by its name.

    Raises:
        UsageError: if it is not a floating-point dtype for weights.
    """
    import torch

    if name not in ("float32", "float64", "bfloat16", "float16"):
        raise UsageError(f"unknown dtype {name!r}; expected float32, float64, bfloat16 or float16")
    return getattr(torch, name)


def third_party_architectures() -> set[str]:
    """Return the names of the architectures that other packages register with TransformerLens 4 by entry points.

    This imports those packages, so that they can also register their models with transformers.
    """
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    ArchitectureAdapterFactory.discover_entry_points()
    return {point.name for point in entry_points(group="transformer_lens.architectures")}


def context_length(cfg: Any) -> int | None:
    """Read the maximum prompt length from TransformerLens' config; ``None`` if positions are not learned."""
    return int(cfg.n_ctx) if getattr(cfg, "positional_embedding_type", None) == "standard" else None


def prepends_bos(tokenizer: Any, cfg: Any) -> bool:
    """Return whether to begin text with a beginning-of-sequence token: if there is one and TransformerLens would."""
    has_bos = getattr(tokenizer, "bos_token_id", None) is not None
    return has_bos and bool(getattr(cfg, "default_prepend_bos", True))


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Turn errors that occur while loading a model into a one-line ``UsageError``."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
        first_line = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot load the model {name!r}: {first_line}") from error
