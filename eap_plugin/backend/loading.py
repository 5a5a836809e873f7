"""What backends share in loading a model by name: shipped models, dtypes, and failures in one line."""

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
    """The folder or hub name that a name stands for.

    Raises:
        UsageError: if it is a folder without a model.
    """
    path = str(SHIPPED.get(name, name))
    looks_local = path.startswith((".", "/", "~")) or Path(path).exists()
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json; give one that save_pretrained wrote")
    return path


def torch_dtype(name: str) -> Any:
    """A dtype by its name in torch.

    Raises:
        UsageError: if weights cannot have it.
    """
    import torch

    if name not in ("float32", "float64", "bfloat16", "float16"):
        raise UsageError(f"unknown dtype {name!r}; expected float32, float64, bfloat16 or float16")
    return getattr(torch, name)


def third_party_architectures() -> set[str]:
    """Names of the architectures that other packages tell TransformerLens 4 about, through its own entry points.

    These packages are imported, so that transformers knows their models, too, if they see to it.
    """
    from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory

    ArchitectureAdapterFactory.discover_entry_points()
    return {point.name for point in entry_points(group="transformer_lens.architectures")}


def context_length(cfg: Any) -> int | None:
    """The most tokens a prompt can have, by TransformerLens' configuration; ``None`` if positions are not learned."""
    return int(cfg.n_ctx) if getattr(cfg, "positional_embedding_type", None) == "standard" else None


def prepends_bos(tokenizer: Any, cfg: Any) -> bool:
    """Whether text begins with a beginning-of-sequence token: as TransformerLens does, if there is one."""
    has_bos = getattr(tokenizer, "bos_token_id", None) is not None
    return has_bos and bool(getattr(cfg, "default_prepend_bos", True))


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """What goes wrong in loading, as a ``UsageError`` of one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
        first_line = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(f"cannot load the model {name!r}: {first_line}") from error
