"""Loading a model by name, as far as backends share it: shipped models, dtypes, one-line errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from eap_plugin.errors import EapPluginError, UsageError, near_names, shown
from eap_plugin.shipped import SHIPPED

DeviceMap = str | Mapping[str, str | int]
"""How accelerate is to spread a model: ``auto`` or another of its strategies, or the device of each module by name."""

_LONGEST = 1000
"""Characters that the name of a model may have; no file system has longer paths."""

_HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's answer whether it has a model."""


def model_path(name: str, revision: str | None = None) -> str:
    """Return the path or hub name to load for a name, which may be that of a shipped model.

    Args:
        name: a shipped model, a folder, or a name on the Hugging Face hub.
        revision: the branch, tag or commit that is wanted of a model on the hub.

    Raises:
        UsageError: if it is a path but not a model folder, there is no such model on the hub, or a revision of a folder
            is wanted.
        EapPluginError: if the model is not in the hub's cache and the hub cannot be reached.
    """
    if not name or len(name) > _LONGEST:
        raise UsageError(f"a model is a shipped one, a folder or a name on the hub; got {shown(name)}")
    path = str(SHIPPED.get(name, name))
    looks_local = path.startswith((".", "/", "~")) or Path(path).exists()
    if looks_local and not (Path(path) / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json; give one that save_pretrained wrote")
    if not looks_local:
        _find_on_hub(name, revision)
    elif revision is not None:
        raise UsageError(f"only models on the hub have revisions, and {name} is a folder here; leave revision out")
    return path


def _find_on_hub(name: str, revision: str | None) -> None:
    """Find a model in the hub's cache or, with one request that is not tried again, on the hub."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError

    near = near_names(name, _known_models(), cutoff=0.75)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"the shipped models are {', '.join(SHIPPED)}"
    if "/" not in name and set(near) & set(SHIPPED):  # a name without an owner is hardly ever on the hub
        raise UsageError(f"there is no model {shown(name)}; {hint}")
    try:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return
        HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    except GatedRepoError:
        return  # loading it says how to get access
    except (HfHubHTTPError, HFValidationError) as error:
        raise UsageError(f"cannot load the model {shown(name)}: {first_line(error)}; {hint}") from error
    except Exception as error:
        raise EapPluginError(
            f"cannot load the model {shown(name)}: it is not a folder here, not in the hub's cache, and the hub cannot "
            f"be reached ({first_line(error)}); {hint}"
        ) from error


def _known_models() -> list[str]:
    """Return the names of the shipped models, of model folders here, and of models in the hub's cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folders = [path.parent.name for path in Path().glob("*/config.json")]
    cached = [path.name.removeprefix("models--").replace("--", "/") for path in Path(HF_HUB_CACHE).glob("models--*")]
    return [*SHIPPED, *sorted(folders), *sorted(cached)]


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its class if it has none."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__


def torch_dtype(dtype: str, path: str | None = None, revision: str | None = None) -> Any:
    """Return a PyTorch dtype by its name; for ``auto``, that in which the weights of a model are stored.

    Args:
        dtype: the name.
        path: the path or hub name of the model; ``None`` if its config is not Hugging Face's, so ``auto`` is not known.
        revision: its branch, tag or commit on the hub.

    Raises:
        UsageError: if it is not a floating-point dtype for weights.
    """
    import torch

    if dtype == "auto" and path is not None:
        from transformers import AutoConfig

        stored = AutoConfig.from_pretrained(path, revision=revision).get_text_config().dtype
        return torch.float32 if stored is None else stored
    if dtype not in ("float32", "float64", "bfloat16", "float16"):
        raise UsageError(f"unknown dtype {dtype!r}; expected auto, float32, float64, bfloat16 or float16")
    return getattr(torch, dtype)


def placement(device: str, device_map: DeviceMap | None) -> dict[str, Any]:
    """Return the argument with which transformers and TransformerLens put a model on one or more devices."""
    return {"device": device} if device_map is None else {"device_map": device_map}


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
def _no_progress_bars() -> Iterator[None]:
    """Turn the progress bars of transformers off inside the context."""
    from transformers.utils import logging

    shown_before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown_before:
            logging.enable_progress_bar()


@contextmanager
def load_errors(name: str) -> Iterator[None]:
    """Turn errors that occur while loading a model into a one-line ``UsageError``, and show no progress bars."""
    try:
        with _no_progress_bars():
            yield
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
        raise UsageError(f"cannot load the model {name!r}: {first_line(error)}") from error
