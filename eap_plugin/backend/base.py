"""The base class of backends. A backend wraps the model objects of one library as ``ResidualModel``."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from eap_plugin.errors import UsageError
from eap_plugin.model.remote import Remote
from eap_plugin.model.residual_model import ResidualModel


class Backend(ABC):
    """Support for one library's model objects: it recognizes, wraps and loads them.

    Attributes:
        name: the name users choose it by, as in ``--backend NAME``.
        summary: one line that says which models it supports.
        requires: import names of the packages that it needs.
        spreads: whether ``load`` takes ``device_map``, a map of the model's parts to devices, or "auto".
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    spreads: ClassVar[bool] = False

    def missing(self) -> str | None:
        """Say why this backend cannot be used here, or return ``None`` if it can. Import nothing."""
        absent = [package for package in self.requires if importlib.util.find_spec(package) is None]
        return f"{' and '.join(absent)} not installed" if absent else None

    @abstractmethod
    def accepts(self, model: object) -> bool:
        """Return whether this backend supports ``model``, without importing the library."""

    @abstractmethod
    def wrap(self, model: Any) -> ResidualModel:
        """Wrap a user's model object as a ``ResidualModel``, without changing the object."""

    @abstractmethod
    def load(self, name: str, *, device: str, dtype: str, revision: str | None) -> ResidualModel:
        """Load a model by name or path, and wrap it.

        Args:
            name: a name on the Hugging Face hub, or a folder that ``save_pretrained`` wrote, with the tokenizer.
            device: for example ``cpu`` or ``cuda:0``.
            dtype: for example ``float32`` or ``bfloat16``; ``auto`` for the one in which the weights are stored.
            revision: a branch, tag or commit on the hub.

        Raises:
            UsageError: if there is no such model.
        """

    def at(self, model: Any, remote: Remote) -> ResidualModel:
        """Return a model from ``wrap`` or ``load`` as one whose runs execute on a server.

        Raises:
            UsageError: if this backend cannot run on a server, or the server cannot identify the model.
        """
        raise UsageError(f"the backend {self.name} cannot run on a server; use the backend nnsight for that")

    def load_at(self, name: str, remote: Remote, *, revision: str | None) -> ResidualModel:
        """Return a model whose runs execute on a server, by its name there. No weights are loaded.

        Raises:
            UsageError: if this backend cannot run on a server, or there is no such model.
        """
        raise UsageError(f"the backend {self.name} cannot run on a server; use the backend nnsight for that")
