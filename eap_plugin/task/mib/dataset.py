"""Reading of MIB's datasets with the library ``datasets``, from the Hugging Face hub or from a folder of copies.

With ``EAP_PLUGIN_MIB=FOLDER`` nothing is downloaded: the folder holds a copy of each dataset under its name on the hub,
such as ``FOLDER/ioi`` and ``FOLDER/copycolors_mcqa``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from eap_plugin.errors import EapPluginError, UsageError

FOLDER = "EAP_PLUGIN_MIB"
ORGANIZATION = "mib-bench"
SPLITS = ("train", "validation", "test")
SECONDS_FOR_HUB = 5.0
"""How long to wait for the hub's first answer; after that, only what was downloaded before is read."""


def read_split(dataset: str, config: str | None, split: str) -> Any:
    """Read one split of a dataset, as a ``datasets.Dataset`` whose rows are dicts.

    Args:
        dataset: the dataset's name on the hub, without the organization.
        config: the dataset's configuration; ``None`` if it has only one.
        split: "train", "validation" or "test".

    Raises:
        UsageError: if ``EAP_PLUGIN_MIB`` has no such dataset or it cannot be read, or the dataset has no such split.
        EapPluginError: if ``datasets`` is not installed, or the hub cannot be reached.
    """
    library = _library()
    folder = os.environ.get(FOLDER)
    splits = _from_folder(library, Path(folder), dataset, config) if folder else _from_hub(library, dataset, config)
    if split not in splits:
        raise UsageError(f"{_place(dataset)} has no split {split!r}; it has {', '.join(splits)}")
    return splits[split]


def _library() -> Any:
    try:
        return import_module("datasets")
    except ImportError as error:
        raise EapPluginError(
            "MIB's tasks are read with datasets, which is not installed; install it with: pip install datasets"
        ) from error


def _place(dataset: str) -> str:
    folder = os.environ.get(FOLDER)
    return str(Path(folder) / dataset) if folder else f"dataset {ORGANIZATION}/{dataset}"


def _from_folder(library: Any, folder: Path, dataset: str, config: str | None) -> Any:
    place = folder / dataset
    if not place.is_dir():
        raise UsageError(f"{place} is not a folder; {FOLDER} must name the folder that holds a copy of {dataset}")
    try:
        return library.load_dataset(str(place), config)
    except Exception as error:
        raise UsageError(f"cannot read the dataset in {place}: {_first_line(error)}") from error


def _from_hub(library: Any, dataset: str, config: str | None) -> Any:
    name = f"{ORGANIZATION}/{dataset}"
    reachable = _hub_answers(name)
    try:
        if reachable:
            return library.load_dataset(name, config)
        with _only_downloaded(library):
            return library.load_dataset(name, config)
    except Exception as error:
        if reachable:
            raise EapPluginError(f"cannot read the dataset {name} from the hub: {_first_line(error)}") from error
        raise EapPluginError(
            f"the Hugging Face hub cannot be reached, and {name} was not downloaded before; download it where there is "
            f"a network, and set {FOLDER} to the folder that holds it as {dataset}"
        ) from error


def _hub_answers(name: str) -> bool:
    """Return whether the hub answers at once; ``load_dataset`` alone would try for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(name, timeout=SECONDS_FOR_HUB)
    except HfHubHTTPError:
        return True  # it answered; load_dataset says what is wrong
    except Exception:
        return False
    return True


@contextmanager
def _only_downloaded(library: Any) -> Iterator[None]:
    before = library.config.HF_HUB_OFFLINE
    library.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        library.config.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
